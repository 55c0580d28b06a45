-- each table on its own, so that only sums are put together; the models of responses are two
WITH prices AS (
    SELECT filename AS model, try_cast(
        replace(regexp_extract(content, '(?m)^completion_price[ \t]*:[ \t]*([0-9._eE+-]+)', 1), '_', '') AS DOUBLE
    ) AS price
    FROM read_text('data/endpoints/*.y*ml')
),
written AS (
    SELECT
        'sample_responses@' || config AS stage,
        model,
        count(*) AS texts,
        sum(length(text)) AS characters,
        sum(tokens) AS tokens,
        avg((finish_reason = 'length')::INT) AS cut_off
    FROM read_parquet('data/responses/*.parquet') GROUP BY config, model
    UNION ALL
    SELECT 'sample_answers@' || policy, NULL, count(*), sum(length(text)), sum(tokens), avg((finish_reason = 'length')::INT)
    FROM read_parquet('data/answers/*.parquet') GROUP BY policy
    UNION ALL
    SELECT 'train_ppo@almost (snapshots)', 'models/', count(*), sum(length(text)), sum(tokens),
        avg((finish_reason = 'length')::INT)
    FROM read_parquet('data/ppo_curve/almost.parquet')
    UNION ALL
    SELECT 'train_rrhf@' || parse_filename(filename, true), 'models/', count(*), sum(length(text)), sum(tokens),
        avg((finish_reason = 'length')::INT)
    FROM read_parquet('data/rrhf_samples/*.parquet', filename = true) WHERE kl IS NOT NULL GROUP BY filename
    UNION ALL
    SELECT 'train_ditto@' || parse_filename(filename, true), 'models/', count(*), sum(length(text)), sum(tokens),
        avg((finish_reason = 'length')::INT)
    FROM read_parquet('data/ditto_samples/*.parquet', filename = true) GROUP BY filename
    UNION ALL
    SELECT 'sample_ditto@' || parse_filename(filename, true), NULL, count(*), sum(length(text)), sum(tokens),
        avg((finish_reason = 'length')::INT)
    FROM read_parquet('data/ditto_answers/*.parquet', filename = true) GROUP BY filename
    UNION ALL
    SELECT 'answer_tasks@' || subject, NULL, count(*), sum(length(text)), NULL, avg((finish_reason = 'length')::INT)
    FROM read_parquet('data/task_answers/*.parquet') WHERE finish_reason IS NOT NULL GROUP BY subject
    UNION ALL
    SELECT 'revise_answers', NULL, count(*) + count(critique), sum(length(text) + coalesce(length(critique), 0)), NULL,
        avg((finish_reason = 'length')::INT)
    FROM read_parquet('data/revisions.parquet')
    UNION ALL
    SELECT 'simulate_demonstrations@' || parse_filename(filename, true), NULL, count(*), sum(length(text)), NULL,
        avg((finish_reason = 'length')::INT)
    FROM read_parquet('data/candidates/*.parquet', filename = true) GROUP BY filename
    UNION ALL
    SELECT 'mine_queries', NULL, count(*), sum(length(text)), NULL, NULL
    FROM (
        SELECT text FROM read_parquet('data/queries.parquet') WHERE origin = 'mined'
        UNION ALL
        SELECT text FROM read_parquet('data/queries_rejected.parquet')
    )
)
SELECT
    stage,
    texts,
    characters::BIGINT AS characters,
    tokens::BIGINT AS tokens,
    round(cut_off, 4) AS cut_off,
    round(tokens * CASE WHEN regexp_matches(model, '[.]ya?ml$') THEN price / 1e6 WHEN model IS NOT NULL THEN 0 END, 4) AS cost
FROM written LEFT JOIN prices USING (model)
ORDER BY stage;
