SELECT
    judge,
    count(*) AS pairs,
    count(*) FILTER (ab.verdict = 'unjudged' OR ba.verdict = 'unjudged') AS unjudged,
    round(avg((ab.verdict = ba.verdict)::INT) FILTER (ab.verdict <> 'unjudged' AND ba.verdict <> 'unjudged'), 4)
        AS same_verdict,
    round(
        (count(*) FILTER (ab.verdict = 'a') + count(*) FILTER (ba.verdict = 'b'))
            / nullif(count(*) FILTER (ab.verdict IN ('a', 'b')) + count(*) FILTER (ba.verdict IN ('a', 'b')), 0),
        4
    ) AS first_wins
FROM (FROM read_parquet('data/judgements.parquet') WHERE "order" = 'ab') AS ab
JOIN (FROM read_parquet('data/judgements.parquet') WHERE "order" = 'ba') AS ba
    USING (question_id, sample_index, policy_a, policy_b, judge)
GROUP BY judge
ORDER BY judge;
