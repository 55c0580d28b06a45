-- How long are chosen and rejected responses, and does the As-is reward go with the length?
-- correlation: of the difference in characters with the difference in As-is reward, where that model was asked. DITTO's pairs
-- count as often as its steps drew them.
WITH measured AS (
    SELECT
        member,
        length(said(chosen)) AS better,
        length(said(rejected)) AS worse,
        asis_chosen - asis_rejected AS asis_difference
    FROM comparisons
)
SELECT
    member,
    count(*) AS pairs,
    round(avg(better), 2) AS chosen_characters,
    round(avg(worse), 2) AS rejected_characters,
    round(avg((better > worse)::INT), 4) AS chosen_longer,
    round(corr(better - worse, asis_difference), 4) AS correlation
FROM measured
GROUP BY member
ORDER BY member;
