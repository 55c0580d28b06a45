-- Does a judge say the same when the two answers change places?
-- first_wins: of the rows with a winner, those won by the answer that was shown first; 0.5 is no favourite place.
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
FROM (FROM judgements WHERE "order" = 'ab') AS ab
JOIN (FROM judgements WHERE "order" = 'ba') AS ba USING (question_id, sample_index, policy_a, policy_b, judge)
GROUP BY judge
ORDER BY judge;
