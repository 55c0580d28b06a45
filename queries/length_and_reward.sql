-- Do those who give points give more to longer answers?
-- slope: points that go with ten more characters, over all questions and policies together.
WITH scored AS (
    SELECT DISTINCT judge AS scorer, question_id, answers.text, if(policy = policy_a, score_a, score_b) AS points
    FROM judgements JOIN answers USING (question_id, sample_index)
    WHERE policy IN (policy_a, policy_b)
    UNION ALL
    SELECT 'candidates of ' || guide, query_id, text, reward FROM candidates
)
SELECT
    scorer,
    count(points) AS answers,
    round(corr(length(text), points), 4) AS correlation,
    round(10 * regr_slope(points, length(text)), 4) AS slope
FROM scored
WHERE points IS NOT NULL
GROUP BY ALL
ORDER BY ALL;
