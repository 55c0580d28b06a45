-- one look at the table: the two orders of a pair are rows of one group
WITH both_orders AS (
    SELECT
        judge,
        any_value(verdict) FILTER ("order" = 'ab') AS first,
        any_value(verdict) FILTER ("order" = 'ba') AS second,
        bool_and(verdict <> 'unjudged') AS judged
    FROM read_parquet('data/judgements.parquet')
    GROUP BY judge, question_id, sample_index, policy_a, policy_b
    HAVING count(*) = 2
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
