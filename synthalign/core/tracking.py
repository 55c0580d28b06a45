"""Where curves are shown while a model trains: SYNTHALIGN_REPORT_TO, one or several of TRACKERS, with commas between.

    SYNTHALIGN_REPORT_TO=tensorboard,trackio dvc repro train_ppo@almost

Without it nothing is reported and nothing is imported. It is a matter of the machine, not of the method: no setting, no
part of a command, and what a stage writes is the same with it. TRL's trainers report through transformers' callbacks,
ours through accelerate's trackers; a run has the same name in both.
"""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError

VARIABLE = "SYNTHALIGN_REPORT_TO"

TRACKERS = ("tensorboard", "trackio", "mlflow", "wandb")
"""Each is the name of its package, too."""

PROJECT = "synthalign"

FOLDER = Path("logs")
"""Where those write that write into a folder; trackio has its own."""

Report = Callable[[Mapping[str, Any]], None]


def wanted() -> list[str]:
    """The trackers that the environment names; UserError for one that there is not, or that is not installed."""
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in dict.fromkeys(names):
        if name not in TRACKERS:
            raise UserError(f"{VARIABLE}={name}: no tracker of that name; there are {', '.join(TRACKERS)}")
        if find_spec(name) is None:
            raise UserError(f"{VARIABLE}={name}: it is not installed; `pip install {name}`, or unset {VARIABLE}")
    return list(dict.fromkeys(names))


def run_name(work: Path) -> str:
    """The name of a run: its stage, with the member where DVC runs it, and the first digits of its scratch folder."""
    return f"{os.environ.get('DVC_STAGE') or work.parent.name}-{work.name[:8]}"


def of_trainer(work: Path) -> dict[str, Any]:
    """The arguments of transformers' Trainer for it."""
    names = wanted()
    if not names:
        return {"report_to": "none"}
    _set_places(work)
    return {"report_to": names, "run_name": run_name(work), "project": PROJECT}


def of_accelerator(work: Path) -> dict[str, Any]:
    """The arguments of an Accelerator whose run is `started`."""
    names = wanted()
    if not names:
        return {}
    _set_places(work)
    return {"log_with": names, "project_dir": str(FOLDER / run_name(work))}


def started(accelerator: Any, work: Path) -> Report | None:
    """What a trainer of ours hands each row of its curve to, {"step", ...}; None where no tracker is wanted.

    accelerator  made with `of_accelerator`; `finished` ends the run
    """
    if not wanted():
        return None
    run = run_name(work)
    named = {"trackio": {"name": run, "resume": "allow"}, "wandb": {"name": run}, "mlflow": {"run_name": run}}
    accelerator.init_trackers(PROJECT, init_kwargs=named)

    def report(row: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in row.items() if key != "step" and isinstance(value, int | float)}
        accelerator.log(numbers, step=int(row["step"]))

    return report


def finished(accelerator: Any) -> None:
    """End the run of each tracker; accelerate's own `end_training` would also end the group of processes."""
    for tracker in accelerator.trackers:
        tracker.finish()


def _set_places(work: Path) -> None:
    """Where the trackers write, unless their own variables say so: nothing next to the project's files."""
    FOLDER.mkdir(exist_ok=True)
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(FOLDER / run_name(work)))
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{FOLDER / 'mlflow.db'}")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", PROJECT)
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    os.environ.setdefault("WANDB_DIR", str(FOLDER))
