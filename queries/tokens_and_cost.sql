-- How much did each stage whose table keeps it let a model write, and what did that cost?
-- cost: of the tokens written, by completion_price of the endpoint's file; 0 for a model folder, NULL where the table does
-- not say whose tokens they are. What an endpoint read is in no table: its bill decides.
WITH prices AS (
    SELECT filename AS model, regexp_extract(content, '(?m)^completion_price: *([0-9.e-]+)', 1)::DOUBLE AS price
    FROM read_text('data/endpoints/*.y*ml')
),
written AS (
    SELECT 'sample_responses@' || config AS stage, model, tokens, text, finish_reason FROM responses
    UNION ALL
    SELECT 'sample_answers@' || policy, NULL, tokens, text, finish_reason FROM answers
    UNION ALL
    SELECT if(trainer = 'dpo', 'snapshot_dpo', 'train_' || trainer || '@' || member || ' (snapshots)'), 'models/', tokens, text,
        finish_reason
    FROM snapshots
    UNION ALL
    SELECT 'simulate_demonstrations@' || guide, NULL, NULL, text, finish_reason FROM candidates
    UNION ALL
    SELECT 'mine_queries', NULL, NULL, text, NULL FROM queries WHERE origin = 'mined'
    UNION ALL
    SELECT 'mine_queries', NULL, NULL, text, NULL FROM queries_rejected
)
SELECT
    stage,
    count(*) AS texts,
    sum(length(text))::BIGINT AS characters,
    sum(tokens)::BIGINT AS tokens,
    round(avg((finish_reason = 'length')::INT), 4) AS cut_off,
    round(sum(tokens * CASE WHEN regexp_matches(model, '[.]ya?ml$') THEN price / 1e6 WHEN model IS NOT NULL THEN 0 END), 4) AS cost
FROM written LEFT JOIN prices USING (model)
GROUP BY stage
ORDER BY stage;
