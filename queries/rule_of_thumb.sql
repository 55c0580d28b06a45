-- How often is the rule of thumb right by the oracle, and what does each filter leave of it?
-- Of the queries that it has judged, without the pairs that it could not judge. In comparisons/gold a wrong pair is turned
-- round and has another id; a tie is neither right nor wrong.
WITH oracle AS (
    SELECT comparison_id, query_id, 'right' AS said FROM comparisons WHERE member = 'gold'
    UNION ALL
    SELECT comparison_id, query_id, drop_reason FROM comparisons_dropped
    WHERE member = 'gold' AND drop_reason IN ('tie', 'unjudged')
),
labels AS (
    SELECT member, comparisons.query_id, CASE WHEN said = 'tie' THEN NULL ELSE (said IS NOT NULL)::INT END AS is_right
    FROM comparisons LEFT JOIN oracle USING (comparison_id)
    WHERE member IN ('no_filter', 'no_keyword', 'no_length', 'heuristic', 'almost')
        AND comparisons.query_id IN (SELECT query_id FROM oracle WHERE said <> 'unjudged')
        AND said IS DISTINCT FROM 'unjudged'
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
