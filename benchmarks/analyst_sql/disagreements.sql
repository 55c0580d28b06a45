WITH scored AS (
    SELECT judge, question_id, sample_index, policy_a, policy_b, score_a - score_b AS difference
    FROM read_parquet('data/judgements.parquet')
    WHERE "order" = 'ab' AND judge IN ('reward', 'oracle') AND score_a IS NOT NULL AND score_b IS NOT NULL
),
deviations AS (
    SELECT
        stddev_pop(difference) FILTER (judge = 'reward') AS reward,
        stddev_pop(difference) FILTER (judge = 'oracle') AS oracle
    FROM scored
),
worst AS (
    SELECT
        question_id,
        sample_index,
        if(ours.difference > 0, policy_a, policy_b) AS reward_prefers,
        if(ours.difference > 0, policy_b, policy_a) AS oracle_prefers,
        least(abs(ours.difference / deviations.reward), abs(theirs.difference / deviations.oracle)) AS how_bad
    FROM (FROM scored WHERE judge = 'reward') AS ours
    JOIN (FROM scored WHERE judge = 'oracle') AS theirs USING (question_id, sample_index, policy_a, policy_b), deviations
    WHERE ours.difference * theirs.difference < 0
    ORDER BY how_bad DESC, question_id, sample_index, reward_prefers, oracle_prefers
    LIMIT 20
)
SELECT
    round(how_bad, 3) AS how_bad,
    queries.text AS question,
    reward_prefers,
    liked.text AS reward_likes,
    oracle_prefers,
    better.text AS oracle_likes
FROM worst
JOIN read_parquet('data/queries.parquet') AS queries ON queries.query_id = worst.question_id
JOIN read_parquet('data/answers/*.parquet') AS liked
    ON liked.question_id = worst.question_id AND liked.sample_index = worst.sample_index AND liked.policy = reward_prefers
JOIN read_parquet('data/answers/*.parquet') AS better
    ON better.question_id = worst.question_id AND better.sample_index = worst.sample_index AND better.policy = oracle_prefers
ORDER BY worst.how_bad DESC, worst.question_id, worst.sample_index, reward_prefers, oracle_prefers;
