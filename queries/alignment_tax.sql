-- What did each policy forget, compared with the base model?
SELECT
    benchmark,
    metric,
    subject,
    round(value, 4) AS value,
    round(low, 4) AS low,
    round(high, 4) AS high,
    round(value - any_value(value) FILTER (subject = 'base') OVER (PARTITION BY benchmark, metric), 4) AS minus_base,
    n
FROM benchmark_scores
WHERE category = 'all'
ORDER BY ALL;
