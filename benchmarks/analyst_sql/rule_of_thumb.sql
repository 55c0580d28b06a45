WITH oracle AS (
    SELECT comparison_id, 'right' AS said
    FROM read_parquet('data/comparisons/gold.parquet')
    WHERE chosen_config <> rejected_config
    UNION ALL
    SELECT comparison_id, drop_reason
    FROM read_parquet('data/comparisons_dropped/gold.parquet')
    WHERE drop_reason IN ('tie', 'unjudged')
),
labels AS (
    SELECT
        parse_filename(filename, true) AS member,
        query_id,
        CASE WHEN said = 'tie' THEN NULL ELSE (said IS NOT NULL)::INT END AS is_right
    FROM read_parquet(
        ['data/comparisons/no_filter.parquet', 'data/comparisons/no_keyword.parquet', 'data/comparisons/no_length.parquet',
            'data/comparisons/heuristic.parquet', 'data/comparisons/almost.parquet'],
        filename = true
    )
    LEFT JOIN oracle USING (comparison_id)
    WHERE said IS DISTINCT FROM 'unjudged'
        AND comparison_id IN (SELECT comparison_id FROM read_parquet('data/comparisons/no_filter.parquet'))
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
