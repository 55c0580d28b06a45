WITH RECURSIVE
games AS MATERIALIZED (
    SELECT judge, policy, rival, sum(won) + 0.5 AS won, sum(played) + 1 AS played
    FROM (
        SELECT
            judge,
            unnest([policy_a, policy_b]) AS policy,
            unnest([policy_b, policy_a]) AS rival,
            unnest([won, played - won])  AS won,
            unnest([played, played])     AS played
        FROM (
            SELECT
                judge,
                policy_a,
                policy_b,
                count(*)                                                              AS played,
                count(*) FILTER (verdict = 'a') + 0.5 * count(*) FILTER (verdict = 'tie') AS won
            FROM read_parquet('data/judgements.parquet')
            ANTI JOIN (FROM read_parquet('data/judgements.parquet') WHERE verdict = 'unjudged')
                USING (judge, policy_a, policy_b, question_id, sample_index)
            GROUP BY ALL
        )
    )
    GROUP BY ALL
),
strengths AS (
    SELECT DISTINCT judge, policy, 1.0::DOUBLE AS strength, true AS moves FROM games
    UNION ALL
    SELECT judge, policy, stronger, max(abs(stronger / strength - 1)) OVER (PARTITION BY judge) > 1e-8
    FROM (
        SELECT s.judge, s.policy, s.strength, sum(g.won) / sum(g.played / (s.strength + r.strength)) AS stronger
        FROM strengths AS s
        JOIN games AS g ON (g.judge, g.policy) = (s.judge, s.policy)
        JOIN strengths AS r ON (r.judge, r.policy) = (s.judge, g.rival)
        WHERE s.moves
        GROUP BY ALL
    )
)
SELECT
    judge,
    policy,
    round(1000 + 400 * (log10(strength) - avg(log10(strength)) OVER (PARTITION BY judge)), 1) AS elo,
    (SELECT sum(played - 1) FROM games AS g WHERE (g.judge, g.policy) = (s.judge, s.policy))::BIGINT AS verdicts
FROM strengths AS s
WHERE NOT moves
ORDER BY judge, elo DESC, policy;
