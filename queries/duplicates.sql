-- How often is the same text there twice, and do configurations or candidates repeat each other?
-- alike: rows whose text another row of the same query (of the same part, for queries) has too.
WITH counted AS (
    SELECT 'queries' AS of_table, origin AS part, text, count(*) AS times FROM queries GROUP BY ALL
    UNION ALL
    SELECT 'queries_rejected', reject_reason, text, count(*) FROM queries_rejected GROUP BY ALL
    UNION ALL
    SELECT 'responses', 'all', text, count(*) FROM responses GROUP BY query_id, text
    UNION ALL
    SELECT 'candidates', guide, text, count(*) FROM candidates GROUP BY guide, query_id, text
    UNION ALL
    SELECT 'answers', policy, text, count(*) FROM answers GROUP BY policy, question_id, text
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
