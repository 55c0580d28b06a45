-- On which answers does the reward model contradict the oracle most, and what do they say?
-- Both judges' differences are counted in their own standard deviations; the smaller of the two says how bad it is.
WITH differences AS (
    SELECT judge, question_id, sample_index, policy_a, policy_b, score_a - score_b AS difference
    FROM judgements
    WHERE "order" = 'ab' AND judge IN ('reward', 'oracle') AND score_a IS NOT NULL AND score_b IS NOT NULL
),
deviations AS (
    SELECT
        stddev_pop(difference) FILTER (judge = 'reward') AS reward,
        stddev_pop(difference) FILTER (judge = 'oracle') AS oracle
    FROM differences
),
contradictions AS (
    SELECT
        question_id,
        sample_index,
        if(ours.difference > 0, policy_a, policy_b) AS reward_prefers,
        if(ours.difference > 0, policy_b, policy_a) AS oracle_prefers,
        least(abs(ours.difference / deviations.reward), abs(theirs.difference / deviations.oracle)) AS how_bad
    FROM (FROM differences WHERE judge = 'reward') AS ours
    JOIN (FROM differences WHERE judge = 'oracle') AS theirs USING (question_id, sample_index, policy_a, policy_b), deviations
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
FROM contradictions AS c
JOIN queries ON queries.query_id = c.question_id
JOIN answers AS liked
    ON liked.question_id = c.question_id AND liked.sample_index = c.sample_index AND liked.policy = reward_prefers
JOIN answers AS better
    ON better.question_id = c.question_id AND better.sample_index = c.sample_index AND better.policy = oracle_prefers
ORDER BY c.how_bad DESC, c.question_id, c.sample_index, reward_prefers, oracle_prefers;
