-- How did the win rates change between two published runs?
-- The last two by name, or --set older=<run> --set newer=<run>; only questions that both runs judged.
WITH runs AS (
    SELECT DISTINCT run FROM published('*', 'judgements')
),
newest AS (
    SELECT coalesce(getvariable('newer'), max(run)) AS newer FROM runs
),
compared AS (
    SELECT newer, coalesce(getvariable('older'), (SELECT max(run) FROM runs, newest WHERE run < newer)) AS older
    FROM newest
),
questions AS (
    SELECT
        run,
        policy_a,
        policy_b,
        judge,
        question_id,
        avg(CASE verdict WHEN 'a' THEN 1 WHEN 'tie' THEN 0.5 WHEN 'b' THEN 0 END) AS win
    FROM published('*', 'judgements')
    WHERE verdict <> 'unjudged'
    GROUP BY ALL
)
SELECT
    policy_a AS policy,
    policy_b AS against,
    judge,
    any_value(compared.older) AS older,
    any_value(compared.newer) AS newer,
    round(avg(before.win), 4) AS win_rate_before,
    round(avg(after.win), 4) AS win_rate_after,
    round(avg(after.win - before.win), 4) AS change,
    round(margin_of_error(stddev_samp(after.win - before.win), count(*)), 4) AS plus_minus,
    count(*) AS questions
FROM questions AS before
JOIN questions AS after USING (policy_a, policy_b, judge, question_id)
JOIN compared ON before.run = compared.older AND after.run = compared.newer
GROUP BY policy_a, policy_b, judge
ORDER BY policy_a, policy_b, judge;
