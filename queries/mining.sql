-- What became of the queries that the model wrote, and how near are the accepted ones to what was there before?
WITH written AS (
    SELECT 'accepted' AS outcome, text, nearest_rouge_l FROM queries WHERE origin = 'mined'
    UNION ALL
    SELECT reject_reason, text, nearest_rouge_l FROM queries_rejected
)
SELECT
    outcome,
    count(*) AS queries,
    round(count(*) / sum(count(*)) OVER (), 4) AS share,
    round(avg(length(text)), 2) AS characters,
    round(avg(nearest_rouge_l), 4) AS nearest_rouge_l,
    min(text) AS for_instance
FROM written
GROUP BY outcome
ORDER BY queries DESC, outcome;
