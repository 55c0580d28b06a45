WITH points AS (
    SELECT judge, question_id, sample_index, policy, sum(score) AS points, count(*) AS times
    FROM (
        SELECT
            judge,
            question_id,
            sample_index,
            unnest([policy_a, policy_b]) AS policy,
            unnest([score_a, score_b])   AS score
        FROM read_parquet('data/judgements.parquet')
    )
    WHERE score IS NOT NULL
    GROUP BY ALL
),
scored AS (
    SELECT judge AS scorer, question_id, text, sum(points) / sum(times) AS points
    FROM points JOIN read_parquet('data/answers/*.parquet') USING (question_id, sample_index, policy)
    GROUP BY ALL
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
