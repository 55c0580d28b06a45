-- What did each policy forget, compared with the base model?
-- Of policies alone: hhh and highest_reward are what reward models have too, so a subject that has nothing else is not told
-- from one and is left out. always_longer and always_longest are no model's.
WITH scores AS MATERIALIZED (
    FROM benchmark_scores WHERE category = 'all' AND NOT starts_with(metric, 'always_')
),
policies AS (
    SELECT subject FROM scores WHERE benchmark <> 'hhh' AND metric <> 'highest_reward'
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
FROM scores AS tested SEMI JOIN policies USING (subject)
LEFT JOIN (FROM scores WHERE subject = 'base') AS base USING (benchmark, metric)
ORDER BY ALL;
