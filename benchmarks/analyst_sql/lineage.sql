-- of the first answer of ppo, which learned from data/demonstrations/rmsp.parquet
WITH RECURSIVE asked AS (
    SELECT question_id, policy, text
    FROM read_parquet('data/answers/ppo.parquet')
    WHERE sample_index = 0
        AND question_id = (SELECT min(question_id) FROM read_parquet('data/answers/*.parquet'))
),
question AS (
    SELECT query_id, text, string_split(lower(text), ' ') AS words
    FROM read_parquet('data/queries.parquet') WHERE query_id = (SELECT question_id FROM asked)
),
learned AS (
    SELECT
        query_id,
        demonstration_id,
        messages,
        len(list_intersect(string_split(lower(queries.text), ' '), question.words))
            / len(list_distinct(list_concat(string_split(lower(queries.text), ' '), question.words))) AS overlap
    FROM read_parquet('data/demonstrations/rmsp.parquet') JOIN read_parquet('data/queries.parquet') AS queries USING (query_id),
        question
    ORDER BY overlap DESC, query_id
    LIMIT 1
),
ancestors AS (
    SELECT 0 AS generation, queries.* FROM read_parquet('data/queries.parquet') AS queries JOIN learned USING (query_id)
    UNION ALL
    SELECT generation + 1, queries.*
    FROM ancestors JOIN read_parquet('data/queries.parquet') AS queries ON queries.query_id = ancestors.nearest_id
    WHERE ancestors.origin = 'mined'
),
steps AS (
    SELECT 1 AS step, 'evaluation question' AS what, query_id AS id, text FROM question
    UNION ALL
    SELECT 2, 'answer of ppo', question_id, text FROM asked
    UNION ALL
    SELECT 3, format('nearest dialogue it learned from, {} of the words shared', round(overlap, 2)),
        demonstration_id, messages[-1].content
    FROM learned
    UNION ALL
    SELECT 4, format('chosen by rmsp among {} candidates, reward {}; the last of them, reward {}', count(*),
            coalesce(round(max(reward) FILTER (is_best), 2)::VARCHAR, 'none'),
            coalesce(round(arg_min(reward, worth), 2)::VARCHAR, 'none')),
        query_id, arg_min(text, worth)
    FROM (
        SELECT
            *,
            regexp_matches(text, '\S') AS spoken,
            row(
                spoken,
                spoken AND coalesce(finish_reason IN ('eos', 'stop'), true),
                if(spoken, coalesce(reward, 0), 0),
                -sample_index
            ) AS worth
        FROM read_parquet('data/candidates/rmsp.parquet')
        WHERE turn = 1 AND query_id = (SELECT query_id FROM learned)
    )
    GROUP BY query_id
    UNION ALL
    SELECT 5 + generation,
        if(generation = 0, 'its query', 'nearest older query') || ', ' || origin
            || if(nearest_id IS NULL, '', format(', ROUGE-L {} with the next', round(nearest_rouge_l, 2))),
        query_id, text
    FROM ancestors
)
FROM steps ORDER BY step;
