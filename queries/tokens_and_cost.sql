-- How much did each stage whose table keeps it let a model write, and what did that cost?
-- cost: of the tokens written, by completion_price of the endpoint's file; 0 for a model folder, NULL where the table does
-- not say whose tokens they are. What an endpoint read is in no table: its bill decides.
WITH prices AS (
    SELECT filename AS model, regexp_extract(content, '(?m)^completion_price: *([0-9.e-]+)', 1)::DOUBLE AS price
    FROM read_text('data/endpoints/*.y*ml')
),
written AS (
    SELECT
        'sample_responses@' || config AS stage,
        model,
        count(*) AS texts,
        sum(length(text)) AS characters,
        sum(tokens) AS tokens,
        count(*) FILTER (finish_reason = 'length') AS cut_off,
        count(finish_reason) AS ended
    FROM responses
    GROUP BY config, model
    UNION ALL
    SELECT 'sample_answers@' || policy, NULL, count(*), sum(length(text)), sum(tokens),
        count(*) FILTER (finish_reason = 'length'), count(finish_reason)
    FROM answers
    GROUP BY policy
    UNION ALL
    SELECT if(trainer = 'dpo', 'snapshot_dpo', 'train_' || trainer || '@' || member || ' (snapshots)'), 'models/', count(*),
        sum(length(text)), sum(tokens), count(*) FILTER (finish_reason = 'length'), count(finish_reason)
    FROM snapshots
    GROUP BY trainer, member
    UNION ALL
    SELECT 'simulate_demonstrations@' || guide, NULL, count(*), sum(length(text)), NULL,
        count(*) FILTER (finish_reason = 'length'), count(finish_reason)
    FROM candidates
    GROUP BY guide
    UNION ALL
    SELECT 'mine_queries', NULL, count(*), sum(length(text)), NULL, 0, 0 FROM queries WHERE origin = 'mined'
    UNION ALL
    SELECT 'mine_queries', NULL, count(*), sum(length(text)), NULL, 0, 0 FROM queries_rejected
)
SELECT
    stage,
    sum(texts)::BIGINT AS texts,
    sum(characters)::BIGINT AS characters,
    sum(tokens)::BIGINT AS tokens,
    round(sum(cut_off) / nullif(sum(ended), 0), 4) AS cut_off,
    round(sum(tokens * CASE WHEN regexp_matches(model, '[.]ya?ml$') THEN price / 1e6 WHEN model IS NOT NULL THEN 0 END), 4) AS cost
FROM written LEFT JOIN prices USING (model)
WHERE texts > 0
GROUP BY stage
ORDER BY stage;
