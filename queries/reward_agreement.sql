-- How often does the reward model prefer the same answer as the other judges?
-- Among the answers on which both decide; kappa is 0 where they agree as often as by chance, 1 where always.
WITH judged AS (
    FROM judgements
    ANTI JOIN (FROM judgements WHERE verdict = 'unjudged') AS missing
        USING (judge, policy_a, policy_b, question_id, sample_index)
),
both_judged AS (
    SELECT theirs.judge, policy_a, policy_b, question_id, ours.verdict AS reward, theirs.verdict AS verdict
    FROM judged AS ours JOIN judged AS theirs USING (question_id, sample_index, policy_a, policy_b, "order")
    WHERE ours.judge = 'reward' AND theirs.judge <> 'reward'
        AND ours.verdict IN ('a', 'b') AND theirs.verdict IN ('a', 'b')
),
questions AS (
    SELECT
        judge,
        policy_a,
        policy_b,
        question_id,
        avg((reward = verdict)::INT) AS agrees,
        avg((reward = 'a')::INT) AS reward_a,
        avg((verdict = 'a')::INT) AS judge_a
    FROM both_judged
    GROUP BY ALL
),
shares AS (
    SELECT
        judge,
        policy_a,
        policy_b,
        avg(agrees) AS agreement,
        margin_of_error(stddev_samp(agrees), count(*)) AS plus_minus,
        avg(reward_a) * avg(judge_a) + (1 - avg(reward_a)) * (1 - avg(judge_a)) AS by_chance,
        count(*) AS questions
    FROM questions
    GROUP BY ALL
)
SELECT
    judge,
    policy_a,
    policy_b,
    round(agreement, 4) AS agreement,
    round(plus_minus, 4) AS plus_minus,
    round((agreement - by_chance) / nullif(1 - by_chance, 0), 4) AS kappa,
    questions
FROM shares
ORDER BY ALL;
