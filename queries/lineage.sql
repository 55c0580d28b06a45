-- Where does one answer come from: from its policy by the nearest thing it learned back to a seed query?
-- --set policy=dpo --set question=<question_id> takes another answer than the first of ppo.
-- "nearest" is our reconstruction: of all dialogues that the policy learned from, the one whose query shares most words
-- with the question; and of every mined query, the older one that it resembles most.
WITH RECURSIVE asked AS (
    SELECT question_id, policy, text
    FROM answers
    WHERE sample_index = 0
        AND policy = coalesce(getvariable('policy'), 'ppo')
        AND question_id = coalesce(getvariable('question'), (SELECT min(question_id) FROM answers WHERE sample_index = 0 AND policy = coalesce(getvariable('policy'), 'ppo')))
),
question AS (
    SELECT query_id, text, string_split(lower(text), ' ') AS words
    FROM queries WHERE query_id = (SELECT question_id FROM asked)
),
-- policies are named sft_<guide>, or go on from sft_rmsp; the others learned from no dialogues
guide AS (
    SELECT CASE
        WHEN policy LIKE 'sft_%' THEN substr(policy, 5)
        WHEN policy IN ('dpo', 'ppo', 'ppo_ptx', 'rloo', 'grpo') THEN 'rmsp'
        WHEN policy LIKE 'rrhf%' AND policy <> 'rrhf_candidates' THEN 'rmsp'
    END AS guide
    FROM asked
),
learned AS (
    SELECT
        query_id,
        demonstration_id,
        messages,
        demonstrations.reward,
        guide,
        -- a prompt of people or of a file is no row of queries
        string_split(lower(coalesce(queries.text, messages[1].content)), ' ') AS asked_words,
        len(list_intersect(asked_words, question.words))
            / len(list_distinct(list_concat(asked_words, question.words))) AS overlap
    FROM demonstrations JOIN guide USING (guide) LEFT JOIN queries USING (query_id), question
    ORDER BY overlap DESC, query_id, demonstration_id
    LIMIT 1
),
-- from the best to the last, as guided self-play has them
ranked AS (
    SELECT
        guide,
        query_id,
        text,
        is_best,
        coalesce(round(candidates.reward, 2)::VARCHAR, 'none') AS points,
        regexp_matches(text, '\S') AS spoken,
        spoken AND coalesce(candidates.finish_reason IN ('eos', 'stop'), true) AS whole,
        row_number() OVER (
            ORDER BY spoken DESC, whole DESC, if(spoken, candidates.reward, NULL) DESC, sample_index
        ) AS place
    FROM candidates JOIN learned USING (guide, query_id)
    WHERE turn = 1
),
ancestors AS (
    SELECT 0 AS generation, queries.* FROM queries JOIN learned USING (query_id)
    UNION ALL
    SELECT generation + 1, queries.*
    FROM ancestors JOIN queries ON queries.query_id = ancestors.nearest_id
    WHERE ancestors.origin = 'mined'
),
steps AS (
    SELECT 1 AS step, 'evaluation question' AS what, query_id AS id, text FROM question
    UNION ALL
    SELECT 2, 'answer of ' || policy, question_id, text FROM asked
    UNION ALL
    SELECT 3, format('nearest dialogue it learned from, {} of the words shared', round(overlap, 2)),
        demonstration_id, said(messages)
    FROM learned
    UNION ALL
    SELECT 4, format('chosen by {} among {} candidates, reward {}; the last of them, reward {}', any_value(guide), count(*),
            max(points) FILTER (is_best), arg_max(points, place)),
        query_id, arg_max(text, place)
    FROM ranked
    GROUP BY query_id
    UNION ALL
    SELECT 5 + generation,
        if(generation = 0, 'its query', 'nearest older query') || ', ' || origin
            || if(nearest_id IS NULL, '', format(', ROUGE-L {} with the next', round(nearest_rouge_l, 2))),
        query_id, text
    FROM ancestors
)
FROM steps ORDER BY step;
