-- How often is the rule of thumb right by the oracle, and what does each filter leave of it?
-- Of the pairs that the oracle has judged, whichever side it prefers; a tie is neither right nor wrong.
WITH oracle AS (
    SELECT chosen_id, rejected_id, chosen_id AS better FROM comparisons WHERE member = 'gold'
    UNION ALL
    SELECT chosen_id, rejected_id, NULL FROM comparisons_dropped WHERE member = 'gold' AND drop_reason = 'tie'
),
labels AS (
    SELECT member, query_id, (better = pairs.chosen_id)::INT AS is_right
    FROM comparisons AS pairs JOIN oracle
        ON least(pairs.chosen_id, pairs.rejected_id) = least(oracle.chosen_id, oracle.rejected_id)
        AND greatest(pairs.chosen_id, pairs.rejected_id) = greatest(oracle.chosen_id, oracle.rejected_id)
    WHERE member IN ('no_filter', 'no_keyword', 'no_length', 'heuristic', 'almost')
),
queries_of AS (
    SELECT member, query_id, count(*) AS pairs, count(is_right) AS decided, sum(is_right) AS correct
    FROM labels
    GROUP BY ALL
),
shares AS (
    SELECT *, sum(correct) OVER one / sum(decided) OVER one AS share_right
    FROM queries_of
    WINDOW one AS (PARTITION BY member)
)
SELECT
    member,
    round(any_value(share_right), 4) AS share_right,
    -- the standard error of a ratio whose numerator and denominator are sums over queries
    round(1.96 * sqrt(sum((correct - share_right * decided) ** 2)) / sum(decided), 4) AS plus_minus,
    sum(pairs)::BIGINT AS pairs,
    (sum(pairs) - sum(decided))::BIGINT AS ties,
    count(*) AS queries
FROM shares
GROUP BY member
ORDER BY share_right, member;
