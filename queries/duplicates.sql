-- How often is the same text there twice, and do configurations or candidates repeat each other?
-- alike: rows whose text another row of the same query (of the same part, for queries) has too.
WITH texts AS (
    SELECT 'queries' AS of_table, origin AS part, '' AS query_id, text FROM queries
    UNION ALL
    SELECT 'queries_rejected', reject_reason, '', text FROM queries_rejected
    UNION ALL
    SELECT 'responses', 'all', query_id, text FROM responses
    UNION ALL
    SELECT 'candidates', guide, query_id, text FROM candidates
    UNION ALL
    SELECT 'answers', policy, question_id, text FROM answers
),
counted AS (
    SELECT *, count(*) OVER (PARTITION BY of_table, part, query_id, text) AS times FROM texts
)
SELECT
    of_table,
    part,
    count(*) AS texts,
    count(DISTINCT text) AS different,
    round(avg((times > 1)::INT), 4) AS alike,
    round(avg((trim(text) = '')::INT), 4) AS blank
FROM counted
GROUP BY ALL
ORDER BY ALL;
