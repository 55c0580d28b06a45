-- How did the win rates change between two published runs?
-- The last two by name, or --set older=<run> --set newer=<run>; only questions that both runs judged.
WITH runs AS (
    SELECT DISTINCT split_part(file, '/', 2) AS run FROM glob('published/*/data/judgements.parquet')
),
newest AS (
    SELECT coalesce(getvariable('newer'), max(run)) AS newer FROM runs WHERE regexp_matches(run, '^[0-9]{4}-')
),
compared AS (
    SELECT
        newer,
        coalesce(
            getvariable('older'), (SELECT max(run) FROM runs, newest WHERE run < newer AND regexp_matches(run, '^[0-9]{4}-'))
        ) AS older
    FROM newest
),
questions AS (
    SELECT
        policy_a,
        policy_b,
        judge,
        question_id,
        avg(CASE verdict WHEN 'a' THEN 1 WHEN 'tie' THEN 0.5 WHEN 'b' THEN 0 END) FILTER (run = older) AS before,
        avg(CASE verdict WHEN 'a' THEN 1 WHEN 'tie' THEN 0.5 WHEN 'b' THEN 0 END) FILTER (run = newer) AS after
    FROM published('*', 'judgements')
    ANTI JOIN (FROM published('*', 'judgements') WHERE verdict = 'unjudged')
        USING (run, judge, policy_a, policy_b, question_id, sample_index)
    CROSS JOIN compared
    WHERE run IN (older, newer)
    GROUP BY ALL
    HAVING before IS NOT NULL AND after IS NOT NULL
)
SELECT
    policy_a AS policy,
    policy_b AS against,
    judge,
    any_value(compared.older) AS older,
    any_value(compared.newer) AS newer,
    round(avg(before), 4) AS win_rate_before,
    round(avg(after), 4) AS win_rate_after,
    round(avg(after - before), 4) AS change,
    round(margin_of_error(stddev_samp(after - before), count(*)), 4) AS plus_minus,
    count(*) AS questions
FROM questions, compared
GROUP BY policy_a, policy_b, judge
ORDER BY policy_a, policy_b, judge;
