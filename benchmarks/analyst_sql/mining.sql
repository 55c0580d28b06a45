WITH written AS (
    SELECT 'accepted' AS outcome, text, nearest_rouge_l FROM read_parquet('data/queries.parquet') WHERE origin = 'mined'
    UNION ALL
    SELECT reject_reason, text, nearest_rouge_l FROM read_parquet('data/queries_rejected.parquet')
)
SELECT
    outcome,
    count(*) AS queries,
    round(count(*) / sum(count(*)) OVER (), 4) AS share,
    round(avg(length(text)), 2) AS characters,
    round(avg(nearest_rouge_l), 4) AS nearest_rouge_l,
    min(text) AS for_instance
FROM written
GROUP BY outcome
ORDER BY queries DESC, outcome;
