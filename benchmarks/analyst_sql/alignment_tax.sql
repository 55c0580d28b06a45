SELECT
    tested.benchmark,
    tested.metric,
    tested.subject,
    round(tested.value, 4) AS value,
    round(tested.low, 4) AS low,
    round(tested.high, 4) AS high,
    round(tested.value - base.value, 4) AS minus_base,
    tested.n
FROM read_parquet('data/benchmark_scores/*.parquet') AS tested
LEFT JOIN read_parquet('data/benchmark_scores/base.parquet') AS base USING (benchmark, category, metric)
WHERE tested.category = 'all'
    AND NOT starts_with(tested.metric, 'always_')
    AND tested.subject IN (
        SELECT subject
        FROM read_parquet('data/benchmark_scores/*.parquet')
        WHERE NOT starts_with(metric, 'always_') AND benchmark <> 'hhh' AND metric <> 'highest_reward'
    )
ORDER BY ALL;
