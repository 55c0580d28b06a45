-- How many queries does each training table cover, and with how many pairs or dialogues each?
-- DITTO's pairs count as often as its steps drew them. The prompts of people, files and authors are counted as well, but are
-- no training queries: they are not in the share.
WITH used AS (
    SELECT 'comparisons/' || member AS of_table, query_id, count(*) AS uses FROM comparisons GROUP BY member, query_id
    UNION ALL
    SELECT 'demonstrations/' || guide, query_id, count(*) FROM demonstrations GROUP BY guide, query_id
),
trained AS (
    SELECT query_id FROM queries WHERE split = 'train'
)
SELECT
    of_table,
    count(*) AS queries,
    round(count(trained.query_id) / (SELECT count(*) FROM trained), 4) AS share_of_training_queries,
    round(avg(uses), 2) AS uses_of_a_query,
    max(uses) AS most_uses
FROM used LEFT JOIN trained USING (query_id)
GROUP BY of_table
ORDER BY of_table;
