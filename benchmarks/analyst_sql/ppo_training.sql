SELECT
    step,
    round(avg(reward), 4) AS reward,
    round(1.96 * stddev_samp(reward) / sqrt(count(*)), 4) AS plus_minus,
    round(avg(kl), 4) AS kl,
    round(avg(tokens), 2) AS tokens,
    round(avg((finish_reason <> 'eos')::INT), 4) AS did_not_end,
    count(*) AS answers
FROM read_parquet('data/ppo_curve/almost.parquet')
GROUP BY step
ORDER BY step;
