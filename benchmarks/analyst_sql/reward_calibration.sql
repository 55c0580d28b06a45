WITH unit AS (
    SELECT reward_std FROM read_json('metrics/train_reward/almost_size.json', columns = {reward_std: 'DOUBLE'})
),
pairs AS (
    SELECT
        question_id,
        1 / (1 + exp(-abs(ours.score_a - ours.score_b) * reward_std)) AS says,
        (ours.verdict = oracle.verdict)::INT AS is_right
    FROM unit, read_parquet('data/judgements.parquet') AS ours
    JOIN read_parquet('data/judgements.parquet') AS oracle USING (question_id, sample_index, policy_a, policy_b, "order")
    WHERE ours.judge = 'reward' AND oracle.judge = 'oracle' AND "order" = 'ab'
        AND ours.verdict IN ('a', 'b') AND oracle.verdict IN ('a', 'b')
)
SELECT
    CASE
        WHEN says < 0.6 THEN '0.5 to 0.6'
        WHEN says < 0.7 THEN '0.6 to 0.7'
        WHEN says < 0.8 THEN '0.7 to 0.8'
        WHEN says < 0.9 THEN '0.8 to 0.9'
        WHEN says < 0.99 THEN '0.9 to 0.99'
        ELSE '0.99 to 1'
    END AS surety,
    round(avg(says), 4) AS says,
    round(avg(is_right), 4) AS is_right,
    count(DISTINCT question_id) AS questions,
    count(*) AS pairs
FROM pairs
GROUP BY surety
ORDER BY surety;
