-- How much did each stage whose table keeps it let a model write, and what did that cost?
-- cost: of the tokens written, by completion_price of the endpoint's file; 0 for a model folder, NULL where the table does
-- not say how many they are or whose. What an endpoint read is in no table: its bill decides. Left out are stages that did
-- not run yet, and those that keep what was written in pairs or dialogues alone.
SET VARIABLE tables = (
    SELECT coalesce(list(file), [getvariable('root') || '/data/queries.parquet'])
    FROM glob(getvariable('root') || '/data/**/*.parquet')
    WHERE regexp_matches(file, 'data/(queries|queries_rejected|revisions)[.]parquet$')
        OR regexp_matches(file, 'data/(responses|answers|candidates|\w+_curve|\w+_samples|\w+_answers)/[^/]+[.]parquet$')
);
WITH prices AS (
    SELECT filename AS model, try_cast(
        replace(regexp_extract(content, '(?m)^completion_price[ \t]*:[ \t]*([0-9._eE+-]+)', 1), '_', '') AS DOUBLE
    ) AS price
    FROM read_text('data/endpoints/*.y*ml')
),
-- no table has all of these columns
columns AS (
    FROM read_parquet(getvariable('tables'), filename = true, union_by_name = true)
    UNION ALL BY NAME
    SELECT
        NULL::VARCHAR AS model, NULL::BIGINT AS tokens, NULL::VARCHAR AS finish_reason, NULL::VARCHAR AS critique,
        NULL::VARCHAR AS origin, NULL::DOUBLE AS kl
    WHERE false
),
written AS (
    SELECT
        filename,
        model,
        count(text) + count(critique) AS texts,
        sum(length(text) + coalesce(length(critique), 0)) AS characters,
        sum(tokens) AS tokens,
        count(*) FILTER (finish_reason = 'length') AS cut_off,
        count(finish_reason) AS ended
    FROM columns
    WHERE CASE split_part(filename, '/', -2)
        WHEN 'rrhf_samples' THEN kl IS NOT NULL  -- the others are another stage's
        WHEN 'task_answers' THEN finish_reason IS NOT NULL  -- the others were chosen among options
        ELSE origin IS NULL OR origin = 'mined'
    END
    GROUP BY ALL
),
named AS (
    SELECT split_part(filename, '/', -2) AS folder, parse_filename(filename, true) AS member, * EXCLUDE (filename) FROM written
),
stages AS (
    SELECT
        CASE
            WHEN folder = 'responses' THEN 'sample_responses@' || member
            WHEN folder = 'answers' THEN 'sample_answers@' || member
            WHEN folder = 'candidates' THEN 'simulate_demonstrations@' || member
            WHEN folder = 'task_answers' THEN 'answer_tasks@' || member
            WHEN folder = 'ditto_answers' THEN 'sample_ditto@' || member
            WHEN folder = 'dpo_curve' THEN 'snapshot_dpo'
            WHEN folder LIKE '%_curve' THEN 'train_' || folder[:-7] || '@' || member || ' (snapshots)'
            WHEN folder LIKE '%_samples' THEN 'train_' || folder[:-9] || '@' || member
            WHEN member = 'revisions' THEN 'revise_answers'
            ELSE 'mine_queries'
        END AS stage,
        if(regexp_matches(folder, '_(curve|samples)$'), 'models/', model) AS model,
        * EXCLUDE (folder, member, model)
    FROM named
)
SELECT
    stage,
    sum(texts)::BIGINT AS texts,
    sum(characters)::BIGINT AS characters,
    sum(tokens)::BIGINT AS tokens,
    round(sum(cut_off) / nullif(sum(ended), 0), 4) AS cut_off,
    round(sum(tokens * CASE WHEN regexp_matches(model, '[.]ya?ml$') THEN price / 1e6 WHEN model IS NOT NULL THEN 0 END), 4) AS cost
FROM stages LEFT JOIN prices USING (model)
WHERE texts > 0
GROUP BY stage
ORDER BY stage;
