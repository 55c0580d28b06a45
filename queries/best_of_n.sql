-- What does the best of N candidates gain over one, in reward and in length?
-- The mean over all choices of N among a query's candidates, of which one is said that says anything and was not cut off,
-- where there is one; what the oracle says is in metrics/score_candidates.json.
WITH ranked AS (
    SELECT
        query_id,
        reward,
        length(text) AS characters,
        regexp_matches(text, '\S') AS spoken,
        spoken AND coalesce(finish_reason IN ('eos', 'stop'), true) AS whole,
        row_number() OVER (PARTITION BY query_id ORDER BY spoken, whole, if(spoken, reward, 0), sample_index DESC) AS place,
        count(*) OVER (PARTITION BY query_id) AS candidates
    FROM candidates
    WHERE guide = 'rmsp' AND turn = 1 AND reward IS NOT NULL
),
chances AS (
    -- the chance that the candidate at a place is the best of n: those worse than it fill the other n - 1 places,
    -- C(place - 1, n - 1) / C(candidates, n); the gamma of k + 1 is the factorial of k
    SELECT
        place,
        candidates,
        n,
        n * exp(lgamma(place) - lgamma(place - n + 1) + lgamma(candidates - n + 1) - lgamma(candidates + 1)) AS chance
    FROM
        (SELECT DISTINCT place, candidates FROM ranked),
        (SELECT unnest(range(1, 1 + (SELECT min(candidates) FROM ranked))) AS n)
    WHERE place >= n
),
queries_of AS (
    SELECT n, query_id, sum(chance * reward) AS reward, sum(chance * characters) AS characters
    FROM ranked JOIN chances USING (place, candidates)
    GROUP BY ALL
)
SELECT
    best.n,
    round(avg(best.reward), 4) AS reward,
    round(avg(best.reward - one.reward), 4) AS gain,
    round(margin_of_error(stddev_samp(best.reward - one.reward), count(*)), 4) AS plus_minus,
    round(avg(best.characters), 2) AS characters,
    count(*) AS queries
FROM queries_of AS best JOIN queries_of AS one ON one.query_id = best.query_id AND one.n = 1
GROUP BY best.n
ORDER BY best.n;
