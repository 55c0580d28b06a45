WITH measured AS (
    SELECT
        filename,
        length(chosen[1].content) AS better,
        length(rejected[1].content) AS worse,
        asis_chosen - asis_rejected AS difference
    FROM read_parquet('data/comparisons/*.parquet', filename = true, union_by_name = true)
)
SELECT
    parse_filename(filename, true) AS member,
    count(*) AS pairs,
    round(avg(better), 2) AS chosen_characters,
    round(avg(worse), 2) AS rejected_characters,
    round(avg((better > worse)::INT), 4) AS chosen_longer,
    round(corr(better - worse, difference), 4) AS correlation
FROM measured
GROUP BY filename
ORDER BY member;
