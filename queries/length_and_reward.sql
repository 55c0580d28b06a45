-- Do those who give points give more to longer answers?
-- slope: points that go with ten more characters, over all questions and policies together. A text that a judge scored more
-- than once, to one question, counts once, with the mean of its points; candidates count as often as they were drawn.
WITH given AS (
    SELECT judge, question_id, sample_index, policy, sum(score) AS points, count(*) AS times
    FROM (
        SELECT judge, question_id, sample_index, policy_a AS policy, score_a AS score FROM judgements
        UNION ALL
        SELECT judge, question_id, sample_index, policy_b, score_b FROM judgements
    )
    WHERE score IS NOT NULL
    GROUP BY ALL
),
scored AS (
    SELECT judge AS scorer, question_id, text, sum(points) / sum(times) AS points
    FROM given JOIN answers USING (question_id, sample_index, policy)
    GROUP BY ALL
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
