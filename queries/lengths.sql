-- How long are chosen and rejected responses, and does the As-is reward go with the length?
-- correlation: of the difference in characters with the difference in As-is reward, where that model was asked.
SELECT
    member,
    count(*) AS pairs,
    round(avg(length(said(chosen))), 2) AS chosen_characters,
    round(avg(length(said(rejected))), 2) AS rejected_characters,
    round(avg((length(said(chosen)) > length(said(rejected)))::INT), 4) AS chosen_longer,
    round(corr(length(said(chosen)) - length(said(rejected)), asis_chosen - asis_rejected), 4) AS correlation
FROM comparisons
GROUP BY ALL
ORDER BY ALL;
