-- Do those who give points give more to longer answers?
-- slope: points that go with ten more characters, over all questions and policies together.
WITH given AS (
    SELECT judge, question_id, sample_index, policy_a AS policy, score_a AS points FROM judgements WHERE score_a IS NOT NULL
    UNION
    SELECT judge, question_id, sample_index, policy_b, score_b FROM judgements WHERE score_b IS NOT NULL
),
scored AS (
    SELECT DISTINCT judge AS scorer, question_id, text, points
    FROM given JOIN answers USING (question_id, sample_index, policy)
    UNION ALL
    SELECT 'candidates of ' || guide, query_id, text, reward FROM candidates WHERE reward IS NOT NULL
)
SELECT
    scorer,
    count(*) AS answers,
    round(corr(length(text), points), 4) AS correlation,
    round(10 * regr_slope(points, length(text)), 4) AS slope
FROM scored
GROUP BY ALL
ORDER BY ALL;
