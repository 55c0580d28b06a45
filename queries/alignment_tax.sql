-- What did each policy forget, compared with the base model?
WITH scores AS MATERIALIZED (
    FROM benchmark_scores WHERE category = 'all'
)
SELECT
    tested.benchmark,
    tested.metric,
    tested.subject,
    round(tested.value, 4) AS value,
    round(tested.low, 4) AS low,
    round(tested.high, 4) AS high,
    round(tested.value - base.value, 4) AS minus_base,
    tested.n
FROM scores AS tested
LEFT JOIN (FROM scores WHERE subject = 'base') AS base USING (benchmark, metric)
ORDER BY ALL;
