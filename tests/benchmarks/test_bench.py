"""The harness of `make bench`: what becomes of measured runs. How fast anything is, no test says."""

from pathlib import Path

import pytest

from benchmarks.bench import Comparison, Run, table, take_pieces, take_turns
from benchmarks.peers import environment
from benchmarks.trainers import mean_loss


def test_an_entry_has_the_median_and_the_outermost_ratios() -> None:
    comparison = Comparison("work", "peer", ratios=[3.0, 1.0, 2.0, 9.0, 1.5], at_least=2.0, notes={"rows": 7})

    assert comparison.entry("name") == {
        "id": "name",
        "work": "work",
        "against": "peer",
        "at_least": 2.0,
        "versions": {},
        "notes": {"rows": 7},
        "ratio": 2.0,  # of 1, 1.5, 2, 3, 9; the mean would be 3.3
        "n": 5,
        "low": 1.0,
        "high": 9.0,
    }


def test_the_table_marks_what_misses_its_target() -> None:
    entries = [
        Comparison("exactly", "peer", ratios=[2.0], at_least=2.0).entry("a"),
        Comparison("missed", "peer", ratios=[1.9], at_least=2.0).entry("b"),
    ]

    [marks] = [
        [line.split()[-1] for line in table(entries).splitlines() if line.split()[:1] in (["exactly"], ["missed"])]
    ]

    assert marks == ["yes", "NO"]


def test_long_runs_that_are_stopped_go_on_with_the_pairs_that_there_are(tmp_path: Path) -> None:
    order = []

    def side(name: str) -> Run:
        order.append(name)
        return {"seconds": float(len(order))}

    def taken(runs: int, deadline: float | None = None) -> list[tuple[Run, Run]]:
        journal = tmp_path / "pairs.jsonl"
        return take_pieces(lambda: side("ours"), lambda: side("theirs"), journal, runs=runs, deadline=deadline)

    assert taken(1) == [({"seconds": 1.0}, {"seconds": 2.0})]
    assert taken(3, deadline=0.0) == taken(1)
    assert taken(2) == [({"seconds": 1.0}, {"seconds": 2.0}), ({"seconds": 4.0}, {"seconds": 3.0})]
    assert order == ["ours", "theirs", "theirs", "ours"]


def test_sides_take_turns_after_one_run_each_that_does_not_count() -> None:
    order = []

    def side(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    pairs = take_turns(lambda: side("ours", 1.0), lambda: side("theirs", 2.0), runs=3)

    assert pairs == [(1.0, 2.0)] * 3
    assert order == ["ours", "theirs", "ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_the_mean_loss_weighs_a_point_by_the_steps_it_stands_for() -> None:
    curve = [
        {"step": 1, "loss": 4.0},
        {"step": 10, "loss": 2.0},
        {"step": 12, "loss": 1.0},
        {"step": 12, "runtime": 9.0},
    ]

    assert mean_loss(curve) == pytest.approx((1 * 4 + 9 * 2 + 2 * 1) / 12)


def test_a_peer_that_is_not_installed_is_named_with_the_place_that_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHALIGN_PEERS", "nowhere")

    with pytest.raises(SystemExit, match="nowhere/trl: .*benchmarks/peers/README.md"):
        environment("trl")
