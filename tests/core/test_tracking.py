"""Curves go to the trackers that the environment names, and no output of a stage changes by that."""

import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from accelerate import Accelerator
from pydantic import BaseModel

from stages import train_ditto, train_dpo
from synthalign.core import stage, tracking
from synthalign.core.errors import UserError
from tests import tiny
from tests.ditto.test_training import DEMONSTRATIONS
from tests.policies import test_ppo_training
from tests.stages.test_ditto_stages import DITTO
from tests.stages.test_train_stages import DPO, pair, workspace, write_pairs  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


def outs() -> dict[str, str]:
    files = [file for folder in ("models", "metrics") for file in Path(folder).rglob("*") if file.is_file()]
    return {str(file): hashlib.md5(file.read_bytes()).hexdigest() for file in sorted(files)}


def scalars(folder: Path) -> dict[str, list[int]]:
    """The steps of each curve that TensorBoard finds in a folder."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(folder))
    found.Reload()
    return {name: [event.step for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_without_the_variable_nothing_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(tracking.VARIABLE, raising=False)

    assert tracking.wanted() == []
    assert tracking.of_trainer(tmp_path) == {"report_to": "none"}
    assert tracking.of_accelerator(tmp_path) == {}


def test_a_tracker_of_no_such_name_is_told_before_a_stage_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Params(BaseModel):
        pass

    def main(params: Params) -> None:
        raise AssertionError("the stage has begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train"])
    monkeypatch.setenv(tracking.VARIABLE, "tensorbord")

    with pytest.raises(SystemExit) as stopped:
        stage.run(main, "train", Params)

    assert stopped.value.code == 1
    assert capsys.readouterr().err == (
        "train: SYNTHALIGN_REPORT_TO=tensorbord: no tracker of that name; there are tensorboard, trackio, mlflow, "
        "wandb\n"
    )


def test_a_tracker_that_is_not_installed_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = [name for name in tracking.TRACKERS if find_spec(name) is None]
    if not absent:
        pytest.skip("all trackers are installed")
    monkeypatch.setenv(tracking.VARIABLE, f" {absent[0]},")

    with pytest.raises(UserError, match=f"{absent[0]}: it is not installed; `pip install {absent[0]}`"):
        tracking.wanted()


def test_a_trl_stage_reports_its_curve_and_writes_the_same_bytes(
    workspace: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tensorboard")
    write_pairs("sft", [pair(number) for number in range(24)])
    train_dpo.main(train_dpo.Params(**DPO))
    alone = outs()
    monkeypatch.setenv(tracking.VARIABLE, "tensorboard")

    train_dpo.main(train_dpo.Params(**DPO))

    assert outs() == alone
    [folder] = Path("logs").glob("train_dpo-*")
    assert scalars(folder)["train/loss"] == [1, 3]


def test_ppo_reports_every_step_and_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "train_ppo" / "0123456789"
    policy, _ = test_ppo_training.run(tmp_path / "alone", steps=2)
    alone = test_ppo_training.digest(policy, tmp_path / "a")
    monkeypatch.setenv(tracking.VARIABLE, "tensorboard")
    accelerator = Accelerator(cpu=True, **tracking.of_accelerator(work))

    policy, _ = test_ppo_training.run(tmp_path / "reported", steps=2, report=tracking.started(accelerator, work))
    tracking.finished(accelerator)

    assert test_ppo_training.digest(policy, tmp_path / "b") == alone
    assert scalars(Path("logs/train_ppo-01234567/synthalign"))["reward"] == [1, 2]


def test_ditto_reports_its_steps_behind_those_of_the_fine_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    tiny.save(Path("models/base"), tiny.causal(), tiny.tokenizer())
    lines = [json.dumps({"prompt": one.prompt, "output": one.output}) for one in DEMONSTRATIONS]
    Path("captain.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv(tracking.VARIABLE, "tensorboard")

    train_ditto.main(train_ditto.Params.model_validate(DITTO | {"max_new_tokens": 40}), "captain")

    [folder] = Path("logs").glob("train_ditto-*/synthalign")
    found = scalars(folder)
    assert found["sft_loss"] == [*range(1, len(found["sft_loss"]) + 1)]
    assert found["loss"][0] == found["sft_loss"][-1] + 1


CURVE = """
from pathlib import Path
from accelerate import Accelerator
from synthalign.core import tracking

work = Path("work/train_ppo/0123456789")
accelerator = Accelerator(cpu=True, **tracking.of_accelerator(work))
report = tracking.started(accelerator, work)
for step in (1, 2):
    report({"step": step, "reward": 0.25 * step, "note": "no number"})
tracking.finished(accelerator)
"""

READ = {
    "mlflow": """
import mlflow
client = mlflow.MlflowClient("sqlite:///logs/mlflow.db")
[experiment] = [one for one in client.search_experiments() if one.name == "synthalign"]
[run] = client.search_runs([experiment.experiment_id])
print([(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "reward")])
""",
    "trackio": """
from trackio.sqlite_storage import SQLiteStorage
[run] = SQLiteStorage.get_runs("synthalign")
print([(one["step"], one["reward"]) for one in SQLiteStorage.get_logs("synthalign", run)])
""",
    "wandb": """
import re
from pathlib import Path
[file] = Path("logs/wandb").glob("offline-run-*/*.wandb")
kept = file.read_bytes()  # no package reads it; a number is kept as JSON beside its name
values = dict.fromkeys(re.findall(rb"reward.{1,3}?(0[.]25|0[.]5)", kept, re.DOTALL))
print([(step, float(value)) for step, value in enumerate(values, start=1)])
""",
}


@pytest.mark.parametrize("name", READ)
def test_a_curve_of_ours_reaches_every_tracker_without_a_network(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    given = os.environ | {
        "PYTHONPATH": str(ROOT),
        tracking.VARIABLE: name,
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
    }

    for code in (CURVE, READ[name]):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    assert done.stdout.splitlines()[-1] == "[(1, 0.25), (2, 0.5)]"
