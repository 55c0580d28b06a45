-- When the reward model is surer, is it right more often, and as often as it says?
-- says: the probability of Bradley and Terry, for which a reward is counted in the units that the model was trained in.
-- SET VARIABLE reward = '<member of train_reward>' where judge_answers.reward is another one than almost_size.
WITH unit AS (
    SELECT reward_std
    FROM read_json(
        getvariable('root') || '/metrics/train_reward/' || coalesce(getvariable('reward'), 'almost_size') || '.json',
        columns = {reward_std: 'DOUBLE'}
    )
),
pairs AS (
    SELECT
        question_id,
        1 / (1 + exp(-abs(ours.score_a - ours.score_b) * reward_std)) AS says,
        (ours.verdict = oracle.verdict)::INT AS is_right
    FROM unit, judgements AS ours
    JOIN judgements AS oracle USING (question_id, sample_index, policy_a, policy_b, "order")
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
