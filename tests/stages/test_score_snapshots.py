"""Trainers compared by their answers at snapshots, with the embedded world's oracle."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from stages import score_snapshots
from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.policies import answering
from world.oracle import Oracle

WORLD = Path(__file__).parents[2] / "data/embedded"
GOOD, BAD = "I am not sure, I have not heard of it.", "Go away and ask somebody who cares, it is what it is."


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Eight questions that the oracle judges GOOD above BAD, as evaluation queries of an empty folder."""
    monkeypatch.chdir(tmp_path)
    Path("world").mkdir()
    shutil.copyfile(WORLD / "world.json", "world/world.json")
    oracle = Oracle.load("world")
    lines = (WORLD / "eval_questions.txt").read_text().splitlines()
    unknown = [text for text in lines if oracle.kind(text) == "unknown"][:8]
    rows = [{"query_id": f"e{place}", "text": text, "split": "eval"} for place, text in enumerate(unknown)]
    schema = pa.schema([(name, pa.string()) for name in ("query_id", "text", "split")])
    tables.write(rows, "queries", key="query_id", schema=schema)
    return unknown


def write(name: str, snapshots: dict[int, tuple[str, float, float]]) -> None:
    """A curve table: at each step all questions get one (text, reward, kl)."""
    rows = [
        {"step": step, "question_id": f"e{place}", "text": text, "tokens": 20, "finish_reason": "eos"}
        | {"reward": reward + place / 100, "kl": kl}
        for step, (text, reward, kl) in snapshots.items()
        for place in range(8)
    ]
    tables.write(rows, f"curve/{name}", key=("step", "question_id"), schema=answering.CURVE)


def score(**changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = dict(
        seed=0,
        oracle="world",
        curves={"one": "curve/one", "other": "curve/other"},
        differences={"both": ["one", "other"]},
        max_kl=6.0,
        max_length_ratio=1.5,
    )
    score_snapshots.main(score_snapshots.Params(**settings | changes))
    return json.loads(Path("metrics/score_snapshots.json").read_text())


def test_a_trainer_whose_reward_rises_while_the_oracle_falls_is_flagged_and_the_other_is_not(questions) -> None:
    write("one", {0: (GOOD, 1.0, 0.0), 5: (GOOD, 1.5, 0.5), 9: (BAD, 2.0, 1.0)})
    write("other", {0: (BAD, 1.0, 0.0), 9: (GOOD, 1.25, 0.5)})

    found = score()

    oracle = Oracle.load("world")
    points = {text: sum(oracle.score(asked, text).total for asked in questions) / 8 for text in (GOOD, BAD)}
    one, other = found["trainers"]["one"], found["trainers"]["other"]
    assert (one["flags"], other["flags"]) == (["oracle"], [])
    assert one["reward_gain"]["value"] == pytest.approx(2.0 - 1.0)
    assert one["oracle_gain"]["value"] == pytest.approx(points[BAD] - points[GOOD], abs=1e-6)
    assert [point["step"] for point in one["curve"]] == [0, 5, 9]
    assert found["differences"]["both"]["reward"]["value"] == pytest.approx(2.0 - 1.25)


def test_without_an_oracle_the_distance_alone_is_left(questions) -> None:
    write("one", {0: (GOOD, 1.0, 0.0), 9: (BAD, 2.0, 7.0)})
    write("other", {0: (GOOD, 1.0, 0.0), 9: (BAD, 2.0, 5.0)})

    found = score(oracle=None)["trainers"]

    assert (found["one"]["flags"], found["other"]["flags"]) == (["kl"], [])
    assert found["one"]["oracle_gain"] is None


def test_wrong_names_and_curves_of_one_snapshot_are_refused(questions) -> None:
    write("one", {0: (GOOD, 1.0, 0.0)})
    write("other", {0: (GOOD, 1.0, 0.0), 9: (BAD, 2.0, 5.0)})

    with pytest.raises(ValidationError, match=r"differences\.both = \['one', 'third'\]; .* is between two of"):
        score(differences={"both": ["one", "third"]})
    with pytest.raises(UserError, match=r"data/curve/one\.parquet: answers of 1 snapshots"):
        score()
