-- What did the policy gain in reward while PPO trained it, and how far did it go for that?
SELECT
    step,
    round(avg(reward), 4) AS reward,
    round(margin_of_error(stddev_samp(reward), count(*)), 4) AS plus_minus,
    round(avg(kl), 4) AS kl,
    round(avg(tokens), 2) AS tokens,
    round(avg((finish_reason <> 'eos')::INT), 4) AS did_not_end,
    count(*) AS answers
FROM snapshots
WHERE trainer = 'ppo' AND member = 'almost'
GROUP BY step
ORDER BY step;
