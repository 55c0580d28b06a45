from pathlib import Path

import pytest

from synthalign.core import shards
from synthalign.core.errors import UserError


def test_rows_are_dealt_by_their_sorted_ids_whatever_their_order() -> None:
    ids = ["e", "a", "d", "c", "b"]

    assert [[ids[place] for place in shards.dealt(ids, taker, 2)] for taker in (0, 1)] == [["e", "a", "c"], ["d", "b"]]


@pytest.mark.parametrize(("rows", "takers"), [(1000, 64), (3, 8), (0, 2), (300, 1)])
def test_every_row_has_one_taker_and_no_two_shares_differ_by_more_than_a_row(rows: int, takers: int) -> None:
    ids = [f"{row * 7919 % 104729:06}" for row in range(rows)]

    shares = [shards.dealt(ids, taker, takers) for taker in range(takers)]

    assert sorted(place for share in shares for place in share) == list(range(rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_shard_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shards.here() is None
    monkeypatch.setenv("SYNTHALIGN_SHARD", "2/8")
    assert shards.here() == shards.Shard(2, 8)


@pytest.mark.parametrize("given", ["8/8", "1/0", "1", "-1/2", "a/b", "1/2/3"])
def test_a_shard_that_there_is_not_is_refused_with_the_form(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHALIGN_SHARD", given)

    with pytest.raises(UserError, match=rf"SYNTHALIGN_SHARD = '{given}': write i/N, i from 0 to N - 1"):
        shards.here()


def test_dvc_runs_no_shard_since_it_writes_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHALIGN_SHARD", "0/2")
    monkeypatch.setenv("DVC_STAGE", "sample_responses@a")

    with pytest.raises(UserError, match="DVC runs sample_responses@a: a shard writes no table"):
        shards.here()


def test_parts_of_one_shard_from_two_nodes_lie_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in ("one", "two"):
        (tmp_path / node / "5f0c").mkdir(parents=True)
        (tmp_path / node / "5f0c/rows.0of2.0.jsonl").write_text(f"{node}\n")
    monkeypatch.setenv("SYNTHALIGN_JOURNALS", str(tmp_path))
    folder = tmp_path / "work/5f0c"
    folder.mkdir(parents=True)

    shards.bring(folder)
    shards.bring(folder)  # its own folder is below, too

    assert sorted(file.read_text() for file in folder.glob("rows.*.jsonl")) == ["one\n", "two\n"]


def test_a_folder_without_journals_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHALIGN_JOURNALS", str(tmp_path))

    with pytest.raises(UserError, match="has no journal: give the folder with what the shards left in .work"):
        shards.bring(tmp_path / "work")
