-- Which policy answers better, and by whose judgement?
-- A tie is half a win, answers that one order did not judge are left out, and both orders and all samples of a question count as one.
-- So every question weighs the same here; in win_rates every judgement does, and questions with more of them weigh more.
WITH questions AS (
    SELECT
        policy_a,
        policy_b,
        judge,
        question_id,
        avg(CASE verdict WHEN 'a' THEN 1 WHEN 'tie' THEN 0.5 WHEN 'b' THEN 0 END) AS win,
        avg((verdict = 'tie')::INT) AS tie
    FROM judgements
    ANTI JOIN (FROM judgements WHERE verdict = 'unjudged') USING (judge, policy_a, policy_b, question_id, sample_index)
    GROUP BY ALL
)
SELECT
    policy_a AS policy,
    policy_b AS against,
    judge,
    round(avg(win), 4) AS win_rate,
    round(margin_of_error(stddev_samp(win), count(*)), 4) AS plus_minus,
    round(avg(tie), 4) AS ties,
    count(*) AS questions
FROM questions
GROUP BY ALL
ORDER BY ALL;
