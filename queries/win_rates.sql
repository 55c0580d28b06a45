-- Which policy wins, by which judge, and how much of it is the judge's, the place's or the length's doing?
--
-- Every figure of metrics/judge_answers.json, its intervals left out, from the table `judgements` alone. A row for each pair of
-- policies and each judge; synthalign/judging/win_rates.py says what the columns mean. Rates are shares of judgements, each of
-- the same weight; in win_rates_of_policies every question has the same.
WITH RECURSIVE

judged AS NOT MATERIALIZED (
    SELECT
        *,
        CASE verdict WHEN 'a' THEN 1.0 WHEN 'tie' THEN 0.5 ELSE 0.0 END::DOUBLE AS points,
        greatest(characters_a, characters_b) <= 1.2 * least(characters_a, characters_b) AS is_similar,
        characters_a - characters_b AS difference
    FROM judgements
    -- two answers of which a place has no verdict count nowhere: of one order its wins are the place's
    ANTI JOIN (FROM judgements WHERE verdict = 'unjudged') USING (judge, policy_a, policy_b, question_id, sample_index)
),

rates AS (
    SELECT
        policy_a,
        policy_b,
        judge,
        count(DISTINCT question_id)                                                            AS n,
        avg(points)                                                                            AS win_rate,
        avg((verdict = 'a')::INT)                                                              AS win,
        avg((verdict = 'tie')::INT)                                                            AS tie,
        avg((verdict = 'b')::INT)                                                              AS loss,
        avg(points) FILTER (is_similar)                                                        AS similar_length,
        avg(((verdict = 'a') = (difference > 0))::INT) FILTER (verdict <> 'tie' AND difference <> 0) AS longer_wins,
        avg(((verdict = 'a') = ("order" = 'ab'))::INT) FILTER (verdict <> 'tie')               AS first_chosen
    FROM judged
    GROUP BY ALL
),

-- what is there, judged or not
given AS (
    SELECT
        policy_a,
        policy_b,
        judge,
        count(*) FILTER (verdict = 'unjudged') AS unjudged,
        avg(characters_a)                      AS characters_a,
        avg(characters_b)                      AS characters_b,
        avg(tokens_a)                          AS tokens_a,
        avg(tokens_b)                          AS tokens_b
    FROM judgements
    GROUP BY ALL
),

-- what each judge makes of a pair of answers in either order, and in both together
units AS (
    SELECT
        policy_a,
        policy_b,
        judge,
        question_id,
        sample_index,
        any_value(verdict) FILTER ("order" = 'ab') AS ab,
        any_value(verdict) FILTER ("order" = 'ba') AS ba,
        sign(avg(points) - 0.5)                    AS winner
    FROM judged
    GROUP BY ALL
),

positions AS (
    SELECT
        policy_a,
        policy_b,
        judge,
        avg((ab <> ba AND ab <> 'tie' AND ba <> 'tie')::INT) AS position_bias,
        avg((ab = ba)::INT)                                  AS consistent
    FROM units
    WHERE ab IS NOT NULL AND ba IS NOT NULL
    GROUP BY ALL
),

-- logistic regression of points on the standardised difference of lengths, by 25 of Newton's steps; slope and 1 are the ridge
deviations AS (
    SELECT policy_a, policy_b, judge, stddev_pop(difference) AS deviation
    FROM judged
    GROUP BY ALL
),

-- the few different lengths, with what was won and how often each is there
weighted AS (
    SELECT policy_a, policy_b, judge, tanh(difference / deviation) AS x, wins, rows
    FROM (
        SELECT policy_a, policy_b, judge, difference, sum(points) AS wins, count(*) AS rows
        FROM judged
        GROUP BY ALL
    )
    JOIN deviations USING (policy_a, policy_b, judge)
    WHERE deviation > 0
),

newton AS (
    SELECT DISTINCT policy_a, policy_b, judge, 0 AS step, 0::DOUBLE AS intercept, 0::DOUBLE AS slope
    FROM weighted
    UNION ALL
    SELECT
        policy_a,
        policy_b,
        judge,
        step + 1,
        intercept + (g0 * h11 - g1 * h01) / (h00 * h11 - h01 * h01),
        slope + (g1 * h00 - g0 * h01) / (h00 * h11 - h01 * h01)
    FROM (
        SELECT
            policy_a,
            policy_b,
            judge,
            step,
            intercept,
            slope,
            sum(wins - rows * p)                   AS g0,
            sum((wins - rows * p) * x) - slope     AS g1,
            sum(rows * p * (1 - p))                AS h00,
            sum(rows * p * (1 - p) * x)            AS h01,
            sum(rows * p * (1 - p) * x * x) + 1    AS h11
        FROM (
            SELECT *, 1 / (1 + exp(-(intercept + slope * x))) AS p
            FROM newton JOIN weighted USING (policy_a, policy_b, judge)
            WHERE step < 25
        )
        GROUP BY policy_a, policy_b, judge, step, intercept, slope
    )
),

controlled AS (
    SELECT policy_a, policy_b, judge, 1 / (1 + exp(-intercept)) AS length_controlled
    FROM newton
    WHERE step = 25
),

-- that beside what every other judge makes of it
agreements AS (
    SELECT policy_a, policy_b, judge, map(list(other ORDER BY other), list(agree ORDER BY other)) AS agreement
    FROM (
        SELECT policy_a, policy_b, one.judge, two.judge AS other, round(avg((one.winner = two.winner)::INT), 6) AS agree
        FROM units AS one JOIN units AS two USING (policy_a, policy_b, question_id, sample_index)
        WHERE one.judge <> two.judge
        GROUP BY ALL
    )
    GROUP BY ALL
)

SELECT
    policy_a,
    policy_b,
    judge,
    n,
    round(win_rate, 6) AS win_rate,
    round(length_controlled, 6) AS length_controlled,
    round(similar_length, 6) AS similar_length,
    round(win, 6) AS win,
    round(tie, 6) AS tie,
    round(loss, 6) AS loss,
    unjudged,
    round(position_bias, 6) AS position_bias,
    round(consistent, 6) AS consistent,
    round(first_chosen, 6) AS first_chosen,
    round(longer_wins, 6) AS longer_wins,
    round(characters_a, 6) AS characters_a,
    round(characters_b, 6) AS characters_b,
    round(tokens_a, 6) AS tokens_a,
    round(tokens_b, 6) AS tokens_b,
    agreement
FROM given
LEFT JOIN rates USING (policy_a, policy_b, judge)
LEFT JOIN controlled USING (policy_a, policy_b, judge)
LEFT JOIN positions USING (policy_a, policy_b, judge)
LEFT JOIN agreements USING (policy_a, policy_b, judge)
ORDER BY policy_a, policy_b, judge;
