"""Gates by hand, and the ones of this repository."""

import json
from pathlib import Path

import pytest

from flows import accept, gates
from flows.gates import Gate, compare, figure, judge, read_gates

HIGHER = Gate(better="higher", tolerance=0.1)
LOWER = Gate(better="lower", tolerance=0.1)


def with_interval(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "n": 100}


@pytest.mark.parametrize(
    ("gate", "now", "accepted", "passes"),
    [
        (HIGHER, {"value": 1.0}, {"value": 1.0}, True),
        (HIGHER, {"value": 2.0}, {"value": 1.0}, True),
        # without intervals the tolerance alone decides
        (HIGHER, {"value": 0.95}, {"value": 1.0}, True),
        (HIGHER, {"value": 0.85}, {"value": 1.0}, False),
        (HIGHER, {"value": 0.7}, {"value": 0.8}, True),  # by the tolerance, and not by more
        (LOWER, {"value": 1.15}, {"value": 1.0}, False),
        (LOWER, {"value": 0.5}, {"value": 1.0}, True),
        # worse by 0.49 and 0.51, and chance explains √(0.3² + 0.4²) = 0.5 of it
        (HIGHER, with_interval(1.51, 0.3), with_interval(2.0, 0.4), True),
        (HIGHER, with_interval(1.49, 0.3), with_interval(2.0, 0.4), False),
        # beyond chance, but tolerated
        (HIGHER, with_interval(0.95, 0.01), with_interval(1.0, 0.01), True),
    ],
)
def test_a_gate_is_red_beyond_the_tolerance_and_beyond_chance(
    gate: Gate, now: gates.Figure, accepted: gates.Figure, passes: bool
) -> None:
    assert compare(gate, now, accepted)[0] is passes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics/family").mkdir(parents=True)
    (tmp_path / "flows").mkdir()
    (tmp_path / "metrics/score.json").write_text(
        '{"a": {"b": {"value": 1.5, "low": 1.0, "high": 2.0, "n": 7}}, "c": 3}'
    )
    (tmp_path / "metrics/family/member.json").write_text('{"loss": {"value": NaN}, "text": "no number"}')
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_figure_is_found_by_file_and_keys() -> None:
    assert figure("score:a.b") == {"value": 1.5, "low": 1.0, "high": 2.0, "n": 7}
    assert figure("score:c") == {"value": 3}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["none:a", "score:a.x", "score:c.x", "family/member:loss", "family/member:text"])
def test_a_figure_that_is_not_there_or_no_number_is_red(name: str) -> None:
    [verdict] = judge({name: HIGHER}, {}, {name: {"value": 1.0}})

    assert verdict.colour == "red"
    assert verdict.why == "not in metrics/, or no finite number"


@pytest.mark.usefixtures("folder")
def test_a_figure_without_a_baseline_is_new_and_stops_nothing() -> None:
    assert [verdict.colour for verdict in judge({"score:c": HIGHER}, {}, {})] == ["new"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score:c: {better: up, tolerance: 0}", "score:c: better = 'up': Input should be 'higher' or 'lower'"),
        ("score:c: {better: lower, tolerance: -1}", "score:c: tolerance = -1: Input should be greater than or equal"),
        ("score:c: {better: lower, tolerance: 0, typo: 1}", "score:c: typo = 1: Extra inputs are not permitted"),
        ("score.c: {better: lower, tolerance: 0}", "score.c: a name is file:keys"),
        ("[1]", "a mapping from figures to gates is wanted, not list"),
        ("{", "cannot be read"),
        ("score:c: 2024-13-45", "gates.yaml cannot be read: month must be in 1..12"),
    ],
)
def test_a_wrong_gate_is_named_with_its_value(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "gates.yaml").write_text(text)

    with pytest.raises(ValueError) as refused:
        read_gates(tmp_path / "gates.yaml")

    assert message in str(refused.value)


def test_accept_moves_the_baseline_and_only_as_a_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gates.GATES.write_text("score:c: {better: higher, tolerance: 0}\n")
    accept.main([])
    assert json.loads(gates.BASELINE.read_text()) == {"score:c": {"value": 3}}

    (folder / "metrics/score.json").write_text('{"c": 4}')
    accept.main([])
    assert "score:c: 4 (was 3)" in capsys.readouterr().out

    gates.GATES.write_text("score:c: {better: higher, tolerance: 0}\nscore:gone: {better: higher, tolerance: 0}\n")
    (folder / "metrics/score.json").write_text('{"c": 5}')
    with pytest.raises(SystemExit, match="the baseline is as it was"):
        accept.main([])
    assert "score:gone" in capsys.readouterr().err
    assert json.loads(gates.BASELINE.read_text()) == {"score:c": {"value": 4}}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("argument", ["--help", "--dry-run", "metrics"])
def test_accept_moves_no_baseline_when_it_is_given_an_argument(argument: str) -> None:
    gates.GATES.write_text("score:c: {better: higher, tolerance: 0}\n")

    with pytest.raises(SystemExit) as stopped:
        accept.main([argument])

    assert stopped.value.code == (0 if argument == "--help" else 2)
    assert not gates.BASELINE.exists()


def test_every_gate_of_this_repository_finds_its_figure_and_its_baseline() -> None:
    wanted = read_gates()

    assert sorted(wanted) == sorted(gates.figures(list(wanted)))  # else: a figure has got another name
    assert sorted(wanted) == sorted(gates.read_figures(gates.BASELINE))  # else: python -m flows.accept
