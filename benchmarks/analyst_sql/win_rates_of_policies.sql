WITH questions AS (
    SELECT
        policy_a,
        policy_b,
        judge,
        question_id,
        avg(CASE verdict WHEN 'a' THEN 1 WHEN 'tie' THEN 0.5 WHEN 'b' THEN 0 END) AS win,
        avg((verdict = 'tie')::INT) AS tie
    FROM read_parquet('data/judgements.parquet')
    ANTI JOIN (FROM read_parquet('data/judgements.parquet') WHERE verdict = 'unjudged')
        USING (judge, policy_a, policy_b, question_id, sample_index)
    GROUP BY ALL
)
SELECT
    policy_a AS policy,
    policy_b AS against,
    judge,
    round(avg(win), 4) AS win_rate,
    round(1.96 * stddev_samp(win) / sqrt(count(*)), 4) AS plus_minus,
    round(avg(tie), 4) AS ties,
    count(*) AS questions
FROM questions
GROUP BY ALL
ORDER BY ALL;
