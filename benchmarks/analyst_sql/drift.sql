WITH older AS (
    SELECT
        policy_a, policy_b, judge, question_id,
        avg(CASE verdict WHEN 'a' THEN 1 WHEN 'tie' THEN 0.5 WHEN 'b' THEN 0 END) AS win
    FROM read_parquet('published/2026-11-14-00000000/data/judgements.parquet')
    ANTI JOIN (FROM read_parquet('published/2026-11-14-00000000/data/judgements.parquet') WHERE verdict = 'unjudged')
        USING (judge, policy_a, policy_b, question_id, sample_index)
    GROUP BY ALL
),
newer AS (
    SELECT
        policy_a, policy_b, judge, question_id,
        avg(CASE verdict WHEN 'a' THEN 1 WHEN 'tie' THEN 0.5 WHEN 'b' THEN 0 END) AS win
    FROM read_parquet('published/2026-11-21-00000000/data/judgements.parquet')
    ANTI JOIN (FROM read_parquet('published/2026-11-21-00000000/data/judgements.parquet') WHERE verdict = 'unjudged')
        USING (judge, policy_a, policy_b, question_id, sample_index)
    GROUP BY ALL
)
SELECT
    policy_a AS policy,
    policy_b AS against,
    judge,
    '2026-11-14-00000000' AS older,
    '2026-11-21-00000000' AS newer,
    round(avg(older.win), 4) AS win_rate_before,
    round(avg(newer.win), 4) AS win_rate_after,
    round(avg(newer.win - older.win), 4) AS change,
    round(1.96 * stddev_samp(newer.win - older.win) / sqrt(count(*)), 4) AS plus_minus,
    count(*) AS questions
FROM older JOIN newer USING (policy_a, policy_b, judge, question_id)
GROUP BY policy_a, policy_b, judge
ORDER BY policy_a, policy_b, judge;
