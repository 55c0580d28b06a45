"""Checks of tables: each finds the row that offends, in real Parquet, and shows it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synthalign.commands import answers, cli, sql, table_checks
from synthalign.core import tables
from synthalign.core.errors import UserError
from tests import small_tables
from tests.small_tables import Rows, pair

CHECKS = table_checks.written((small_tables.ROOT / table_checks.CHECKS).read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_tables.project(tmp_path))


def again(table: str) -> Callable[[Rows], None]:
    """The first row of a table is there twice."""
    return lambda rows: rows[table].append(rows[table][0])


def change(table: str, **columns: Any) -> Callable[[Rows], None]:
    """The last row of a table says something else."""
    return lambda rows: rows[table][-1].update(columns)


OF_A_PROMPT = (
    "demonstrations: query_id is a query or a prompt of comparisons, "
    "of the same guide's candidates where self-play made it"
)

BROKEN: dict[str, Callable[[Rows], None]] = {
    "queries: a query_id is there once": again("queries"),
    "queries_rejected: a candidate_id is there once": again("queries_rejected"),
    "responses: a response_id is there once, over all configurations": again("responses/a"),
    "comparisons_ranked: a comparison_id is there once": again("comparisons_ranked"),
    "comparisons: a comparison_id is there once in a member (DITTO: in a step)": again("comparisons/gold"),
    "comparisons_dropped: a comparison_id is there once in a member": again("comparisons_dropped/gold"),
    "candidates: guide, query, turn and sample are there once": again("candidates/rmsp"),
    "demonstrations: a demonstration_id is there once in a guide": again("demonstrations/rmsp"),
    "answers: policy, question and sample are there once": again("answers/ppo"),
    "judgements: question, sample, policies, order and judge are there once": again("judgements"),
    "snapshots: step and question are there once in a member": again("ppo_curve/almost"),
    "rrhf_samples: round, query and sample are there once in a member": again("rrhf_samples/offline"),
    "revisions: query and step are there once": again("revisions"),
    "ditto_samples: a sample_id is there once for an author": again("ditto_samples/captain"),
    "rrhf_samples: query_id is a training query": change("rrhf_samples/offline", query_id="eel"),
    "revisions: query_id is a training query": change("revisions", query_id="eel"),
    "ditto_answers: author, prompt, method and sample are there once": again("ditto_answers/captain"),
    "mixtures: a mixture_id is there once in a member": again("mixtures/all"),
    "task_answers: subject, item and shots are there once": again("task_answers/medium"),
    "benchmark_scores: subject, benchmark, category and metric are there once": again("benchmark_scores/base"),
    "queries: nearest_id is a training query": lambda rows: rows["queries"][1].update(nearest_id="eel"),
    "responses: query_id is a query": change("responses/a", query_id="gnu"),
    "comparisons_ranked: chosen_id and rejected_id are responses to the query, of the configurations that are there": (
        change("comparisons_ranked", rejected_id="b yak")
    ),
    "comparisons: chosen_id and rejected_id are responses to the query, if vanilla configurations wrote them": change(
        "comparisons/no_filter", chosen_id="a yak"
    ),
    "candidates: query_id is a query": lambda rows: [row.update(query_id="gnu") for row in rows["candidates/rmsp"]],
    OF_A_PROMPT: change("demonstrations/rmsp", query_id="emu"),
    "answers: question_id is an evaluation question": lambda rows: rows["answers/ppo"].append(
        small_tables.answer("ppo") | {"question_id": "yak"}
    ),
    "judgements: both policies answered the question, of those whose answers are there": (
        change("judgements", sample_index=1)
    ),
    "snapshots: question_id is an evaluation question": change("ppo_curve/almost", question_id="yak"),
    "comparisons: no evaluation question is learned from": lambda rows: rows["comparisons/almost"].append(
        pair("eel", asis_chosen=2.0, asis_rejected=1.0)
    ),
    "demonstrations: no evaluation question is learned from": lambda rows: rows["demonstrations/rmsp"][-1].update(
        messages=rows["demonstrations/rmsp"][-1]["messages"]
        + small_tables.said("user", "What is it?")  # of its own accord, the text of the evaluation question eel
        + small_tables.said("assistant", "A fish.")
    ),
    "mixtures: no held-out item is learned from": lambda rows: rows["mixtures/all"][-1].update(
        example_id=rows["task_answers/medium"][0]["item_id"]
    ),
    "comparisons: the oracle trains nothing but gold": change("comparisons/almost", feedback="gold"),
    "comparisons: the chosen text is not the rejected text": change(
        "comparisons/almost", chosen=small_tables.said("assistant", "yak.")
    ),
    "queries_rejected: a reason is given": change("queries_rejected", reject_reason=None),
    "comparisons_dropped: a reason is given": change("comparisons_dropped/gold", drop_reason=None),
    "comparisons_dropped: what is dropped from a member is not in it": lambda rows: rows["comparisons/gold"].append(
        pair("emu")
    ),
    "comparisons_ranked: every pair was kept or dropped with a reason on the way to comparisons/almost": change(
        "comparisons_dropped/almost", comparison_id="other"
    ),
    "candidates: every turn has one best": change("candidates/rmsp", is_best=False),
    "candidates: the best of a turn was not cut off where another ended": lambda rows: rows["candidates/rmsp"][
        1
    ].update(finish_reason="length"),
    "comparisons: an answer of a policy that was cut off is not the better one": lambda rows: rows.update(
        {"comparisons/sft": [pair("yak", chosen_finish_reason="length")]}
    ),
    "judgements: a verdict follows from the scores of a judge that scores": change("judgements", verdict="b"),
    "judgements: a judge that is no person sees both orders": lambda rows: rows["judgements"].pop(),
    "benchmark_scores: a figure lies within its interval": change("benchmark_scores/base", low=0.51),
}


def failed(rows: Rows) -> dict[str, str]:
    """The titles of the checks that fail for these tables, with the rows that they show."""
    small_tables.write(Path("."), rows)
    found = sql.opened()
    return {check.title: shown for check, shown in table_checks.failures(found, table_checks.checks(found))}


def test_nothing_offends_in_good_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert failed(small_tables.rows()) == {}

    cli.main(["check-tables"])

    views = len(sql.opened().patterns)
    assert f"{len(CHECKS) + views} checks, no row that offends" in capsys.readouterr().out


@pytest.mark.parametrize(
    "missing", [("comparisons/almost", "comparisons_dropped/almost"), ("responses/b",), ("answers/base",)]
)
def test_nothing_offends_while_members_of_a_family_are_not_made_yet(missing: tuple[str, ...]) -> None:
    rows = {name: given for name, given in small_tables.rows().items() if name not in missing}

    assert failed(rows) == {}


def test_every_check_of_the_file_is_tried() -> None:
    assert {check.title for check in CHECKS} == set(BROKEN)


def test_a_pair_of_people_that_asks_an_evaluation_question_fails_the_checks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = small_tables.rows()
    turns = [*small_tables.said("user", "Hi."), *small_tables.said("assistant", "Hello.")]
    prompt = turns + small_tables.said("user", "What is it?")  # the text of the evaluation question eel
    people = {"prompt": prompt, "chosen_config": "human", "rejected_config": "human"}
    rows["comparisons/gold"].append(pair("hash of Hi., Hello., What is it?", **people))
    small_tables.write(Path("."), rows)

    with pytest.raises(SystemExit) as ended:
        cli.main(["check-tables"])

    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "comparisons: no evaluation question is learned from\n" in said.out
    assert "hash of Hi., Hello., What is it?" in said.out
    assert "1 of" in said.err


def test_a_demonstration_may_be_of_a_prompt_of_ones_own_that_comparisons_have() -> None:
    rows = small_tables.rows()
    own = {"query_id": "a prompt with turns before it"}
    rows["comparisons/rlcd"] = [small_tables.pair("yak", chosen_config="rlcd", rejected_config="rlcd") | own]
    rows["demonstrations/distilled"] = [rows["demonstrations/rmsp"][0] | own]

    assert failed(rows) == {}


@pytest.mark.parametrize(
    ("raw", "score_a", "score_b", "verdict"),
    [(None, None, 1.0, "a"), (None, None, None, "tie"), ("8 5", 8.0, 5.0, "b")],
)
def test_a_verdict_without_a_score_offends_and_so_does_a_language_model_against_its_own_scores(
    raw: str | None, score_a: float | None, score_b: float | None, verdict: str
) -> None:
    rows = small_tables.rows()
    change("judgements", raw=raw, score_a=score_a, score_b=score_b, verdict=verdict)(rows)

    assert [*failed(rows)] == ["judgements: a verdict follows from the scores of a judge that scores"]


@pytest.mark.parametrize("kind", ["online", "inter"])
def test_a_cut_off_sample_of_ditto_offends_where_it_beats_another_sample(kind: str) -> None:
    rows = small_tables.rows()
    rows["comparisons/ditto_captain"] = [pair("yak", kind=kind, chosen_finish_reason="length")]

    assert ("comparisons: an answer of a policy that was cut off is not the better one" in failed(rows)) == (
        kind == "inter"
    )


def test_pairs_that_are_neither_kept_nor_dropped_offend_where_none_is_kept_too() -> None:
    rows = small_tables.rows()
    del rows["comparisons/almost"]
    change("comparisons_dropped/almost", comparison_id="other")(rows)

    title = "every pair was kept or dropped with a reason on the way to comparisons/almost"
    assert f"comparisons_ranked: {title}" in failed(rows)


@pytest.mark.parametrize("title", BROKEN)
def test_a_check_finds_the_row_that_offends_and_shows_it(title: str) -> None:
    rows = small_tables.rows()
    BROKEN[title](rows)

    found = failed(rows)

    assert title in found
    heading, _, *shown = found[title].splitlines()
    assert len(shown) == 1 + (title.startswith("candidates: query_id"))  # both candidates of the query are strays
    families = {"guide", "member", "author", "trainer"}
    assert heading.split()[0] in {"query_id", *families, *small_tables.rows()[table_of(title)][0]}


def table_of(title: str) -> str:
    view = title.partition(":")[0]
    if view == "snapshots":
        return "ppo_curve/almost"
    return next(name for name in small_tables.rows() if name.partition("/")[0] == view)


@pytest.mark.parametrize("column", tables.RULES)
def test_a_value_that_breaks_its_columns_rule_is_refused_by_the_writer_and_found_afterwards(column: str) -> None:
    good = small_tables.rows()
    table = next(name for name, rows in good.items() if column in rows[0])
    bad: dict[str, Any] = {"p_chosen": 1.01, "nearest_rouge_l": -0.1, "prompt": [], "chosen": [], "rejected": []}
    bad |= {"origin": "found", "split": "test", "order": "aa", "verdict": "c", "messages": []}
    bad |= dict.fromkeys(("finish_reason", "chosen_finish_reason", "rejected_finish_reason"), "done")
    bad |= dict.fromkeys(("tokens", "shots", "sample_index", "turn", "round", "step"), -1)
    bad |= dict.fromkeys(("reward", "score_a", "score_b", "asis_chosen", "asis_rejected", "kl"), math.inf)
    row = good[table][0] | {column: bad.get(column)}
    schema = pa.Table.from_pylist(good[table] + [row] * (bad.get(column) is not None)).schema
    key = next(name for name in row if name != column and row[name] is not None)

    with pytest.raises(UserError) as refused:
        tables.write([row], f"new/{table}", key=key, schema=schema)  # whose key may be without the bad column

    assert f"data/new/{table}.parquet: rows break a rule" in str(refused.value)
    assert tables.RULES[column] in str(refused.value).replace("\\'", "'")
    assert not tables.path(f"new/{table}").exists()
    good[table][0] = row
    [shown] = [text for title, text in failed(good).items() if "every row keeps the rules" in title]
    assert tables.RULES[column][: answers.WIDTH - 1] in shown


def test_a_rule_is_kept_in_every_row_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 2)
    schema = pa.schema([("id", pa.int64()), ("p_chosen", pa.float64())])
    rows = [{"id": place, "p_chosen": 0.5 if place < 5 else 1.5} for place in range(6)]

    with pytest.raises(UserError, match=r"p_chosen BETWEEN 0 AND 1.*'id': 5"):
        tables.write_ordered(iter(rows), "letters", key="id", schema=schema)

    assert not list(Path("data").iterdir())


def test_a_failed_check_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    rows = small_tables.rows()
    rows["answers/ppo"][0]["question_id"] = "gnu"
    small_tables.write(Path("."), rows)

    with pytest.raises(SystemExit):
        cli.main(["check-tables"])

    said = capsys.readouterr()
    assert "answers: question_id is an evaluation question\n" in said.out
    assert "gnu" in said.out
    assert "2 of" in said.err  # nor did ppo answer the judged question


def test_what_is_not_made_yet_is_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    rows = small_tables.rows()
    small_tables.write(Path("."), {name: rows[name] for name in ("queries", "responses/a")})

    cli.main(["check-tables"])

    assert "not made yet, and not checked: answers, benchmark_scores" in capsys.readouterr().out


def test_no_table_at_all_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["check-tables"])

    assert "data has no table yet; `dvc repro` makes them" in capsys.readouterr().err
