-- What did each policy forget, compared with the base model?
SELECT
    tested.benchmark,
    tested.metric,
    tested.subject,
    round(tested.value, 4) AS value,
    round(tested.low, 4) AS low,
    round(tested.high, 4) AS high,
    round(tested.value - base.value, 4) AS minus_base,
    tested.n
FROM benchmark_scores AS tested
LEFT JOIN (FROM benchmark_scores WHERE subject = 'base') AS base USING (benchmark, category, metric)
WHERE tested.category = 'all'
ORDER BY ALL;
