-- On which answers does the reward model contradict the oracle most, and what do they say?
-- Both judges' differences are counted in their own standard deviations; the smaller of the two says how bad it is.
WITH differences AS (
    SELECT
        judge,
        question_id,
        sample_index,
        policy_a,
        policy_b,
        (score_a - score_b) / stddev_pop(score_a - score_b) OVER (PARTITION BY judge) AS difference
    FROM judgements
    WHERE "order" = 'ab' AND score_a IS NOT NULL AND score_b IS NOT NULL
),
contradictions AS (
    SELECT
        question_id,
        sample_index,
        if(ours.difference > 0, policy_a, policy_b) AS reward_prefers,
        if(ours.difference > 0, policy_b, policy_a) AS oracle_prefers,
        least(abs(ours.difference), abs(oracle.difference)) AS how_bad
    FROM differences AS ours
    JOIN differences AS oracle USING (question_id, sample_index, policy_a, policy_b)
    WHERE ours.judge = 'reward' AND oracle.judge = 'oracle' AND ours.difference * oracle.difference < 0
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
ORDER BY how_bad DESC, c.question_id, c.sample_index, reward_prefers, oracle_prefers
LIMIT 20;
