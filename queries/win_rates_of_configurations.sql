-- Of every two vanilla configurations, how often is the response of the first the better one?
-- As the oracle labelled the raw pairs; a tie is half a win. A query has one pair of each two configurations.
WITH judged AS (
    SELECT chosen_config, rejected_config, 1.0 AS chosen_wins FROM comparisons WHERE member = 'gold'
    UNION ALL
    SELECT chosen_config, rejected_config, 0.5 FROM comparisons_dropped WHERE member = 'gold' AND drop_reason = 'tie'
),
wins AS (
    SELECT
        least(chosen_config, rejected_config) AS configuration,
        greatest(chosen_config, rejected_config) AS against,
        if(chosen_config < rejected_config, chosen_wins, 1 - chosen_wins) AS win
    FROM judged
    WHERE chosen_config <> rejected_config  -- people's own pairs have no configurations
)
SELECT
    configuration,
    against,
    round(avg(win), 4) AS win_rate,
    round(margin_of_error(stddev_samp(win), count(*)), 4) AS plus_minus,
    round(avg((win = 0.5)::INT), 4) AS ties,
    count(*) AS pairs
FROM wins
GROUP BY ALL
ORDER BY ALL;
