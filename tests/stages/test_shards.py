"""A sampling stage in shards, in working copies of their own: the same bytes, and nothing is sampled by the merge."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import sample_responses
from synthalign.core import shards
from synthalign.core.errors import UserError
from synthalign.generation import generate, models
from synthalign.generation.journal import read
from tests import test_processes
from tests.test_processes import SECTION, made, workspace

ROWS = 60
Workspace = Callable[[str], Path]


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Working copies by name; the last one asked for is where a stage runs."""

    def of(name: str) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            workspace(folder, monkeypatch)
        monkeypatch.chdir(folder)
        return folder

    monkeypatch.setattr(test_processes, "TEXTS", test_processes.TEXTS[:ROWS])
    monkeypatch.setenv("DVC_STAGE", "")
    return of


def params(**changed: object) -> sample_responses.Params:
    return sample_responses.Params.model_validate(SECTION | changed)


def run_shard(number: int, of: int, monkeypatch: pytest.MonkeyPatch, **changed: object) -> str:
    """Run it in the current folder; returns what it says."""
    with monkeypatch.context() as patched, pytest.raises(shards.Ended) as ended:
        patched.setenv("SYNTHALIGN_SHARD", f"{number}/{of}")
        sample_responses.main(params(**changed), "a")
    return str(ended.value)


def rows(folder: Path) -> list[str]:
    """The row of every whole line of its journals."""
    return [row for file in folder.glob(".work/*/*/*.jsonl") for row in read(file)[0]]


def test_shards_in_copies_of_their_own_give_the_bytes_of_one_process_and_no_row_twice(
    copies: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = copies("alone")
    sample_responses.main(params(), "a")
    expected = made(alone)
    assert len(expected) == 2

    told = run_shard(0, 3, monkeypatch) if copies("first") else ""
    assert told == "sample_responses@a: shard 0/3 has its rows; 40 of 60 are not here yet"
    assert made(tmp_path / "first") == {}  # a shard writes no table

    # the second is killed while it writes its 13th row, and run again
    second = copies("second")
    run_shard(1, 3, monkeypatch)
    [journal] = second.glob(".work/*/*/*.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:12]) + lines[12][:20])
    run_shard(1, 3, monkeypatch)
    assert len(journal.read_bytes().splitlines()) == 12 + 1 + 8

    # the third runs twice, in the copy of the first
    copies("first")
    assert run_shard(2, 3, monkeypatch) == run_shard(2, 3, monkeypatch)
    assert len(rows(tmp_path / "first")) == 40

    # the stage itself finds all rows there: not even a model is loaded
    merged = copies("merged")
    monkeypatch.setenv("SYNTHALIGN_JOURNALS", str(tmp_path / "journals"))
    for name in ("first", "second"):
        shutil.copytree(tmp_path / name / ".work", tmp_path / "journals" / name)
    with monkeypatch.context() as without:
        without.delattr(models, "load_causal")
        without.delattr(generate, "generate")
        sample_responses.main(params(), "a")
    assert made(merged) == expected


def test_a_shard_that_is_missing_is_made_by_the_stage_itself(
    copies: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = copies("alone")
    sample_responses.main(params(), "a")
    shared = copies("shared")
    run_shard(1, 2, monkeypatch)

    sample_responses.main(params(), "a")

    assert made(shared) == made(alone)


def test_a_shard_that_finds_all_rows_writes_no_table(copies: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = copies("shared")
    run_shard(0, 2, monkeypatch)

    assert "finds all rows there; run the stage without it" in run_shard(1, 2, monkeypatch)
    assert made(shared) == {}
    assert sorted(rows(shared)) == sorted(set(rows(shared)))
    assert len(rows(shared)) == ROWS


def test_a_journal_of_other_settings_is_refused_by_name(copies: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = copies("elsewhere")
    run_shard(0, 2, monkeypatch, temperature=0.5)
    [journal] = elsewhere.glob(".work/*/*/*.jsonl")
    merged = copies("merged")
    monkeypatch.setenv("SYNTHALIGN_JOURNALS", str(elsewhere / ".work"))

    with pytest.raises(UserError, match=f"{journal} is the journal of other settings"):
        sample_responses.main(params(), "a")
    assert made(merged) == {}
