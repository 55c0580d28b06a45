"""FLAN's sweeps for several seeds: number of tasks, model size, and the four cells of the ablation.

    python -m benchmarks.flan_sweep                    # metrics/flan_sweep.json: three seeds put together
    python -m benchmarks.flan_sweep --seeds 5          # more of them
    python -m benchmarks.flan_sweep --sizes            # the number of tasks and the ablation at every size too

Seed 0 is what the graph ran: `dvc repro score_tasks` comes first, but for --sizes, which runs all by itself. Another
seed draws other mixtures (examples, templates, solved examples) and other orders of training; the held-out items stay
the same. Each seed has a folder in .work/flan_sweep with the stages' outputs; what is there already is not made again.
"""

import argparse
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages import answer_tasks, build_mixture, score_tasks, train_flan
from synthalign.core import stage, yaml_file
from synthalign.core.statistics import Interval, combine_seeds

FOLDER = Path(".work/flan_sweep")

CELLS = ("three", "six", "twelve", "half", "direct", "cot")
"""The mixtures of the sweeps beside that of all tasks."""


def settings(seed: int, *, sizes: bool) -> dict[str, Any]:
    """The sections of the FLAN stages for a seed; with `sizes` the small and the large model on every mixture too."""
    given = yaml_file.load(Path("params.yaml").read_text(encoding="utf-8"))
    for section in ("build_mixture", "train_flan"):
        given[section]["seed"] += seed
    if sizes:
        members = given["train_flan"]["members"]
        for size in ("small", "large"):
            for cell in CELLS:
                members[f"{size}_{cell}"] = members[size] | {"mixture": cell}
                given["answer_tasks"]["subjects"][f"{size}_{cell}"] = {"model": f"models/flan/{size}_{cell}"}
                given["score_tasks"]["subjects"].append(f"{size}_{cell}")
    return given


def unless_there(file: Path, make: Callable[..., None], *given: Any) -> None:
    """Make what is not there."""
    if not file.exists():
        make(*given)


def run(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The FLAN stages in a folder of their own; what score_tasks says."""
    here = Path.cwd()
    for shared in ("models/base", "data/embedded"):
        (folder / shared).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / shared).exists():
            (folder / shared).symlink_to(here / shared)
    os.chdir(folder)
    try:
        if not Path("settings.json").exists() or json.loads(Path("settings.json").read_text()) != given:
            for stale in ("data/mixtures", "models/flan", "data/task_answers"):
                shutil.rmtree(stale, ignore_errors=True)
            Path("settings.json").write_text(json.dumps(given))
        mixtures = build_mixture.Params(**given["build_mixture"])
        for name in mixtures.mixtures:
            unless_there(Path(f"data/mixtures/{name}.parquet"), build_mixture.main, mixtures, name)
        trained = train_flan.Params(**given["train_flan"])
        for name in trained.members:
            unless_there(Path(f"models/flan/{name}/model.safetensors"), train_flan.main, trained, name)
        asked = answer_tasks.Params(**given["answer_tasks"])
        for name in asked.subjects:
            unless_there(Path(f"data/task_answers/{name}.parquet"), answer_tasks.main, asked, name)
        score_tasks.main(score_tasks.Params(**given["score_tasks"]))
        found: dict[str, Any] = json.loads(Path("metrics/score_tasks.json").read_text(encoding="utf-8"))
        return found
    finally:
        os.chdir(here)


def together(found: list[Any]) -> Any:
    """The same figures of several seeds as one, wherever in the metrics they stand."""
    if any(one is None for one in found):
        return None
    if "value" in found[0]:
        return combine_seeds([Interval.of(one) for one in found]).metrics()
    return {key: together([one[key] for one in found]) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from that of params.yaml on")
    parser.add_argument("--sizes", action="store_true", help="every mixture at every size")
    given = parser.parse_args()
    if given.sizes:
        found = [run(FOLDER / f"sizes-{seed}", settings(seed, sizes=True)) for seed in range(given.seeds)]
    else:
        found = [json.loads(Path("metrics/score_tasks.json").read_text(encoding="utf-8"))]
        found += [run(FOLDER / f"seed-{seed}", settings(seed, sizes=False)) for seed in range(1, given.seeds)]
    stage.write_metrics("flan_sweep", seeds=given.seeds, **together(found))


if __name__ == "__main__":
    main()
