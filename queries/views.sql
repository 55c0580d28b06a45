-- One view for each table of the graph, every column with its meaning; a family (data/responses/*.parquet) is one view.
--
--     duckdb -init queries/views.sql          in DuckDB's own shell, from the root of the repository
--     python -m synthalign sql "..."      has them already
--
-- The tables are those of this folder, or of another one that has a data/ in it:
--     SET VARIABLE root = 'published/2026-11-21-ca95026b';

SET VARIABLE root = coalesce(getvariable('root'), '.');

-- What stands at the end of every file is read when its view is made, and not again by every question.
SET parquet_metadata_cache = true;

-- The text of a message list: of its last message, as in prompt, chosen and rejected.
CREATE OR REPLACE MACRO said(messages) AS messages[-1].content;

-- 95% of a normal distribution lie within so many standard errors of its mean.
CREATE OR REPLACE MACRO margin_of_error(deviation, n) AS 1.96 * deviation / sqrt(n);

-- One table of published runs, with the run's name in front: FROM published('*', 'judgements').
CREATE OR REPLACE MACRO published(run, name) AS TABLE
    SELECT split_part(filename, '/', 2) AS run, * EXCLUDE (filename)
    FROM read_parquet('published/' || run || '/data/' || name || '.parquet', filename = true, union_by_name = true)
    WHERE run <> '*' OR regexp_matches(split_part(filename, '/', 2), '^[0-9]{4}-');  -- not the link `latest` as well

-- -- queries ----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW queries AS
FROM read_parquet(getvariable('root') || '/data/queries.parquet');
COMMENT ON VIEW queries IS 'What everything else is about: seeds, mined queries and evaluation questions';
COMMENT ON COLUMN queries.query_id IS 'Hash of the text';
COMMENT ON COLUMN queries.text IS 'The query';
COMMENT ON COLUMN queries.origin IS 'seed, mined, or eval for an evaluation question';
COMMENT ON COLUMN queries.split IS 'train, or eval: never trained on';
COMMENT ON COLUMN queries.nearest_id IS 'Mined: the older query that it resembles most, never an evaluation question; NULL for none';
COMMENT ON COLUMN queries.nearest_rouge_l IS 'Mined: ROUGE-L F1 with that one, 0 to 1; 0 where there is none';

CREATE OR REPLACE VIEW queries_rejected AS
FROM read_parquet(getvariable('root') || '/data/queries_rejected.parquet');
COMMENT ON VIEW queries_rejected IS 'What the mining model wrote and was not used';
COMMENT ON COLUMN queries_rejected.candidate_id IS 'Hash of its place in the run';
COMMENT ON COLUMN queries_rejected.round IS 'Round of mining';
COMMENT ON COLUMN queries_rejected.text IS 'What was written';
COMMENT ON COLUMN queries_rejected.reject_reason IS 'The first filter that it did not pass';
COMMENT ON COLUMN queries_rejected.nearest_text IS 'The query that it is too near to; NULL where another filter rejected it';
COMMENT ON COLUMN queries_rejected.nearest_rouge_l IS 'ROUGE-L F1 with that one, 0 to 1';

-- -- responses and comparisons ----------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW responses AS
FROM read_parquet(getvariable('root') || '/data/responses/*.parquet', union_by_name = true);
COMMENT ON VIEW responses IS 'Answers of the vanilla configurations, and of the probes, to the queries';
COMMENT ON COLUMN responses.response_id IS 'Hash of configuration, query, sample and text';
COMMENT ON COLUMN responses.query_id IS 'The query: queries.query_id';
COMMENT ON COLUMN responses.config IS 'The configuration, a member of sample_responses.configurations';
COMMENT ON COLUMN responses.model IS 'Its model: a folder, or the file of an endpoint';
COMMENT ON COLUMN responses.demonstrations IS 'File of the dialogues that it was shown';
COMMENT ON COLUMN responses.shots IS 'How many of them';
COMMENT ON COLUMN responses.sample_index IS 'Number of the sample, from 0';
COMMENT ON COLUMN responses.text IS 'The response';
COMMENT ON COLUMN responses.tokens IS 'Tokens that the model wrote, the end included';
COMMENT ON COLUMN responses.finish_reason IS 'eos, stop (it went on to the next turn), length (cut off), or error';

CREATE OR REPLACE VIEW comparisons_ranked AS
FROM read_parquet(getvariable('root') || '/data/comparisons_ranked.parquet');
COMMENT ON VIEW comparisons_ranked IS 'Every pair of responses by the rule of thumb, with what the heuristic filter says';
COMMENT ON COLUMN comparisons_ranked.comparison_id IS 'Hash of the two response ids in this order';
COMMENT ON COLUMN comparisons_ranked.query_id IS 'The query: queries.query_id';
COMMENT ON COLUMN comparisons_ranked.prompt IS 'The dialogue up to the response: messages of role and content';
COMMENT ON COLUMN comparisons_ranked.chosen IS 'The response that should be better: a message; said(chosen) is its text';
COMMENT ON COLUMN comparisons_ranked.rejected IS 'The other response';
COMMENT ON COLUMN comparisons_ranked.chosen_id IS 'responses.response_id of the chosen one';
COMMENT ON COLUMN comparisons_ranked.rejected_id IS 'responses.response_id of the other';
COMMENT ON COLUMN comparisons_ranked.chosen_config IS 'Configuration of the chosen one';
COMMENT ON COLUMN comparisons_ranked.rejected_config IS 'Configuration of the other';
COMMENT ON COLUMN comparisons_ranked.chosen_finish_reason IS 'How the chosen one ended: eos, stop (it went on to the next turn), length (cut off), or error';
COMMENT ON COLUMN comparisons_ranked.rejected_finish_reason IS 'How the other ended';
COMMENT ON COLUMN comparisons_ranked.feedback IS 'What labelled the pair';
COMMENT ON COLUMN comparisons_ranked.p_chosen IS 'Probability that the chosen one is better; 1 for a hard label';
COMMENT ON COLUMN comparisons_ranked.drop_reason IS 'Why the heuristic filter drops it; NULL keeps it';

CREATE OR REPLACE VIEW comparisons AS
SELECT parse_filename(filename, true) AS member, * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/comparisons/*.parquet', filename = true, union_by_name = true)
UNION ALL BY NAME
SELECT
    NULL::DOUBLE AS asis_chosen, NULL::DOUBLE AS asis_rejected,
    NULL::BIGINT AS affix,
    NULL::VARCHAR AS chosen_affix,
    NULL::VARCHAR AS rejected_affix,
    NULL::BIGINT AS attempts,
    NULL::DOUBLE AS p_ab,
    NULL::DOUBLE AS p_ba,
    NULL::BIGINT AS principle,
    NULL::VARCHAR AS labeller,
    NULL::VARCHAR AS kind,
    NULL::BIGINT AS iteration,
    NULL::BIGINT AS step
WHERE false;
COMMENT ON VIEW comparisons IS 'Pairs to learn from. A pair stands in several members: say which you mean';
COMMENT ON COLUMN comparisons.member IS 'The table data/comparisons/<member>: what a reward model or DPO is trained on';
COMMENT ON COLUMN comparisons.comparison_id IS 'Hash of the two response ids in this order; unique within a member, of DITTO within a step';
COMMENT ON COLUMN comparisons.query_id IS 'The query: queries.query_id; a hash of the prompt where people, a file or an author brought it';
COMMENT ON COLUMN comparisons.prompt IS 'The dialogue up to the response: messages of role and content';
COMMENT ON COLUMN comparisons.chosen IS 'The response that should be better: a message; said(chosen) is its text';
COMMENT ON COLUMN comparisons.rejected IS 'The other response';
COMMENT ON COLUMN comparisons.chosen_id IS 'Response id of the chosen one; in responses where vanilla configurations wrote it';
COMMENT ON COLUMN comparisons.rejected_id IS 'Response id of the other';
COMMENT ON COLUMN comparisons.chosen_config IS 'Configuration or policy of the chosen one';
COMMENT ON COLUMN comparisons.rejected_config IS 'Configuration or policy of the other';
COMMENT ON COLUMN comparisons.chosen_finish_reason IS 'How the chosen one ended: eos, stop (it went on to the next turn), length (cut off), or error; NULL where a person wrote it';
COMMENT ON COLUMN comparisons.rejected_finish_reason IS 'How the other ended';
COMMENT ON COLUMN comparisons.feedback IS 'What labelled the pair';
COMMENT ON COLUMN comparisons.p_chosen IS 'Probability that the chosen one is better; 1 for a hard label';
COMMENT ON COLUMN comparisons.asis_chosen IS 'As-is reward of the chosen one; NULL where that model was not asked';
COMMENT ON COLUMN comparisons.asis_rejected IS 'As-is reward of the other';
COMMENT ON COLUMN comparisons.affix IS 'Index of the pair of phrases that the two prompts had (RLCD); NULL where there was none';
COMMENT ON COLUMN comparisons.chosen_affix IS 'The phrase in the prompt of the chosen one';
COMMENT ON COLUMN comparisons.rejected_affix IS 'The phrase in the prompt of the other';
COMMENT ON COLUMN comparisons.attempts IS 'Tries of both sides together until both could be used: 2 is the first of each';
COMMENT ON COLUMN comparisons.p_ab IS 'A labellers probability for the chosen one when it was shown first; NULL without a labeller, or where it was asked in the other order alone';
COMMENT ON COLUMN comparisons.p_ba IS 'The same when it was shown second; NULL likewise';
COMMENT ON COLUMN comparisons.principle IS 'Index of the principle that the labeller was given';
COMMENT ON COLUMN comparisons.labeller IS 'The labellers folder';
COMMENT ON COLUMN comparisons.kind IS 'DITTO: online, replay or inter (samples of two iterations)';
COMMENT ON COLUMN comparisons.iteration IS 'DITTO: the iteration that the pair was learned from in';
COMMENT ON COLUMN comparisons.step IS 'DITTO: the step that learned from the pair';

CREATE OR REPLACE VIEW comparisons_dropped AS
SELECT parse_filename(filename, true) AS member, * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/comparisons_dropped/*.parquet', filename = true, union_by_name = true)
UNION ALL BY NAME
SELECT
    NULL::DOUBLE AS asis_chosen, NULL::DOUBLE AS asis_rejected,
    NULL::BIGINT AS affix,
    NULL::VARCHAR AS chosen_affix,
    NULL::VARCHAR AS rejected_affix,
    NULL::BIGINT AS attempts
WHERE false;
COMMENT ON VIEW comparisons_dropped IS 'Pairs that are not learned from, and why';
COMMENT ON COLUMN comparisons_dropped.member IS 'The table data/comparisons/<member> that it is not in';
COMMENT ON COLUMN comparisons_dropped.comparison_id IS 'Hash of the two response ids in this order; unique within a member';
COMMENT ON COLUMN comparisons_dropped.query_id IS 'The query: queries.query_id; a hash of the prompt where people, a file or an author brought it';
COMMENT ON COLUMN comparisons_dropped.prompt IS 'The dialogue up to the response: messages of role and content';
COMMENT ON COLUMN comparisons_dropped.chosen IS 'The response that should be better: a message; said(chosen) is its text';
COMMENT ON COLUMN comparisons_dropped.rejected IS 'The other response';
COMMENT ON COLUMN comparisons_dropped.chosen_id IS 'Response id of the chosen one';
COMMENT ON COLUMN comparisons_dropped.rejected_id IS 'Response id of the other';
COMMENT ON COLUMN comparisons_dropped.chosen_config IS 'Configuration of the chosen one';
COMMENT ON COLUMN comparisons_dropped.rejected_config IS 'Configuration of the other';
COMMENT ON COLUMN comparisons_dropped.chosen_finish_reason IS 'How the chosen one ended: eos, stop (it went on to the next turn), length (cut off), or error; NULL where a person wrote it';
COMMENT ON COLUMN comparisons_dropped.rejected_finish_reason IS 'How the other ended';
COMMENT ON COLUMN comparisons_dropped.feedback IS 'What labelled the pair';
COMMENT ON COLUMN comparisons_dropped.p_chosen IS 'Probability that the chosen one is better; 1 for a hard label';
COMMENT ON COLUMN comparisons_dropped.drop_reason IS 'Why: rejected_response:..., identical, one_pair_per_chosen, length_rule, asis_disagrees, tie, unjudged, or of RLCD the side and what was wrong with it';
COMMENT ON COLUMN comparisons_dropped.asis_chosen IS 'As-is reward of the chosen one; NULL where that model was not asked';
COMMENT ON COLUMN comparisons_dropped.asis_rejected IS 'As-is reward of the other';
COMMENT ON COLUMN comparisons_dropped.affix IS 'Index of the pair of phrases that the two prompts had (RLCD); NULL where there was none';
COMMENT ON COLUMN comparisons_dropped.chosen_affix IS 'The phrase in the prompt of the chosen one';
COMMENT ON COLUMN comparisons_dropped.rejected_affix IS 'The phrase in the prompt of the other';
COMMENT ON COLUMN comparisons_dropped.attempts IS 'Tries of both sides together until both could be used: 2 is the first of each';

-- -- self-play --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW candidates AS
SELECT parse_filename(filename, true) AS guide, * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/candidates/*.parquet', filename = true, union_by_name = true);
COMMENT ON VIEW candidates IS 'Everything that the assistant could have said in self-play';
COMMENT ON COLUMN candidates.guide IS 'Member of simulate_demonstrations: rmsp chooses by reward, selfplay takes the first';
COMMENT ON COLUMN candidates.query_id IS 'The query that the dialogue begins with: queries.query_id';
COMMENT ON COLUMN candidates.turn IS 'Turn of the dialogue, the query being 0: 1, 3, ...';
COMMENT ON COLUMN candidates.sample_index IS 'Number of the candidate, from 0';
COMMENT ON COLUMN candidates.text IS 'What it said';
COMMENT ON COLUMN candidates.finish_reason IS 'eos, stop (it went on to the next turn), length (cut off), or error';
COMMENT ON COLUMN candidates.reward IS 'By the guide''s reward model; NULL where none was asked';
COMMENT ON COLUMN candidates.is_best IS 'Whether the dialogue goes on with it';

CREATE OR REPLACE VIEW demonstrations AS
SELECT parse_filename(filename, true) AS guide, * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/demonstrations/*.parquet', filename = true, union_by_name = true);
COMMENT ON VIEW demonstrations IS 'What SFT learns from: dialogues of self-play, distilled answers, revised answers';
COMMENT ON COLUMN demonstrations.guide IS 'Member of train_sft';
COMMENT ON COLUMN demonstrations.demonstration_id IS 'Hash of guide, query and what was said';
COMMENT ON COLUMN demonstrations.query_id IS 'The query that it begins with: queries.query_id; a hash of the prompt where people or a file brought it';
COMMENT ON COLUMN demonstrations.messages IS 'The dialogue: messages of role and content; said(messages) is the last answer';
COMMENT ON COLUMN demonstrations.finish_reason IS 'How the last answer ended: eos, stop, or length (cut off: it is learned without an end); NULL where a person wrote it';
COMMENT ON COLUMN demonstrations.reward IS 'Of the last answer; NULL where no reward model was asked';
COMMENT ON COLUMN demonstrations.taught IS 'How many answers, the last ones, are learned; NULL for all';

-- -- policies ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW answers AS
FROM read_parquet(getvariable('root') || '/data/answers/*.parquet', union_by_name = true);
COMMENT ON VIEW answers IS 'Answers of the policies to the evaluation questions';
COMMENT ON COLUMN answers.question_id IS 'The question: queries.query_id with split eval';
COMMENT ON COLUMN answers.policy IS 'The policy, a member of sample_answers.policies';
COMMENT ON COLUMN answers.sample_index IS 'Number of the sample, from 0';
COMMENT ON COLUMN answers.text IS 'The answer';
COMMENT ON COLUMN answers.tokens IS 'Tokens that the policy wrote, the end included';
COMMENT ON COLUMN answers.finish_reason IS 'eos, stop (it went on to the next turn), length (cut off), or error';

CREATE OR REPLACE VIEW judgements AS
FROM read_parquet(getvariable('root') || '/data/judgements.parquet');
COMMENT ON VIEW judgements IS 'What judges say of the answers of two policies to one question';
COMMENT ON COLUMN judgements.question_id IS 'The question: queries.query_id with split eval';
COMMENT ON COLUMN judgements.sample_index IS 'Sample of both answers';
COMMENT ON COLUMN judgements.policy_a IS 'One policy: answers.policy';
COMMENT ON COLUMN judgements.policy_b IS 'The other';
COMMENT ON COLUMN judgements."order" IS 'Whose answer the judge saw first: ab or ba';
COMMENT ON COLUMN judgements.judge IS 'Who judges: oracle, reward, people (the reward model of people''s pairs), llm:<model> or human:<id>';
COMMENT ON COLUMN judgements.verdict IS 'a, b, tie or unjudged; always of policy_a and policy_b, whatever the order';
COMMENT ON COLUMN judgements.score_a IS 'What the judge gave policy_a''s answer; NULL where it gave nothing';
COMMENT ON COLUMN judgements.score_b IS 'What it gave policy_b''s';
COMMENT ON COLUMN judgements.raw IS 'What a judge that writes has written, or a person chose; NULL for one that scores';
COMMENT ON COLUMN judgements.characters_a IS 'Characters of policy_a''s answer';
COMMENT ON COLUMN judgements.characters_b IS 'Characters of policy_b''s';
COMMENT ON COLUMN judgements.tokens_a IS 'Tokens of policy_a''s answer';
COMMENT ON COLUMN judgements.tokens_b IS 'Tokens of policy_b''s';

CREATE OR REPLACE VIEW snapshots AS
SELECT
    regexp_extract(filename, '([a-z_]+)_curve/[^/]*$', 1) AS trainer,
    parse_filename(filename, true) AS member,
    * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/*_curve/*.parquet', filename = true, union_by_name = true);
COMMENT ON VIEW snapshots IS 'Answers to the evaluation questions while a policy was trained, with the reward that it was trained for';
COMMENT ON COLUMN snapshots.trainer IS 'ppo, dpo, rrhf or group_rl (RLOO and GRPO): the stage is train_<trainer>, of dpo snapshot_dpo';
COMMENT ON COLUMN snapshots.member IS 'Member of that stage; dpo of dpo';
COMMENT ON COLUMN snapshots.step IS 'Steps of training before';
COMMENT ON COLUMN snapshots.question_id IS 'The question: queries.query_id with split eval';
COMMENT ON COLUMN snapshots.text IS 'The answer';
COMMENT ON COLUMN snapshots.tokens IS 'Tokens that the policy wrote, the end included';
COMMENT ON COLUMN snapshots.finish_reason IS 'eos, stop, length (cut off), or error';
COMMENT ON COLUMN snapshots.reward IS 'By the reward model that the trainer pleases';
COMMENT ON COLUMN snapshots.kl IS 'Distance from the policy that training began with, in nats, of this answer';

CREATE OR REPLACE VIEW rrhf_samples AS
SELECT parse_filename(filename, true) AS member, * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/rrhf_samples/*.parquet', filename = true, union_by_name = true);
COMMENT ON VIEW rrhf_samples IS 'The responses that RRHF ranked';
COMMENT ON COLUMN rrhf_samples.member IS 'Member of train_rrhf';
COMMENT ON COLUMN rrhf_samples.round IS 'Round of sampling, from 0';
COMMENT ON COLUMN rrhf_samples.query_id IS 'The query: queries.query_id';
COMMENT ON COLUMN rrhf_samples.sample_index IS 'Number of the response, from 0';
COMMENT ON COLUMN rrhf_samples.text IS 'The response';
COMMENT ON COLUMN rrhf_samples.tokens IS 'Tokens of it, the end included';
COMMENT ON COLUMN rrhf_samples.finish_reason IS 'eos, stop, length (cut off), or error';
COMMENT ON COLUMN rrhf_samples.reward IS 'By the reward model';
COMMENT ON COLUMN rrhf_samples.kl IS 'Distance of the policy that wrote it from the first, in nats; NULL where another stage wrote it';
COMMENT ON COLUMN rrhf_samples.rank_reward IS 'What it is ranked by: the reward, less the price on distance, or missing_stop_penalty where an own answer did not end';

CREATE OR REPLACE VIEW revisions AS
FROM read_parquet(getvariable('root') || '/data/revisions.parquet');
COMMENT ON VIEW revisions IS 'Answers before and after critique and revision';
COMMENT ON COLUMN revisions.query_id IS 'The query: queries.query_id';
COMMENT ON COLUMN revisions.step IS '0 for the first answer, then the revision';
COMMENT ON COLUMN revisions.principle IS 'Index of the principle; NULL for the first answer';
COMMENT ON COLUMN revisions.critique IS 'What the model said of the answer before; NULL for the first';
COMMENT ON COLUMN revisions.text IS 'The answer';
COMMENT ON COLUMN revisions.finish_reason IS 'eos, stop (it went on to the next turn), length (cut off), or error';
COMMENT ON COLUMN revisions.reject_reason IS 'Why it is not used; NULL uses it';

CREATE OR REPLACE VIEW ditto_samples AS
SELECT parse_filename(filename, true) AS author, * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/ditto_samples/*.parquet', filename = true, union_by_name = true);
COMMENT ON VIEW ditto_samples IS 'What the policy wrote for an author''s prompts in every iteration';
COMMENT ON COLUMN ditto_samples.author IS 'Member of train_ditto';
COMMENT ON COLUMN ditto_samples.sample_id IS 'Hash of demonstration, iteration, sample and text';
COMMENT ON COLUMN ditto_samples.demonstration_id IS 'Hash of the demonstration whose prompt it answers';
COMMENT ON COLUMN ditto_samples.iteration IS 'Iteration, from 0';
COMMENT ON COLUMN ditto_samples.sample_index IS 'Number of the sample, from 0';
COMMENT ON COLUMN ditto_samples.prompt IS 'The prompt';
COMMENT ON COLUMN ditto_samples.text IS 'The answer';
COMMENT ON COLUMN ditto_samples.tokens IS 'Tokens of it, the end included';
COMMENT ON COLUMN ditto_samples.finish_reason IS 'eos, stop, length (cut off), or error';
COMMENT ON COLUMN ditto_samples.policy IS 'Who wrote it: a hash of the weights, not a name as in answers';

CREATE OR REPLACE VIEW ditto_answers AS
SELECT parse_filename(filename, true) AS author, * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/ditto_answers/*.parquet', filename = true, union_by_name = true);
COMMENT ON VIEW ditto_answers IS 'Answers to an author''s held-out prompts, by DITTO and what it is compared with';
COMMENT ON COLUMN ditto_answers.author IS 'Member of sample_ditto';
COMMENT ON COLUMN ditto_answers.prompt_id IS 'Hash of the prompt';
COMMENT ON COLUMN ditto_answers.method IS 'zero_shot, few_shot, self_prompt, sft, spin or ditto';
COMMENT ON COLUMN ditto_answers.sample_index IS 'Number of the sample, from 0';
COMMENT ON COLUMN ditto_answers.prompt IS 'The prompt';
COMMENT ON COLUMN ditto_answers.text IS 'The answer';
COMMENT ON COLUMN ditto_answers.tokens IS 'Tokens of it, the end included';
COMMENT ON COLUMN ditto_answers.finish_reason IS 'eos, stop, length (cut off), or error';

CREATE OR REPLACE VIEW mixtures AS
SELECT parse_filename(filename, true) AS member, * EXCLUDE (filename)
FROM read_parquet(getvariable('root') || '/data/mixtures/*.parquet', filename = true, union_by_name = true);
COMMENT ON VIEW mixtures IS 'Instruction data: the examples of every mixture';
COMMENT ON COLUMN mixtures.member IS 'Member of build_mixture';
COMMENT ON COLUMN mixtures.mixture_id IS 'Hash of mixture and example';
COMMENT ON COLUMN mixtures.example_id IS 'Hash of the example';
COMMENT ON COLUMN mixtures.task IS 'The task';
COMMENT ON COLUMN mixtures.family IS 'What it is a form of';
COMMENT ON COLUMN mixtures.template IS 'How it is put';
COMMENT ON COLUMN mixtures.shots IS 'Solved examples in front';
COMMENT ON COLUMN mixtures.cot IS 'Whether reasoning comes before the answer';
COMMENT ON COLUMN mixtures.inverted IS 'Whether the answer is given and the question wanted';
COMMENT ON COLUMN mixtures.query IS 'What is asked, without solved examples';
COMMENT ON COLUMN mixtures.messages IS 'What is asked and the target: messages of role and content';

CREATE OR REPLACE VIEW task_answers AS
FROM read_parquet(getvariable('root') || '/data/task_answers/*.parquet', union_by_name = true);
COMMENT ON VIEW task_answers IS 'Answers to held-out tasks, by base and tuned models';
COMMENT ON COLUMN task_answers.subject IS 'Member of answer_tasks';
COMMENT ON COLUMN task_answers.item_id IS 'Hash of the item';
COMMENT ON COLUMN task_answers.task IS 'The task';
COMMENT ON COLUMN task_answers.family IS 'What it is a form of';
COMMENT ON COLUMN task_answers.template IS 'How it is put';
COMMENT ON COLUMN task_answers.shots IS 'Solved examples in front';
COMMENT ON COLUMN task_answers.cot IS 'Whether reasoning comes before the answer';
COMMENT ON COLUMN task_answers.metric IS 'exact: what was written has to match; choice: the likeliest option';
COMMENT ON COLUMN task_answers.query IS 'What is asked, without solved examples';
COMMENT ON COLUMN task_answers.target IS 'The right answer';
COMMENT ON COLUMN task_answers.text IS 'What was written or chosen; empty where two options were equally likely';
COMMENT ON COLUMN task_answers.finish_reason IS 'eos, stop, length (cut off), or error; NULL where it was chosen';
COMMENT ON COLUMN task_answers.right IS 'Whether that is right';
COMMENT ON COLUMN task_answers.chance IS 'Share that guessing gets right';

CREATE OR REPLACE VIEW benchmark_scores AS
FROM read_parquet(getvariable('root') || '/data/benchmark_scores/*.parquet', union_by_name = true);
COMMENT ON VIEW benchmark_scores IS 'Alignment tax and public tests, with 95% intervals';
COMMENT ON COLUMN benchmark_scores.subject IS 'The policy or reward model, a member of score_benchmarks.subjects';
COMMENT ON COLUMN benchmark_scores.benchmark IS 'heldout_text, cloze, hhh, truthfulqa, or a task of lm-evaluation-harness';
COMMENT ON COLUMN benchmark_scores.category IS 'Part of the benchmark; all for the whole';
COMMENT ON COLUMN benchmark_scores.metric IS 'What is measured, for instance accuracy';
COMMENT ON COLUMN benchmark_scores.value IS 'The figure';
COMMENT ON COLUMN benchmark_scores.low IS 'Lower end of its 95% interval; NULL where fewer than six items, or items all alike, give none';
COMMENT ON COLUMN benchmark_scores.high IS 'Upper end';
COMMENT ON COLUMN benchmark_scores.n IS 'Items or groups that it was drawn over';
