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
                if(regexp_matches(text, '\S'), reward, 0),
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
    round(1.96 * stddev_samp(best.reward - one.reward) / sqrt(count(*)), 4) AS plus_minus,
    round(avg(best.characters), 2) AS characters,
    count(*) AS queries
FROM queries_of AS best JOIN queries_of AS one ON one.query_id = best.query_id AND one.n = 1
GROUP BY best.n
ORDER BY best.n;
