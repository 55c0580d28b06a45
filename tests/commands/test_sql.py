"""`synthalign sql`: real DuckDB over real Parquet; what it answers, and what it refuses."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthalign.commands import answers, cli, sql
from synthalign.core import measures, tables
from synthalign.core.errors import UserError
from tests import small_tables

ROOT = small_tables.ROOT
QUESTIONS = sorted({*(ROOT / "queries").glob("*.sql")} - {ROOT / "queries/views.sql", ROOT / "queries/checks.sql"})
ANSWERS = sorted((ROOT / "queries/answers").glob("*.csv"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with every table, small."""
    monkeypatch.chdir(small_tables.project(tmp_path))
    small_tables.write(tmp_path, small_tables.rows())
    return tmp_path


def asked(question: str, *arguments: str, form: str = "csv") -> str:
    """What the command writes to a file."""
    cli.main(["sql", question, *arguments, "--format", form, "--output", "answer"])
    return Path("answer").read_text()


# -- views and questions ----------------------------------------------------------------------------------------------


def test_every_table_of_the_graph_has_a_view_and_every_column_a_comment(here: Path) -> None:
    found = sql.opened()

    assert found.absent == frozenset()
    outs = sql.outs()
    assert "data/responses/a.parquet" in outs
    assert [out for out in outs if not any(fnmatch(out, pattern) for pattern in found.patterns.values())] == []
    columns = found.connection.execute(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    ).fetchall()
    assert {row[0] for row in columns} == set(found.patterns)
    assert [row[:2] for row in columns if not row[2]] == []


def test_the_tables_of_this_repository_have_no_column_without_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = sql.opened()
    if found.absent:
        pytest.skip("`dvc repro` has not made every table here")

    bare = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
    assert found.connection.execute(bare).fetchall() == []


@pytest.mark.parametrize("file", QUESTIONS, ids=lambda file: file.stem)
def test_a_question_begins_with_its_words_and_runs_as_it_stands(file: Path, here: Path) -> None:
    assert re.match(r"-- [A-Z].*\?\n", file.read_text())
    for run in ("2026-01-01-a", "2026-01-02-b"):  # drift.sql
        small_tables.write(here / "published" / run, small_tables.rows())
    Path("metrics/train_reward").mkdir(parents=True)
    Path("metrics/train_reward/almost_size.json").write_text('{"reward_std": 2.0, "other": {"n": 1}}')

    answer = asked(f"queries/{file.name}")

    empty = {"disagreements", "reward_agreement", "reward_calibration"}  # this oracle has no preference
    assert (len(answer.splitlines()) == 1) == (file.stem in empty)


def test_there_are_twelve_questions_and_each_has_an_answer_where_the_tables_alone_decide_it() -> None:
    assert len(QUESTIONS) >= 12
    assert {file.stem for file in QUESTIONS} - {file.stem for file in ANSWERS} == {"drift"}


@pytest.mark.parametrize("file", ANSWERS, ids=lambda file: file.stem)
def test_the_recorded_answer_is_that_of_the_tables(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    if [path for path in sql.outs() if not Path(path).exists()]:
        pytest.skip("`dvc repro` has not made every table here")

    sql.answer(f"queries/{file.stem}.sql", form="csv", output=tmp_path / "now.csv")

    assert (tmp_path / "now.csv").read_text() == file.read_text(), "`make answers` records them anew"


def test_win_rates_count_ties_as_half_and_both_orders_once(here: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(asked("queries/win_rates_of_policies.sql"))))

    assert [(row["judge"], row["win_rate"], row["questions"]) for row in rows] == [
        ("oracle", "0.5", "1"),
        ("reward", "1.0", "1"),
    ]


def answered(question: str, *arguments: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(asked(f"queries/{question}.sql", *arguments))))


@pytest.mark.parametrize("written", ["25", "25.0", "2.5e1", "2.5E1", "2.5e+1", "2_5", " 25  # a million tokens"])
def test_an_endpoints_price_is_read_however_yaml_writes_it(here: Path, written: str) -> None:
    folder = Path("data/endpoints")
    folder.mkdir(parents=True)
    (folder / "large.yaml").write_text(f"model: large\ncompletion_price:{written}\n".replace(":2", ": 2"))
    (folder / "free.yaml").write_text("model: free\n")
    rows = small_tables.rows()
    rows["responses/a"] = [row | {"model": "data/endpoints/large.yaml", "tokens": 500} for row in rows["responses/a"]]
    rows["responses/b"] = [row | {"model": "data/endpoints/free.yaml"} for row in rows["responses/b"]]
    small_tables.write(here, rows)

    cost = {row["stage"]: row["cost"] for row in answered("tokens_and_cost")}

    assert cost["sample_responses@a"] == "0.0375"  # 1500 of a million at 25
    assert cost["sample_responses@b"] == ""  # not said


def judged(judge: str, *verdicts: tuple[str, str]) -> list[dict[str, Any]]:
    """Of each sample the verdicts of both orders."""
    return [
        small_tables.judgement(judge, order, verdict, 1.0, 1.0) | {"sample_index": sample}
        for sample, both in enumerate(verdicts)
        for order, verdict in zip(("ab", "ba"), both, strict=True)
    ]


def test_answers_that_one_order_did_not_judge_tell_nothing_of_the_place(here: Path) -> None:
    rows = small_tables.rows()
    rows["judgements"] = judged("llm", ("a", "a"), ("a", "unjudged"), ("a", "unjudged"))
    small_tables.write(here, rows)

    [found] = answered("order_consistency")

    assert (found["pairs"], found["unjudged"], found["same_verdict"], found["first_wins"]) == ("3", "2", "1.0", "0.5")


def test_answers_that_one_order_did_not_judge_agree_with_nobody(here: Path) -> None:
    rows = small_tables.rows()
    rows["judgements"] = [
        *judged("reward", ("a", "a"), ("a", "a")),
        *judged("llm", ("a", "unjudged"), ("b", "b")),
    ]
    small_tables.write(here, rows)

    [found] = answered("reward_agreement")

    assert found["agreement"] == "0.0"


def test_a_share_of_one_query_has_no_margin_and_of_equal_ones_none_at_all(here: Path) -> None:
    rows = small_tables.rows()
    pairs = [pair | {"comparison_id": f"{pair['comparison_id']} {n}"} for pair in map(small_tables.pair, ("yak", "emu"))
             for n in range(10)]  # fmt: skip
    rows["comparisons/no_filter"], rows["comparisons/almost"] = (
        pairs,
        [pair | {"asis_chosen": 2.0, "asis_rejected": 1.0} for pair in pairs[:10]],
    )
    rows["comparisons/gold"] = [*pairs[:7], *pairs[10:17]]
    small_tables.write(here, rows)

    found = {row["member"]: (row["share_right"], row["plus_minus"]) for row in answered("rule_of_thumb")}

    assert found == {"no_filter": ("0.7", "0.0"), "almost": ("0.7", "")}


def test_a_policy_may_have_learned_from_a_prompt_that_is_no_query(here: Path) -> None:
    rows = small_tables.rows()
    rows["answers/sft_people"] = [small_tables.answer("sft_people")]
    rows["answers/base"].append(small_tables.answer("base") | {"question_id": "aaa"})  # which ppo was not asked
    rows["comparisons/gold"] = [small_tables.pair("hash")]
    rows["demonstrations/people"] = [
        rows["demonstrations/rmsp"][0] | {"demonstration_id": name, "query_id": "hash"} for name in ("2", "1")
    ]
    small_tables.write(here, rows)

    of_people = answered("lineage", "--set", "policy=sft_people")

    assert [(row["step"], row["id"]) for row in of_people] == [("1", "eel"), ("2", "eel"), ("3", "1")]
    assert answered("lineage")[0]["id"] == "eel"


def test_the_best_of_n_is_what_guided_self_play_says_and_no_text_that_was_cut_off(here: Path) -> None:
    rows = small_tables.rows()
    [candidate, _] = rows["candidates/rmsp"]
    said = [("A yak that", "length", 2.0), ("A yak.", "eos", 1.0), (" ", "eos", 9.0), ("An ox", "stop", 1.0)]
    rows["candidates/rmsp"] = [
        candidate | {"sample_index": place, "text": text, "finish_reason": reason, "reward": reward}
        for place, (text, reason, reward) in enumerate(said)
    ]
    small_tables.write(here, rows)

    *_, best = answered("best_of_n")

    assert (best["n"], float(best["reward"]), float(best["characters"])) == ("4", 1.0, len("A yak."))  # first of equals
    assert float(best["gain"]) == 1.0 - (2.0 + 1.0 + 9.0 + 1.0) / 4


def test_the_best_of_n_of_64_candidates_is_what_python_says_it_is(here: Path) -> None:
    rows = small_tables.rows()
    [candidate, _] = rows["candidates/rmsp"]
    rewards = [1e5 * ((29 * place) % 64) ** 2 for place in range(64)]  # so large that four digits are a billionth
    rows["candidates/rmsp"] = [
        candidate | {"sample_index": place, "reward": reward} for place, reward in enumerate(rewards)
    ]
    small_tables.write(here, rows)

    found = {int(row["n"]): float(row["reward"]) for row in answered("best_of_n")}

    expected = {n: measures.expected_best(rewards, rewards, n) for n in range(1, 65)}
    assert found == {n: pytest.approx(value, rel=1e-9) for n, value in expected.items()}


def test_of_candidates_that_say_nothing_the_first_is_the_best_whatever_their_rewards(here: Path) -> None:
    rows = small_tables.rows()
    [candidate, _] = rows["candidates/rmsp"]
    rows["candidates/rmsp"] = [
        candidate | {"sample_index": place, "text": " ", "reward": reward} for place, reward in enumerate((1.0, 3.0))
    ]
    small_tables.write(here, rows)

    assert [float(row["reward"]) for row in answered("best_of_n")] == [2.0, 1.0]


def test_a_judge_that_scores_an_answer_anew_in_every_pair_gives_it_the_mean(here: Path) -> None:
    rows = small_tables.rows()
    rivals = dict(zip(("r1", "r2", "r3", "r4"), (8.0, 8.0, 8.0, 1.0), strict=True))
    given = small_tables.judgement("llm:x", "ab", "a", 0.0, 5.0)
    rows["judgements"] = [given | {"policy_b": rival, "score_a": score} for rival, score in rivals.items()]
    rows["answers/ppo"][0]["text"] = "x" * 100
    for rival in rivals:
        rows[f"answers/{rival}"] = [small_tables.answer(rival) | {"text": rival * 5}]  # ten characters
    small_tables.write(here, rows)

    [found] = [row for row in answered("length_and_reward") if row["scorer"] == "llm:x"]

    # (8 + 8 + 8 + 1) / 4 = 6.25 for a hundred characters, 5 for ten
    assert (found["answers"], float(found["slope"])) == ("5", round(10 * (6.25 - 5) / (100 - 10), 4))


def test_a_table_of_peoples_prompts_covers_no_training_query(here: Path) -> None:
    rows = small_tables.rows()
    rows["comparisons/gold"] = [small_tables.pair(f"prompt {place}") for place in range(5)]
    small_tables.write(here, rows)

    found = {row["of_table"]: (row["queries"], row["share_of_training_queries"]) for row in answered("coverage")}

    assert found == {
        "comparisons/almost": ("1", "0.5"),
        "comparisons/gold": ("5", "0.0"),
        "comparisons/no_filter": ("2", "1.0"),
        "demonstrations/rmsp": ("1", "0.5"),
    }


def test_policies_forget_and_reward_models_and_baselines_do_not(here: Path) -> None:
    rows = small_tables.rows()
    shared = [("hhh", "accuracy"), ("hhh", "always_longer"), ("truthfulqa", "always_longest")]
    kinds = {
        "base": [*shared, ("heldout_text", "loss_per_token"), ("cloze", "accuracy"), ("truthfulqa", "mc1")],
        "reward_almost": [*shared, ("truthfulqa", "highest_reward")],
    }
    for subject, figures in kinds.items():
        rows[f"benchmark_scores/{subject}"] = [
            rows["benchmark_scores/base"][0] | {"subject": subject, "benchmark": benchmark, "metric": metric}
            for benchmark, metric in figures
        ]
    small_tables.write(here, rows)

    assert [(row["subject"], row["benchmark"], row["metric"]) for row in answered("alignment_tax")] == [
        ("base", "cloze", "accuracy"),
        ("base", "heldout_text", "loss_per_token"),
        ("base", "hhh", "accuracy"),
        ("base", "truthfulqa", "mc1"),
    ]


def test_a_pair_that_a_filter_has_brought_together_was_never_judged_and_is_not_counted(here: Path) -> None:
    rows = small_tables.rows()
    rows["comparisons/heuristic"] = [
        small_tables.pair("yak"),
        small_tables.pair("emu", comparison_id="of ranks 1 and 3"),
    ]
    small_tables.write(here, rows)

    found = {row["member"]: (row["share_right"], row["pairs"], row["ties"]) for row in answered("rule_of_thumb")}

    assert found == {"almost": ("1.0", "1", "0"), "heuristic": ("1.0", "1", "0"), "no_filter": ("1.0", "2", "1")}


def test_an_endpoints_tokens_cost_what_its_file_says(here: Path) -> None:
    rows = small_tables.rows()
    for row in rows["responses/a"]:
        row["model"] = "data/endpoints/large.yaml"
    small_tables.write(here, rows)
    Path("data/endpoints").mkdir()
    Path("data/endpoints/large.yaml").write_text("prompt_price: 1\ncompletion_price: 250000.0\n")

    [cost] = [row for row in csv.reader(io.StringIO(asked("queries/tokens_and_cost.sql"))) if row[0].endswith("@a")]

    tokens = sum(row["tokens"] for row in rows["responses/a"])
    assert (int(cost[3]), float(cost[5])) == (tokens, tokens * 0.25)


def test_every_table_that_keeps_tokens_has_them_in_the_sum(here: Path) -> None:
    rows = small_tables.rows()
    [own] = rows["rrhf_samples/offline"]
    rows["rrhf_samples/offline"].append(own | {"sample_index": 1, "kl": None})  # another stage wrote it
    small_tables.write(here, rows)

    found = {row["stage"]: row["tokens"] for row in answered("tokens_and_cost") if row["tokens"]}

    kept = {name.partition("/")[0] for name, given in rows.items() if "tokens" in given[0]}
    assert kept == {"responses", "answers", "ppo_curve", "rrhf_samples", "ditto_samples", "ditto_answers"}
    assert found == {
        "sample_responses@a": str(sum(row["tokens"] for row in rows["responses/a"])),
        "sample_responses@b": str(sum(row["tokens"] for row in rows["responses/b"])),
        "sample_answers@base": "5",
        "sample_answers@ppo": "5",
        "train_ppo@almost (snapshots)": "5",
        "train_rrhf@offline": "5",
        "train_ditto@captain": "6",
        "sample_ditto@captain": "6",
    }


def test_what_a_trainer_wrote_costs_nothing_and_what_names_no_model_has_no_cost(here: Path) -> None:
    found = {row["stage"]: row["cost"] for row in answered("tokens_and_cost")}

    assert [found[f"{stage}@captain"] for stage in ("train_ditto", "sample_ditto")] == ["0.0", ""]
    assert (found["train_rrhf@offline"], found["revise_answers"], found["answer_tasks@medium"]) == ("0.0", "", "")


def test_a_critique_was_written_and_an_option_that_was_chosen_was_not(here: Path) -> None:
    rows = small_tables.rows()
    [first] = rows["revisions"]
    rows["revisions"].append(first | {"step": 1, "principle": 0, "critique": "No.", "text": "An ox."})
    [written] = rows["task_answers/medium"]
    rows["task_answers/medium"].append(written | {"item_id": "2", "metric": "choice", "finish_reason": None})
    small_tables.write(here, rows)

    found = {row["stage"]: (row["texts"], row["characters"]) for row in answered("tokens_and_cost")}

    assert found["revise_answers"] == ("3", str(len("A yak.") + len("No.") + len("An ox.")))
    assert found["answer_tasks@medium"] == ("1", str(len("A nest.")))


def test_tokens_are_counted_before_rrhf_ditto_and_their_like_have_run(here: Path) -> None:
    before = answered("tokens_and_cost")
    for name in ("rrhf_samples/offline", "ditto_samples/captain", "ditto_answers/captain", "task_answers/medium"):
        tables.path(name).unlink()
    tables.path("revisions").unlink()

    methods = ("train_rrhf", "train_ditto", "sample_ditto", "answer_tasks", "revise_answers")
    assert answered("tokens_and_cost") == [row for row in before if not row["stage"].startswith(methods)]


def test_a_lineage_has_the_reward_of_the_chosen_candidate_and_of_the_one_that_all_others_come_before(
    here: Path,
) -> None:
    rows = small_tables.rows()
    [candidate, _] = rows["candidates/rmsp"]
    said = [("A yak that", "length", 2.0), ("A yak.", "eos", 1.0), (" ", "eos", 9.0), ("An ox.", "stop", 0.5)]
    rows["candidates/rmsp"] = [
        candidate
        | {"sample_index": place, "text": text, "finish_reason": reason, "reward": reward, "is_best": place == 1}
        for place, (text, reason, reward) in enumerate(said)
    ]
    small_tables.write(here, rows)

    [chosen] = [row for row in answered("lineage") if row["step"] == "4"]

    assert chosen["what"] == "chosen by rmsp among 4 candidates, reward 1.0; the last of them, reward 9.0"
    assert chosen["text"] == " "


def test_a_lineage_of_self_play_says_that_there_was_no_reward(here: Path) -> None:
    rows = small_tables.rows()
    without = {"reward": None}
    rows["answers/sft_selfplay"] = [small_tables.answer("sft_selfplay")]
    rows["demonstrations/selfplay"] = [rows["demonstrations/rmsp"][0] | without]
    rows["candidates/selfplay"] = [
        row | without | {"is_best": place == 0, "text": f"Yak {place}."}
        for place, row in enumerate(rows["candidates/rmsp"])
    ]
    small_tables.write(here, rows)

    steps = csv.DictReader(io.StringIO(asked("queries/lineage.sql", "--set", "policy=sft_selfplay")))
    [chosen] = [row for row in steps if row["step"] == "4"]

    assert chosen["what"] == "chosen by selfplay among 2 candidates, reward none; the last of them, reward none"
    assert chosen["text"] == "Yak 1."


def test_a_policy_that_learned_nothing_has_a_lineage_of_question_and_answer(here: Path) -> None:
    steps = list(csv.reader(io.StringIO(asked("queries/lineage.sql", "--set", "policy=base"))))

    assert [(row[1], row[3]) for row in steps[1:]] == [
        ("evaluation question", "What is it?"),
        ("answer of base", "The base eel."),
    ]


@pytest.mark.slow
def test_duckdb_and_pandas_answer_the_questions_over_comparisons_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import analyst_queries

    small_tables.project(tmp_path)
    monkeypatch.chdir(tmp_path)

    comparison = analyst_queries.compare(20_000)  # raises when they differ

    assert len(comparison.ratios) == 3


def test_every_question_has_the_answer_of_sql_that_is_written_by_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import analyst_queries_100m, analyst_tables

    small_tables.project(tmp_path)
    questions = analyst_queries_100m.questions()
    made = analyst_tables.make(tmp_path, analyst_tables.Sizes(20_000))
    monkeypatch.chdir(tmp_path)

    assert made is not None
    for name, (text, by_hand) in questions.items():
        with sql.opened().connection as ours, duckdb.connect() as theirs:
            answer, other = ours.execute(text).fetchall(), theirs.execute(by_hand).fetchall()
        assert len(answer) >= 2, f"{name} has nothing to tell in these tables"
        assert analyst_queries_100m.same(answer, other), f"{name}: {answer} against {other}"


def test_by_hand_too_answers_that_one_order_did_not_judge_count_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import analyst_queries_100m, analyst_tables

    small_tables.project(tmp_path)
    questions = analyst_queries_100m.questions()
    analyst_tables.make(tmp_path, analyst_tables.Sizes(20_000))
    monkeypatch.chdir(tmp_path)
    one_order = """SELECT * REPLACE (
        if("order" = 'ba' AND hash([question_id, policy_a, policy_b]) % 3 = 0, 'unjudged', verdict) AS verdict
    )"""
    for file in (Path("data/judgements.parquet"), *Path("published").glob("*/data/judgements.parquet")):
        duckdb.sql(f"{one_order} FROM '{file}'").write_parquet("without.parquet")
        Path("without.parquet").replace(file)

    for name in (
        *("drift", "ratings", "win_rates", "win_rates_of_policies"),
        *("order_consistency", "reward_agreement"),
    ):
        text, by_hand = questions[name]
        with sql.opened().connection as ours, duckdb.connect() as theirs:
            answer, other = ours.execute(text).fetchall(), theirs.execute(by_hand).fetchall()
        assert len(answer) >= 2 and analyst_queries_100m.same(answer, other), f"{name}: {answer} against {other}"


# -- published runs ---------------------------------------------------------------------------------------------------


def test_a_published_run_is_read_in_place_of_these_tables(here: Path) -> None:
    rows = small_tables.rows()
    rows["queries"] = rows["queries"][:1]
    small_tables.write(here / "published/2026-01-01-a", rows)

    assert asked("SELECT count(*) AS n FROM queries") == "n\n3\n"
    assert asked("SELECT count(*) AS n FROM queries", "--published", "2026-01-01-a") == "n\n1\n"
    assert asked("SELECT run, count(*) AS n FROM published('*', 'queries') GROUP BY run") == "run,n\n2026-01-01-a,1\n"


@pytest.mark.parametrize("name", ["2026-01-09-x", "..", "2026-01-01-a/data", "/etc"])
def test_a_run_that_was_not_published_is_named_with_those_that_were(here: Path, name: str) -> None:
    small_tables.write(here / "published/2026-01-01-a", {"queries": small_tables.rows()["queries"]})

    with pytest.raises(UserError, match="is no folder of a published run; there are 2026-01-01-a"):
        sql.opened(name)


def test_drift_is_the_change_between_the_last_two_runs_or_those_that_are_named(here: Path) -> None:
    for run, verdict in (("2026-01-01-a", "b"), ("2026-01-02-b", "tie"), ("2026-01-03-c", "a")):
        rows = small_tables.rows()["judgements"]
        judged = [row | {"verdict": verdict} for row in rows if row["judge"] == "reward"]
        small_tables.write(here / "published" / run, {"judgements": judged})

    (here / "published/latest").symlink_to("2026-01-03-c")

    [last] = csv.DictReader(io.StringIO(asked("queries/drift.sql")))
    [whole] = csv.DictReader(io.StringIO(asked("queries/drift.sql", "--set", "older=2026-01-01-a")))

    assert (last["older"], last["newer"], float(last["change"])) == ("2026-01-02-b", "2026-01-03-c", 1 - 0.5)
    assert (whole["older"], whole["newer"], float(whole["change"])) == ("2026-01-01-a", "2026-01-03-c", 1 - 0)


def test_before_anything_was_published_drift_says_so(here: Path) -> None:
    with pytest.raises(UserError, match="No such run was published yet"):
        sql.ask(sql.opened(), Path("queries/drift.sql").read_text())


# -- what is refused --------------------------------------------------------------------------------------------------

COPY = "COPY (SELECT 1 AS a) TO 'data/queries.parquet'"


@pytest.mark.parametrize(
    "text",
    [
        COPY,
        f"WITH written AS ({COPY}) FROM written",
        f"EXPLAIN ANALYZE {COPY}",
        f"EXPLAIN ANALYZE WITH written AS ({COPY}) FROM written",
        f"FROM queries; {COPY}",
        f"SET VARIABLE x = (WITH written AS ({COPY}) FROM written)",
        "FROM query('{}')".format(f"WITH written AS ({COPY}) FROM written".replace("'", "''")),
        "FROM \"Query\"('SELECT 1')",
        "ATTACH 'data/other.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "EXPORT DATABASE 'data/all'",
        "CREATE TABLE data AS FROM queries",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "PRAGMA enable_profiling",
        "CALL enable_logging()",
        "FROM enable_logging('QueryLog', storage = 'file', storage_config = {'path': 'data/log'})",
    ],
)
def test_what_is_more_than_a_question_is_refused_and_changes_nothing(here: Path, text: str) -> None:
    before = {file: file.read_bytes() for file in Path("data").rglob("*") if file.is_file()}

    with pytest.raises(UserError, match="refused|locked|must be at the top level"):
        sql.ask(sql.opened(), text)

    assert {file: file.read_bytes() for file in Path("data").rglob("*") if file.is_file()} == before


def test_a_copy_as_a_serialized_query_is_refused(here: Path) -> None:
    [(tree,)] = duckdb.execute("SELECT json_serialize_sql(?)", [f"WITH written AS ({COPY}) FROM written"]).fetchall()
    quoted = tree.replace("'", "''")

    with pytest.raises(UserError, match="json_execute_serialized_sql is refused"):
        sql.ask(sql.opened(), f"FROM json_execute_serialized_sql('{quoted}')")


@pytest.mark.parametrize(
    "source",
    [
        "read_text('/etc/passwd')",
        "read_csv('/etc/passwd')",
        "'/etc/passwd.csv'",
        "read_text('params.yaml')",
        "read_text('data/../params.yaml')",
        "read_blob('database/x')",
        "glob('/etc/*')",
        "read_parquet('https://example.com/x.parquet')",
    ],
)
def test_other_files_are_not_read(here: Path, source: str) -> None:
    with pytest.raises(UserError, match=r"Permission Error|does not exist"):
        sql.ask(sql.opened(), f"FROM {source}").fetchall()


def into_a_cache(folder: Path, tables: Iterable[Path]) -> None:
    """Each table as DVC leaves it with `cache.type symlink`: a link into a cache that may be on another disk."""
    for number, table in enumerate(tables):
        cached = folder / f"files/md5/{number:02x}/{number:030x}"
        cached.parent.mkdir(parents=True, exist_ok=True)
        table.rename(cached)
        table.symlink_to(cached)


def test_tables_that_are_links_into_dvcs_cache_are_read_and_checked(
    here: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path_factory.mktemp("another disk's")
    written = asked("FROM responses ORDER BY ALL")
    into_a_cache(cache, sorted(Path("data").rglob("*.parquet")))

    assert asked("FROM responses ORDER BY ALL") == written
    cli.main(["check-tables"])
    assert "no row that offends" in capsys.readouterr().out


def test_a_table_that_is_made_anew_in_the_cache_is_read_by_a_connection_that_is_open(
    here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    into_a_cache(cache, [Path("data/queries.parquet")])
    opened = sql.opened()

    Path("data/queries.parquet").unlink()
    pq.write_table(pa.table({"text": ["new"]}), "data/queries.parquet")
    new = cache / f"files/md5/ff/{'f' * 30}"
    new.parent.mkdir()
    Path("data/queries.parquet").rename(new)
    Path("data/queries.parquet").symlink_to(new)

    assert sql.ask(opened, "SELECT text FROM read_parquet('data/queries.parquet')").fetchall() == [("new",)]


def test_a_table_that_a_person_has_linked_is_read_and_nothing_beside_it(
    here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("anna's")
    pq.write_table(pa.table({"secret": [1]}), elsewhere / "other.parquet")
    Path("data/queries.parquet").rename(elsewhere / "queries.parquet")
    Path("data/queries.parquet").symlink_to(elsewhere / "queries.parquet")

    assert asked("SELECT count(*) > 0 AS found FROM queries") == "found\ntrue\n"
    other = str(elsewhere / "other.parquet").replace("'", "''")
    with pytest.raises(UserError, match="no other file"):
        sql.ask(sql.opened(), f"FROM read_parquet('{other}')")
    with pytest.raises(UserError, match="is refused"):
        sql.ask(sql.opened(), "COPY (SELECT 1) TO 'data/queries.parquet'")


def test_the_variables_of_python_are_not_read(here: Path) -> None:
    secret = pa.table({"a": [1]})  # noqa: F841

    with pytest.raises(UserError, match="secret does not exist"):
        sql.ask(sql.opened(), "FROM secret")


def test_a_value_of_a_variable_is_a_value_and_no_sql(here: Path) -> None:
    value = "x'; COPY (SELECT 1) TO 'data/x.csv"

    assert (
        asked("SELECT getvariable('given') AS a", "--set", f"given={value}", form="json")
        == f'[\n{{"a": "{value}"}}\n]\n'
    )
    with pytest.raises(UserError, match="lower-case letters and _ alone"):
        sql.opened(variables={"a = 1; --": "x"})


def test_what_duckdb_may_ask_besides_is_allowed(here: Path) -> None:
    for text in (
        "SHOW TABLES",
        "DESCRIBE queries",
        "SUMMARIZE queries",
        "EXPLAIN FROM queries",
        "SET VARIABLE x = 1; SELECT getvariable('x')",
        "PIVOT judgements ON judge IN ('oracle', 'reward') USING count(*) GROUP BY verdict",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) FROM t UNION SELECT 4",
    ):
        assert sql.ask(sql.opened(), text).fetchall(), text


# -- what was not made yet --------------------------------------------------------------------------------------------


def test_a_table_that_was_not_made_names_its_stage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables.path("judgements").unlink()

    with pytest.raises(SystemExit):
        cli.main(["sql", "FROM judgements"])

    said = "sql: data/judgements.parquet does not exist yet; stage judge_answers makes it: dvc repro judge_answers\n"
    assert capsys.readouterr().err == said


def test_a_family_with_members_that_are_not_made_is_said_to_be_incomplete(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["sql", "SELECT count(*) FROM responses"])

    said = capsys.readouterr()
    assert said.out.split() == ["count_star()", "-" * len("count_star()"), "6"]
    assert (
        "responses is not complete, these are not made yet: data/responses/c.parquet (sample_responses@c)" in said.err
    )
    assert "comparisons" not in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["FROM nowhere"], "Table with name nowhere does not exist"),
        (["SELEC 1"], "syntax error"),
        ([""], "there is no question"),
        (["queries/nothing.sql"], "queries/nothing.sql: cannot be read"),
        (["FROM queries", "--limit", "-1"], "--limit -1: a number of rows is 0 or more"),
        (["FROM queries", "--format", "parquet"], "add --output FILE"),
        (["FROM queries", "--output", "data/queries.parquet"], "are written by the graph alone"),
        (["FROM queries", "--output", "nowhere/a.csv"], "nowhere is no folder"),
    ],
)
def test_what_a_user_got_wrong_is_told(
    here: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["sql", *arguments])

    assert said in capsys.readouterr().err


def test_outside_of_the_repository_the_way_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UserError, match="go to the root of the repository"):
        sql.opened()


# -- answers ----------------------------------------------------------------------------------------------------------

VALUES = "SELECT 1 AS a, 'x, \"y\"' AS b, NULL AS c, [{'role': 'user'}] AS d, 'nan'::DOUBLE AS e, true AS f"


def test_csv_json_and_parquet_have_the_same_values(here: Path) -> None:
    [row] = csv.DictReader(io.StringIO(asked(VALUES)))
    assert row == {"a": "1", "b": 'x, "y"', "c": "", "d": '[{"role": "user"}]', "e": "", "f": "true"}
    assert json.loads(asked(VALUES, form="json")) == [
        {"a": 1, "b": 'x, "y"', "c": None, "d": [{"role": "user"}], "e": None, "f": True}
    ]
    cli.main(["sql", f"SELECT * EXCLUDE (e) FROM ({VALUES})", "--output", "answer.parquet"])
    assert pq.read_table("answer.parquet").to_pylist() == [
        {"a": 1, "b": 'x, "y"', "c": None, "d": [{"role": "user"}], "f": True}
    ]


@pytest.mark.parametrize(
    ("value", "in_json", "in_csv"),
    [
        ("1.50::DECIMAL(9, 2)", "1.5", "1.50"),
        ("3.00::DECIMAL(9, 2)", "3", "3.00"),
        ("avg(v)::DECIMAL(18, 3) FROM (VALUES (1), (2)) AS t(v)", "1.5", "1.500"),
        ("12345678901234567890123456789012345678::DECIMAL(38, 0)", "12345678901234567890123456789012345678", None),
        ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727", None),
        ("9007199254740993", "9007199254740993", None),
        ("1e-5::DOUBLE", "1e-05", None),
        ("'inf'::DOUBLE", "null", ""),
        ("'nan'::FLOAT", "null", ""),
        ("[0.5::DECIMAL(3, 2), NULL]", "[0.5, null]", None),
        ("{'cost': 0.25::DECIMAL(9, 2), 'on': DATE '2026-11-28'}", '{"cost": 0.25, "on": "2026-11-28"}', None),
        ("DATE '2026-11-28'", '"2026-11-28"', "2026-11-28"),
        ("TIMESTAMP '2026-11-28 01:02:03.5'", '"2026-11-28T01:02:03.500000"', "2026-11-28T01:02:03.500000"),
        ("TIME '01:02:03'", '"01:02:03"', "01:02:03"),
    ],
)
def test_a_number_is_a_number_in_json_and_a_date_is_iso_8601(
    here: Path, value: str, in_json: str, in_csv: str | None
) -> None:
    question = f"SELECT {value}" if " FROM " in value else f"SELECT {value} AS v"

    assert asked(question, form="json").split(": ", 1)[1] == in_json + "}\n]\n"
    [[shown]] = list(csv.reader(io.StringIO(asked(question))))[1:]
    assert shown == (in_json if in_csv is None else in_csv)
    assert asked(question, form="table").splitlines()[-1].strip() == shown


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_limit_holds_in_every_format_and_no_rows_are_no_error(here: Path, form: str) -> None:
    read = {
        "csv": lambda: len(Path("a").read_text().splitlines()) - 1,
        "json": lambda: len(json.loads(Path("a").read_text())),
    }
    read["parquet"] = lambda: pq.read_table("a").num_rows
    for limit, rows in ((0, 0), (2, 2), (25_000, 25_000)):
        cli.main(["sql", "FROM range(30000)", "--format", form, "--output", "a", "--limit", str(limit)])
        assert read[form]() == rows


def test_a_terminal_gets_fifty_rows_and_is_told_that_there_are_more(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["sql", "FROM range(51)"])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "49",
        "(the first 50 rows; --limit N shows more, --format csv all)",
    ]
    cli.main(["sql", "FROM range(50)"])
    assert capsys.readouterr().out.splitlines()[-1] == "49"


def test_what_a_model_wrote_cannot_move_the_cursor(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = small_tables.rows()
    rows["answers/ppo"][0]["text"] = "\x1b[2J\x07one\ntwo\u202e" + "x" * 99
    small_tables.write(here, rows)

    cli.main(["sql", "SELECT text FROM answers WHERE policy = 'ppo'"])

    [line] = capsys.readouterr().out.splitlines()[2:]
    assert line == (r"\x1b[2J\x07one\ntwo\u202e" + "x" * 99)[: answers.WIDTH - 1] + "…"


def test_an_answer_that_fails_on_the_way_leaves_no_file(here: Path) -> None:
    with pytest.raises(SystemExit):
        cli.main(["sql", "SELECT if(range = 29999, error('no'), 1) FROM range(30000)", "--output", "answer.csv"])

    assert not list(Path(".").glob("answer*"))


def test_questions_from_a_pipe_are_answered_one_after_the_other(here: Path) -> None:
    questions = "SELECT count(*) AS n\nFROM queries;\nFROM nowhere;\nCOPY queries TO 'data/x.csv';\nSELECT 'last'"
    command = [sys.executable, "-m", "synthalign", "sql"]

    done = subprocess.run(
        command, input=questions, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )

    assert done.returncode == 0
    assert done.stdout.split() == ["n", "-", "3", "'last'", "------", "last"]
    assert [line for line in done.stderr.splitlines() if line.startswith("sql:")] == [
        "sql: Catalog Error: Table with name nowhere does not exist!",
        "sql: COPY is refused: tables are read here and never changed; ask with SELECT or FROM",
    ]


def test_where_duckdbs_ui_is_not_installed_it_is_said_and_not_downloaded(here: Path) -> None:
    with pytest.raises(duckdb.Error):
        sql.opened(ui=True)


def test_readers_see_a_table_as_it_was_or_as_it_is_while_a_stage_writes_it(here: Path) -> None:
    [row] = small_tables.rows()["ppo_curve/almost"]
    schema = pa.Table.from_pylist([row]).schema
    finished = threading.Event()

    def write() -> None:
        for value in range(30):
            rows = [row | {"step": step, "kl": float(value)} for step in range(2000)]
            tables.write_ordered(rows, "ppo_curve/almost", key=("step", "question_id"), schema=schema)
        finished.set()

    rows = [row | {"step": step} for step in range(2000)]
    tables.write_ordered(rows, "ppo_curve/almost", key=("step", "question_id"), schema=schema)
    writer = threading.Thread(target=write)
    writer.start()
    seen = {sql.ask(sql.opened(), "SELECT count(*), count(DISTINCT kl) FROM snapshots").fetchall()[0]}
    while not finished.is_set():
        seen.add(sql.ask(sql.opened(), "SELECT count(*), count(DISTINCT kl) FROM snapshots").fetchall()[0])
    writer.join()

    assert seen == {(2000, 1)}
