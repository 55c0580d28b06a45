-- How often is the rule of thumb right by the oracle, and what does each filter leave of it?
-- In comparisons/gold a wrong pair is turned round and has another id; a tie is neither right nor wrong.
WITH oracle AS (
    SELECT comparison_id, 1 AS is_right FROM comparisons WHERE member = 'gold'
    UNION ALL
    SELECT comparison_id, NULL FROM comparisons_dropped WHERE member = 'gold'
),
labels AS (
    SELECT member, query_id, if(oracle.comparison_id IS NULL, 0, is_right) AS is_right
    FROM comparisons LEFT JOIN oracle USING (comparison_id)
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
