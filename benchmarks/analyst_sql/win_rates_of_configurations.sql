WITH wins AS (
    SELECT
        least(chosen_config, rejected_config) AS configuration,
        greatest(chosen_config, rejected_config) AS against,
        if(chosen_config < rejected_config, 1.0, 0.0) AS win
    FROM read_parquet('data/comparisons/gold.parquet')
    WHERE chosen_config <> rejected_config
    UNION ALL
    SELECT least(chosen_config, rejected_config), greatest(chosen_config, rejected_config), 0.5
    FROM read_parquet('data/comparisons_dropped/gold.parquet')
    WHERE drop_reason = 'tie' AND chosen_config <> rejected_config
)
SELECT
    configuration,
    against,
    round(avg(win), 4) AS win_rate,
    round(1.96 * stddev_samp(win) / sqrt(count(*)), 4) AS plus_minus,
    round(avg((win = 0.5)::INT), 4) AS ties,
    count(*) AS pairs
FROM wins
GROUP BY ALL
ORDER BY ALL;
