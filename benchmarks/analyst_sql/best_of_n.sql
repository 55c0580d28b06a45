WITH ranked AS (
    SELECT
        query_id,
        reward,
        length(text) AS characters,
        row_number() OVER (
            PARTITION BY query_id
            ORDER BY
                regexp_matches(text, '\S'),
                regexp_matches(text, '\S') AND coalesce(finish_reason IN ('eos', 'stop'), true),
                reward,
                sample_index DESC
        ) AS place,
        count(*) OVER (PARTITION BY query_id) AS candidates
    FROM read_parquet('data/candidates/rmsp.parquet')
    WHERE turn = 1 AND reward IS NOT NULL
),
-- the chance that the candidate at a place is the best of n, for the few different places
chances AS (
    SELECT
        place,
        candidates,
        n,
        if(place < n, 0, factorial(place - 1) / factorial(n - 1) / factorial(place - n))
            / (factorial(candidates) / factorial(n) / factorial(candidates - n)) AS chance
    FROM
        (SELECT DISTINCT place::INT AS place, candidates::INT AS candidates FROM ranked),
        (SELECT unnest(range(1, 1 + (SELECT min(candidates) FROM ranked)))::INT AS n)
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
    round(1.96 * stddev_samp(best.reward - one.reward) / sqrt(count(*)), 4) AS plus_minus,
    round(avg(best.characters), 2) AS characters,
    count(*) AS queries
FROM queries_of AS best JOIN queries_of AS one ON one.query_id = best.query_id AND one.n = 1
GROUP BY best.n
ORDER BY best.n;
