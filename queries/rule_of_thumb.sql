-- How often is the rule of thumb right by the oracle, and what does each filter leave of it?
-- Without the pairs that the oracle could not judge. In comparisons/gold a wrong pair is turned round and has another id; a
-- tie is neither right nor wrong. Where people made comparisons/gold, from pairs of their own, there is nothing to count, nor
-- of pairs that are not among the raw ones, which it has judged: with `mode: adjacent` a filter brings others together.
WITH oracle AS (
    SELECT comparison_id, 'right' AS said FROM comparisons WHERE member = 'gold' AND chosen_config <> rejected_config
    UNION ALL
    SELECT comparison_id, drop_reason FROM comparisons_dropped
    WHERE member = 'gold' AND drop_reason IN ('tie', 'unjudged')
),
labels AS (
    SELECT member, query_id, CASE WHEN said = 'tie' THEN NULL ELSE (said IS NOT NULL)::INT END AS is_right
    FROM comparisons LEFT JOIN oracle USING (comparison_id)
    WHERE member IN ('no_filter', 'no_keyword', 'no_length', 'heuristic', 'almost')
        AND said IS DISTINCT FROM 'unjudged'
        AND comparison_id IN (SELECT comparison_id FROM comparisons WHERE member = 'no_filter')
        AND EXISTS (FROM comparisons WHERE member = 'gold' AND chosen_config <> rejected_config)
),
queries_of AS (
    SELECT member, query_id, count(*) AS pairs, count(is_right) AS decided, sum(is_right)::BIGINT AS correct
    FROM labels
    GROUP BY ALL
),
members AS (
    SELECT
        member,
        sum(correct) / sum(decided) AS share_right,
        sum(pairs)::BIGINT AS pairs,
        sum(decided)::BIGINT AS decided,
        count(*) AS queries,
        count(*) FILTER (decided > 0) AS deciding,
        sum(correct ** 2) AS correct_squared,
        sum(correct * decided) AS correct_decided,
        sum(decided ** 2) AS decided_squared
    FROM queries_of
    GROUP BY member
)
SELECT
    member,
    round(share_right, 4) AS share_right,
    -- the standard error of a ratio whose numerator and denominator are sums over queries: of (correct - share * decided)
    CASE WHEN deciding > 1 THEN round(
        1.96 / decided * sqrt(
            greatest(correct_squared - 2 * share_right * correct_decided + share_right ** 2 * decided_squared, 0)
        ),
        4
    ) END AS plus_minus,
    pairs,
    pairs - decided AS ties,
    queries
FROM members
ORDER BY share_right, member;
