-- How good is every policy on one scale, by each judge?
--
-- Elo ratings from the table `judgements` alone: Bradley-Terry with a mean of 1000 and 400 points for odds of 10 to 1, a tie half
-- a win, one tie more between every two that were compared. metrics/judge_answers.json has them with their intervals;
-- synthalign/judging/ratings.py says more. A judge that does not put its policies on one scale is left out. A step is
-- the MM algorithm's (Hunter 2004, Eq. 3): what was won, by what the strengths of before make of each game. A judge's last step
-- is the first that moves no strength by more than a hundred-millionth of it.
WITH RECURSIVE

verdicts AS MATERIALIZED (
    SELECT judge, policy_a, policy_b, coalesce(won, 0) AS won, coalesce(judged, 0) AS judged
    FROM (SELECT DISTINCT judge, policy_a, policy_b FROM judgements)
    LEFT JOIN (
        SELECT
            judge,
            policy_a,
            policy_b,
            count(*) FILTER (verdict = 'a') + 0.5::DOUBLE * count(*) FILTER (verdict = 'tie') AS won,
            count(*)                                                                          AS judged
        FROM judgements
        ANTI JOIN (FROM judgements WHERE verdict = 'unjudged') USING (judge, policy_a, policy_b, question_id, sample_index)
        GROUP BY ALL
    ) USING (judge, policy_a, policy_b)
),

games AS MATERIALIZED (
    SELECT judge, policy, rival, sum(won) + 0.5 AS won, sum(judged) + 1 AS played
    FROM (
        SELECT judge, policy_a AS policy, policy_b AS rival, won, judged FROM verdicts
        UNION ALL
        SELECT judge, policy_b, policy_a, judged - won, judged FROM verdicts
    )
    WHERE judged > 0
    GROUP BY ALL
),

policies AS MATERIALIZED (
    SELECT judge, policy_a AS policy FROM verdicts
    UNION
    SELECT judge, policy_b FROM verdicts
),

reached AS (
    SELECT judge, min(policy) AS policy FROM policies GROUP BY judge
    UNION
    SELECT judge, rival FROM reached JOIN games USING (judge, policy)
),

on_one_scale AS MATERIALIZED (
    SELECT judge
    FROM policies
    LEFT JOIN reached USING (judge, policy)
    GROUP BY judge
    HAVING count(*) = count(reached.policy)
),

strengths AS (
    SELECT judge, policy, 1.0::DOUBLE AS strength, true AS moves FROM policies SEMI JOIN on_one_scale USING (judge)
    UNION ALL
    SELECT judge, policy, stronger, max(abs(stronger / strength - 1)) OVER (PARTITION BY judge) > 1e-8
    FROM (
        SELECT
            own.judge,
            own.policy,
            own.strength,
            sum(won) / sum(played / (own.strength + other.strength)) AS stronger
        FROM strengths AS own
        JOIN games ON (games.judge, games.policy) = (own.judge, own.policy)
        JOIN strengths AS other ON (other.judge, other.policy) = (games.judge, games.rival)
        WHERE own.moves
        GROUP BY ALL
    )
)

SELECT
    judge,
    policy,
    round(1000 + 400 * (log10(strength) - avg(log10(strength)) OVER (PARTITION BY judge)), 1) AS elo,
    (SELECT sum(played - 1) FROM games WHERE (games.judge, games.policy) = (strengths.judge, strengths.policy))::BIGINT AS verdicts
FROM strengths
WHERE NOT moves
ORDER BY judge, elo DESC, policy;
