-- What must hold between rows and between tables: every query selects the rows that offend, so none is right.
-- What must hold within a row is in synthalign.core.tables.RULES. `python -m synthalign check-tables` asks for both.

-- -- keys -------------------------------------------------------------------------------------------------------------

-- queries: a query_id is there once
SELECT query_id, count(*) AS times FROM queries GROUP BY ALL HAVING times > 1;

-- queries_rejected: a candidate_id is there once
SELECT candidate_id, count(*) AS times FROM queries_rejected GROUP BY ALL HAVING times > 1;

-- responses: a response_id is there once, over all configurations
SELECT response_id, count(*) AS times FROM responses GROUP BY ALL HAVING times > 1;

-- comparisons_ranked: a comparison_id is there once
SELECT comparison_id, count(*) AS times FROM comparisons_ranked GROUP BY ALL HAVING times > 1;

-- comparisons: a comparison_id is there once in a member (DITTO: in a step)
SELECT member, comparison_id, step, count(*) AS times FROM comparisons GROUP BY ALL HAVING times > 1;

-- comparisons_dropped: a comparison_id is there once in a member
SELECT member, comparison_id, count(*) AS times FROM comparisons_dropped GROUP BY ALL HAVING times > 1;

-- candidates: guide, query, turn and sample are there once
SELECT guide, query_id, turn, sample_index, count(*) AS times FROM candidates GROUP BY ALL HAVING times > 1;

-- demonstrations: a demonstration_id is there once in a guide
SELECT guide, demonstration_id, count(*) AS times FROM demonstrations GROUP BY ALL HAVING times > 1;

-- answers: policy, question and sample are there once
SELECT policy, question_id, sample_index, count(*) AS times FROM answers GROUP BY ALL HAVING times > 1;

-- judgements: question, sample, policies, order and judge are there once
SELECT question_id, sample_index, policy_a, policy_b, "order", judge, count(*) AS times
FROM judgements GROUP BY ALL HAVING times > 1;

-- snapshots: step and question are there once in a member
SELECT trainer, member, step, question_id, count(*) AS times FROM snapshots GROUP BY ALL HAVING times > 1;

-- rrhf_samples: round, query and sample are there once in a member
SELECT member, round, query_id, sample_index, count(*) AS times FROM rrhf_samples GROUP BY ALL HAVING times > 1;

-- revisions: query and step are there once
SELECT query_id, step, count(*) AS times FROM revisions GROUP BY ALL HAVING times > 1;

-- ditto_samples: a sample_id is there once for an author
SELECT author, sample_id, count(*) AS times FROM ditto_samples GROUP BY ALL HAVING times > 1;

-- ditto_answers: author, prompt, method and sample are there once
SELECT author, prompt_id, method, sample_index, count(*) AS times FROM ditto_answers GROUP BY ALL HAVING times > 1;

-- mixtures: a mixture_id is there once in a member
SELECT member, mixture_id, count(*) AS times FROM mixtures GROUP BY ALL HAVING times > 1;

-- task_answers: subject, item and shots are there once
SELECT subject, item_id, shots, count(*) AS times FROM task_answers GROUP BY ALL HAVING times > 1;

-- benchmark_scores: subject, benchmark, category and metric are there once
SELECT subject, benchmark, category, metric, count(*) AS times FROM benchmark_scores GROUP BY ALL HAVING times > 1;

-- -- ids of other tables ----------------------------------------------------------------------------------------------

-- queries: nearest_id is a training query
SELECT * FROM queries WHERE nearest_id NOT IN (SELECT query_id FROM queries WHERE split = 'train');

-- responses: query_id is a query
SELECT * FROM responses ANTI JOIN queries USING (query_id);

-- comparisons_ranked: chosen_id and rejected_id are responses to the query, of the configurations that are there
SELECT ranked.*
FROM comparisons_ranked AS ranked
LEFT JOIN responses AS better ON better.response_id = chosen_id AND better.query_id = ranked.query_id
LEFT JOIN responses AS worse ON worse.response_id = rejected_id AND worse.query_id = ranked.query_id
WHERE (better.response_id IS NULL AND chosen_config IN (SELECT config FROM responses))
    OR (worse.response_id IS NULL AND rejected_config IN (SELECT config FROM responses));

-- comparisons: chosen_id and rejected_id are responses to the query, if vanilla configurations wrote them
SELECT pairs.*
FROM comparisons AS pairs
LEFT JOIN responses AS better ON better.response_id = chosen_id AND better.query_id = pairs.query_id
LEFT JOIN responses AS worse ON worse.response_id = rejected_id AND worse.query_id = pairs.query_id
WHERE (better.response_id IS NULL AND chosen_config IN (SELECT config FROM responses))
    OR (worse.response_id IS NULL AND rejected_config IN (SELECT config FROM responses));

-- candidates: query_id is a query
SELECT * FROM candidates ANTI JOIN queries USING (query_id);

-- demonstrations: query_id is a query or a prompt of comparisons, of the same guide's candidates where self-play made it
SELECT * FROM demonstrations
WHERE query_id NOT IN (SELECT query_id FROM queries UNION ALL SELECT query_id FROM comparisons)
    OR (guide IN (SELECT guide FROM candidates) AND (guide, query_id) NOT IN (SELECT (guide, query_id) FROM candidates));

-- answers: question_id is an evaluation question
SELECT * FROM answers WHERE question_id NOT IN (SELECT query_id FROM queries WHERE split = 'eval');

-- judgements: both policies answered the question, of those whose answers are there
SELECT judgements.*
FROM judgements
LEFT JOIN answers AS a ON a.policy = policy_a AND (a.question_id, a.sample_index) = (judgements.question_id, judgements.sample_index)
LEFT JOIN answers AS b ON b.policy = policy_b AND (b.question_id, b.sample_index) = (judgements.question_id, judgements.sample_index)
WHERE (a.policy IS NULL AND policy_a IN (SELECT policy FROM answers))
    OR (b.policy IS NULL AND policy_b IN (SELECT policy FROM answers));

-- snapshots: question_id is an evaluation question
SELECT * FROM snapshots WHERE question_id NOT IN (SELECT query_id FROM queries WHERE split = 'eval');

-- -- what must not leak -----------------------------------------------------------------------------------------------

-- comparisons: no evaluation question is learned from
SELECT comparisons.*
FROM comparisons LEFT JOIN queries USING (query_id)
WHERE split = 'eval' OR said(prompt) IN (SELECT text FROM queries WHERE split = 'eval');

-- demonstrations: no evaluation question is learned from
SELECT demonstrations.*
FROM demonstrations LEFT JOIN queries USING (query_id)
WHERE split = 'eval'
    OR list_has_any(
        list_transform(list_filter(messages, lambda one: one.role = 'user'), lambda one: one.content),
        (SELECT list(text) FROM queries WHERE split = 'eval')
    );

-- mixtures: no held-out item is learned from
SELECT mixtures.* FROM mixtures SEMI JOIN task_answers ON example_id = item_id;

-- comparisons: the oracle trains nothing but gold
SELECT * FROM comparisons WHERE feedback = 'gold' AND member <> 'gold';

-- -- what must agree --------------------------------------------------------------------------------------------------

-- comparisons: the chosen text is not the rejected text
SELECT * FROM comparisons WHERE said(chosen) = said(rejected);

-- comparisons_dropped: a reason is given
SELECT * FROM comparisons_dropped WHERE drop_reason IS NULL;

-- comparisons_dropped: what is dropped from a member is not in it
SELECT comparisons_dropped.* FROM comparisons_dropped SEMI JOIN comparisons USING (member, comparison_id);

-- comparisons_ranked: every pair was kept or dropped with a reason on the way to comparisons/almost
SELECT *
FROM comparisons_ranked
WHERE 'almost' IN (SELECT member FROM comparisons UNION ALL SELECT member FROM comparisons_dropped)  -- not still on the way
    AND comparison_id NOT IN (SELECT comparison_id FROM comparisons WHERE member = 'almost')
    AND comparison_id NOT IN (SELECT comparison_id FROM comparisons_dropped WHERE member = 'almost');

-- candidates: every turn has one best
SELECT guide, query_id, turn, count(*) FILTER (is_best) AS best FROM candidates GROUP BY ALL HAVING best <> 1;

-- candidates: the best of a turn was not cut off where another ended
SELECT guide, query_id, turn, count(*) AS candidates
FROM candidates
GROUP BY ALL
HAVING bool_or(is_best AND finish_reason = 'length') AND bool_or(finish_reason IN ('eos', 'stop') AND trim(text) <> '');

-- comparisons: an answer of a policy that was cut off is not the better one
SELECT * FROM comparisons WHERE (member = 'sft' OR kind = 'inter') AND chosen_finish_reason IN ('length', 'error');

-- judgements: a verdict follows from the scores of a judge that scores
SELECT *
FROM judgements
WHERE (raw IS NULL OR score_a IS NOT NULL AND score_b IS NOT NULL)
    AND verdict <> CASE
        WHEN score_a > score_b THEN 'a' WHEN score_a < score_b THEN 'b' WHEN score_a = score_b THEN 'tie' ELSE 'unjudged'
    END;

-- judgements: a judge that is no person sees both orders
SELECT judge, policy_a, policy_b, question_id, sample_index, count(*) AS orders
FROM judgements
WHERE NOT starts_with(judge, 'human:')
GROUP BY ALL
HAVING orders <> 2;

-- benchmark_scores: a figure lies within its interval
SELECT *
FROM benchmark_scores
WHERE (n > 0 AND (low <= value AND value <= high OR value IS NOT NULL AND low IS NULL AND high IS NULL)) IS NOT TRUE;

-- rrhf_samples: query_id is a training query
SELECT * FROM rrhf_samples WHERE query_id NOT IN (SELECT query_id FROM queries WHERE split = 'train');

-- revisions: query_id is a training query
SELECT * FROM revisions WHERE query_id NOT IN (SELECT query_id FROM queries WHERE split = 'train');

-- queries_rejected: a reason is given
SELECT * FROM queries_rejected WHERE reject_reason IS NULL;
