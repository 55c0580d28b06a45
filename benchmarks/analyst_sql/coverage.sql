WITH used AS (
    SELECT filename, query_id, count(*) AS uses
    FROM read_parquet(['data/comparisons/*.parquet', 'data/demonstrations/*.parquet'], filename = true, union_by_name = true)
    GROUP BY ALL
),
trained AS (
    SELECT query_id FROM read_parquet('data/queries.parquet') WHERE split = 'train'
)
SELECT
    regexp_extract(filename, 'data/(.*)[.]parquet', 1) AS of_table,
    count(*) AS queries,
    round(count(*) FILTER (query_id IN (FROM trained)) / (SELECT count(*) FROM trained), 4) AS share_of_training_queries,
    round(avg(uses), 2) AS uses_of_a_query,
    max(uses) AS most_uses
FROM used
GROUP BY filename
ORDER BY of_table;
