"""One run as the claims need it: from its metrics folder, or from one file in which it was kept.

    python -m synthalign.reporting.run_record METRICS FILE
    python -m synthalign.reporting.run_record --check FILE [FILE …]

keeps the run of a metrics folder, which lies beside the params.yaml and dvc.lock of its run; and says whether kept runs
are of the params.yaml here. A seed takes hours and needs nothing of the others, so seeds may run on several machines,
one after another, and be put together afterwards (`make claims SEED=3`, docs/start.md).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from synthalign.core import stage, yaml_file
from synthalign.core.errors import UserError, wrong_keys
from synthalign.reporting import method_table, recorded, run_inputs


class Run(BaseModel, frozen=True, extra="forbid"):
    """A run, and what tells it from others."""

    metrics: dict[str, Any]
    """By stage; see `seeds.Metrics`."""

    seeds: dict[str, Any]
    """By section of params.yaml."""

    sections: dict[str, str]
    """Eight hex digits of each section of params.yaml, seeds aside."""

    lock: str
    settings: str
    """As metrics/recorded.json has them."""

    seconds: dict[str, float]
    """By policy, how long its training took, where that is known."""

    inputs: dict[str, Any]
    """Of which models and files; see `run_inputs.inputs`."""


def of_folder(metrics: Path) -> Run:
    """The run whose metrics these are, and what experiments have written beside them; without those of stages that have
    not run since their settings, or what they read, changed.

    UserError where the folder, or params.yaml beside it, is not there.
    """
    figures, folder = metrics_in(metrics), metrics.parent
    inputs = run_inputs.inputs(folder)
    settings = yaml_file.load((folder / "params.yaml").read_text(encoding="utf-8"))
    lock = recorded.read_lock(folder)
    others = _made(lock) - recorded.current(metrics, lock, settings)
    return Run(
        metrics={name: one for name, one in figures.items() if name not in others},
        seeds={name: one["seed"] for name, one in settings.items() if isinstance(one, Mapping) and "seed" in one},
        sections=recorded.of_settings(settings, list(settings)),
        lock=recorded.lock_digest(lock),
        settings=recorded.digest(settings),
        seconds=method_table.seconds_of(folder),
        inputs=inputs,
    )


def metrics_in(folder: Path) -> dict[str, Any]:
    """The metrics of one run: every JSON object below the folder, by its path; no plots, nothing of several seeds.

    A file that was measured with other settings than those in the params.yaml beside the folder is left out: what the
    experiments wrote (`make ditto-ablation` and its like) stays where it is when settings change.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such metrics folder; `make repro` makes it")
    file = folder.parent / "params.yaml"
    settings = yaml_file.load(file.read_text(encoding="utf-8")) if file.exists() else None
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*.json")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if recorded.is_of_one_run(name):
            try:
                found[name] = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{file}: not JSON ({error}); run its stage again") from error
            if settings is not None and recorded.of_others(found[name], settings):
                del found[name]
    return found


def keep(metrics: Path, file: Path) -> Run:
    """Write the run of a metrics folder to a file, without what experiments have written, which is of no seed."""
    run, made = of_folder(metrics), _made(recorded.read_lock(metrics.parent))
    run = run.model_copy(update={"metrics": {name: one for name, one in run.metrics.items() if name in made}})
    if not run.metrics:
        raise UserError(f"{metrics}: nothing in it is of the dvc.lock beside it; `make repro` makes both")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(run.model_dump_json() + "\n", encoding="utf-8")
    return run


def kept(file: Path) -> Run:
    """The run in a file, and what experiments beside the graph have written to metrics/, which is of no seed.

    UserError where the file holds no run.
    """
    try:
        run = Run.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise UserError("\n".join([f"{file}: no run", *wrong_keys(error, str(file))])) from error
    here, made = Path("metrics"), _made(recorded.read_lock(Path()))
    found = metrics_in(here) if here.is_dir() else {}
    experiments = {name: one for name, one in found.items() if name not in made}
    return run.model_copy(update={"metrics": experiments | run.metrics})


def _made(lock: recorded.Lock) -> set[str]:
    """The metrics that stages make, and no experiment beside the graph."""
    paths = (out["path"] for one in lock.values() for out in one.get("outs", []))
    return {path.removeprefix("metrics/").removesuffix(".json") for path in paths if path.startswith("metrics/")}


def together(paths: Sequence[Path]) -> list[Run]:
    """The runs in these metrics folders and files, one a seed.

    UserError where one has other settings than the first, or the seeds of another one: then they are no seeds of one,
    or a run is counted twice, which makes every interval too narrow. So it is where some runs alone share the seed of a
    section: what comes after it shares that training.
    """
    runs = [kept(path) if path.is_file() else of_folder(path) for path in paths]
    for place, (path, run) in enumerate(zip(paths, runs, strict=True)):
        if differing := _differing(runs[0].sections, run.sections):
            raise UserError(
                f"{path}: {', '.join(differing)} of its params.yaml is not as in the run of {paths[0]}; seeds have the "
                "same settings, so leave the one out, or run it again"
            )
        for other, before in zip(paths[:place], runs[:place], strict=True):
            if run.seeds == before.seeds:
                raise UserError(f"{path}: the seeds of {other} once more; one run counted twice makes intervals narrow")
    for name in runs[0].seeds if runs else []:
        given = [run.seeds.get(name) for run in runs]
        if 1 < len(set(given)) < len(given):
            raise UserError(
                f"{', '.join(map(str, paths))}: the seeds of {name} are {', '.join(map(str, given))}; where some runs "
                "share one, intervals are too narrow, so have all of them differ, or none"
            )
    return runs


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def check(files: Sequence[Path]) -> None:
    """UserError for every kept run that is no seed of the params.yaml here: it had other settings."""
    settings = stage.read("params.yaml")
    here, wrong = recorded.of_settings(settings, list(settings)), []
    for file in files:
        if differing := _differing(here, kept(file).sections):
            wrong.append(
                f"{file}: the run in it had other settings in {', '.join(differing)} than params.yaml has; remove it, "
                "and its seed runs again"
            )
    if wrong:
        raise UserError("\n".join(wrong))


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["--check"]:
        check([Path(file) for file in arguments[1:]])
        return
    if len(arguments) != 2:
        raise UserError("usage: python -m synthalign.reporting.run_record METRICS FILE, or --check FILE [FILE …]")
    metrics, file = map(Path, arguments)
    run = keep(metrics, file)
    print(f"{file}: {len(run.metrics)} metrics of outputs {run.lock}, settings {run.settings}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"run_record: {error}", file=sys.stderr)
        raise SystemExit(1) from error
