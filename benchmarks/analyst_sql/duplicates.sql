WITH counted AS (
    SELECT 'queries' AS of_table, origin AS part, text, count(*) AS times
    FROM read_parquet('data/queries.parquet') GROUP BY ALL
    UNION ALL
    SELECT 'queries_rejected', reject_reason, text, count(*) FROM read_parquet('data/queries_rejected.parquet') GROUP BY ALL
    UNION ALL
    SELECT 'responses', 'all', text, count(*) FROM read_parquet('data/responses/*.parquet') GROUP BY query_id, text
    UNION ALL
    SELECT 'candidates', parse_filename(filename, true), text, count(*)
    FROM read_parquet('data/candidates/*.parquet', filename = true) GROUP BY filename, query_id, text
    UNION ALL
    SELECT 'answers', policy, text, count(*) FROM read_parquet('data/answers/*.parquet') GROUP BY policy, question_id, text
)
SELECT
    of_table,
    part,
    sum(times)::BIGINT AS texts,
    count(DISTINCT text) AS different,
    round(sum(if(times > 1, times, 0)) / sum(times), 4) AS alike,
    round(sum(if(trim(text) = '', times, 0)) / sum(times), 4) AS blank
FROM counted
GROUP BY ALL
ORDER BY ALL;
