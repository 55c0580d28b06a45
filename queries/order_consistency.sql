-- Does a judge say the same when the two answers change places?
-- first_wins: of the rows with a winner, those won by the answer that was shown first; 0.5 is no favourite place. Answers that
-- one order did not judge are counted as unjudged alone.
WITH both_orders AS (
    SELECT
        judge,
        ab.verdict AS first,
        ba.verdict AS second,
        ab.verdict <> 'unjudged' AND ba.verdict <> 'unjudged' AS judged
    FROM (FROM judgements WHERE "order" = 'ab') AS ab
    JOIN (FROM judgements WHERE "order" = 'ba') AS ba
        USING (question_id, sample_index, policy_a, policy_b, judge)
)
SELECT
    judge,
    count(*) AS pairs,
    count(*) FILTER (NOT judged) AS unjudged,
    round(avg((first = second)::INT) FILTER (judged), 4) AS same_verdict,
    round(
        (count(*) FILTER (judged AND first = 'a') + count(*) FILTER (judged AND second = 'b'))
            / nullif(count(*) FILTER (judged AND first <> 'tie') + count(*) FILTER (judged AND second <> 'tie'), 0),
        4
    ) AS first_wins
FROM both_orders
GROUP BY judge
ORDER BY judge;
