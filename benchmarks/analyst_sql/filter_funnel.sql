WITH judged AS (
    SELECT drop_reason AS reason, count(*) AS pairs
    FROM read_parquet('data/comparisons_dropped/almost.parquet') GROUP BY ALL
    UNION ALL
    SELECT 'kept', count(*) FROM read_parquet('data/comparisons/almost.parquet')
),
steps AS (
    SELECT
        CASE
            WHEN reason LIKE 'rejected_response:%' THEN '1 unusable response'
            WHEN reason = 'identical' THEN '2 nothing to prefer'
            WHEN reason IN ('length_rule', 'one_pair_per_chosen') THEN '3 rule on pairs'
            WHEN reason = 'asis_disagrees' THEN '4 As-is reward model'
            ELSE '5 learned from'
        END AS step,
        *
    FROM judged
)
SELECT
    step,
    reason,
    pairs,
    round(pairs / sum(pairs) OVER (), 4) AS share,
    (sum(pairs) OVER (ORDER BY step DESC, pairs, reason) - if(reason = 'kept', 0, pairs))::BIGINT AS left_after
FROM steps
ORDER BY step, pairs DESC, reason DESC;
