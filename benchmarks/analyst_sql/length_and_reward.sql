WITH points AS (
    SELECT judge, question_id, sample_index, policy_a AS policy, score_a AS points
    FROM read_parquet('data/judgements.parquet') WHERE score_a IS NOT NULL
    UNION
    SELECT judge, question_id, sample_index, policy_b, score_b
    FROM read_parquet('data/judgements.parquet') WHERE score_b IS NOT NULL
),
scored AS (
    SELECT DISTINCT judge AS scorer, question_id, text, points
    FROM points JOIN read_parquet('data/answers/*.parquet') USING (question_id, sample_index, policy)
    UNION ALL
    SELECT 'candidates of ' || parse_filename(filename, true), query_id, text, reward
    FROM read_parquet('data/candidates/*.parquet', filename = true)
    WHERE reward IS NOT NULL
)
SELECT
    scorer,
    count(*) AS answers,
    round(corr(length(text), points), 4) AS correlation,
    round(10 * regr_slope(points, length(text)), 4) AS slope
FROM scored
GROUP BY ALL
ORDER BY ALL;
