"""DPO's two experiments in the embedded world, beside PPO: metrics/dpo_frontier.json (Rafailov et al. 2023, section 6).

    python -m benchmarks.dpo_frontier                  # after `make repro`: five seeds
    python -m benchmarks.dpo_frontier --only 1         # the first run that is missing, and no figures: how long is one?

Frontier (6.1, Figure 2 left).  DPO for every beta and PPO for every KL coefficient, from one policy, by the reward
model that labelled DPO's pairs and that PPO climbs. Each is looked at several times on its way, on the same evaluation
questions with the same random numbers.

Temperature (6.2, Figures 2 right and 3).  DPO and PPO at the prices of params.yaml, as such runs left them, and SFT
answer at several temperatures; the oracle holds them against answers of SFT at temperature 1. So it does with the best
of N of SFT by the reward model, at every temperature above 0. DPO is held against the chosen answers of comparisons
that it did not learn from, too.

Settings are those of train_dpo and train_ppo in params.yaml but for what `Sweep` says (`dpo_frontier_runs`).
Finished runs are kept in .work/dpo_frontier, so that the command can be interrupted and started again.
"""

import json
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import dpo_frontier_figures as figures
from benchmarks import dpo_frontier_runs, many_runs
from benchmarks.dpo_frontier_figures import Answers, Point
from benchmarks.dpo_frontier_runs import TINY, Given, Job, Method, Record, Sweep, Task, read
from synthalign.core import code, stage, tables, text_file
from synthalign.generation import model_folder

# -- all runs ---------------------------------------------------------------------------------------------------------


def work_of(given: Given) -> Path:
    """The scratch folder of these inputs; how many seeds and which prices there are is none of them."""
    files = [Path(given.policy), Path(given.reward), Path(given.world) / "world.json", tables.path("queries")]
    files.append(tables.path(f"comparisons/{given.comparisons}"))
    settings = given.model_dump_json(exclude={"sweep": {"betas", "kl_coefficients"}})
    runs = code.of(str(dpo_frontier_runs.__file__))  # and not what the figures are made by
    return stage.work_dir("dpo_frontier", settings, *files, *runs)


SHARED, CURVE = 4, 6
"""KL points at which the methods are compared, and of the curve that is drawn of each."""


def all_runs(given: Given, seeds: int, *, processes: int, only: int | None = None) -> dict[Job, Record]:
    """The records of all runs that are finished in the end; `only` so many of those that are missing are run."""
    work = work_of(given)
    runs = {job.name: partial(one_run, given, work, job) for job in given.jobs(seeds)}
    found = many_runs.kept(work, runs, processes=processes, desc="dpo_frontier", only=only)
    return {job: found[job.name] for job in given.jobs(seeds) if job.name in found}


@cache
def _task(given: str) -> Task:
    return Task(Given.model_validate_json(given))


def one_run(given: Given, work: Path, job: Job) -> Record:
    """The record of a run, in whatever process."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        return _task(given.model_dump_json()).run(job, Path(folder))


# -- what they add up to ----------------------------------------------------------------------------------------------


def point(look: Record) -> Point:
    return Point(*(np.array(look[name], float) for name in Point._fields))


def answers(record: Record) -> Answers:
    return Answers(*(np.array(record[name], float) for name in Answers._fields))


def report(found: dict[Job, Record], given: Given, seeds: int) -> Record:
    """metrics/dpo_frontier.json; every figure is a list with an interval for every seed."""
    methods: tuple[Method, ...] = ("dpo", "ppo")
    points = {
        method: {
            how: [[point(look) for look in found[Job(method, *how, seed)]["looks"]] for seed in range(seeds)]
            for how in given.trainings(method)
        }
        for method in methods
    }
    sweeps: dict[str, list[list[Point]]] = {
        method: [
            [trained[given.trainings(method)[0]][seed][0]]  # where all begin
            + [one for of_seeds in trained.values() for one in of_seeds[seed][1:]]
            for seed in range(seeds)
        ]
        for method, trained in points.items()
    }
    steps = {
        (method, how): [look["step"] for look in found[Job(method, *how, 0)]["looks"]]
        for method in methods
        for how in points[method]
    }
    every = {
        method: [
            {"price": how[0], "own": how[1], "step": step} | figures.point_figures([looks[place] for looks in of_seeds])
            for how, of_seeds in trained.items()
            for place, step in enumerate(steps[method, how])
            if how[1] or step  # where all begin stands there once
        ]
        for method, trained in points.items()
    }
    settings = given.sweep.model_dump(mode="json") | {"policy": given.policy, "reward": given.reward}
    settings |= {"beta": given.dpo["beta"], "kl_coefficient": given.ppo["kl_coefficient"]}
    return {
        "seeds": seeds,
        "settings": settings,
        "frontier": figures.frontiers(sweeps, shared=SHARED, own=CURVE) | {"points": every},
        "win_rates": win_rates_of(found, given, seeds),
    }


def answers_scored(given: Given, queries: int) -> Record:
    """How many answers the reward model scored for one training of each method, and how many pairs DPO learned of them.

    queries  those that sample_preferences sampled
    """
    sweep, whole = given.sweep, given.ppo if given.sweep.whole else given.sweep.model_dump()
    return {
        "dpo": {"answers": queries * given.samples, "pairs_learned": sweep.pairs},
        "ppo": {"own": whole["steps"] * whole["rollout_batch"], "sweep": sweep.steps * sweep.rollout_batch},
    }


def win_rates_of(found: dict[Job, Record], given: Given, seeds: int) -> Record:
    """Of the answers at every temperature against SFT, of the best of N, and of DPO against its equals."""
    sweep = given.sweep
    sft = {heat: found[Job("sft", heat)] for heat in sweep.temperatures}
    opponents = np.array(sft[1.0]["opponents"], float)
    candidates = {
        heat: {name: np.array(values, float).T for name, values in record["candidates"].items()}  # (Q, N) each
        for heat, record in sft.items()
        if heat > 0
    }
    runs: dict[str, list[Record]] = {
        "dpo": [found[given.own("dpo", seed)] for seed in range(seeds)],
        "ppo": [found[given.own("ppo", seed)] for seed in range(seeds)],
        "sft": [{"temperatures": {f"{heat:g}": record["answers"] for heat, record in sft.items()}}],
    }

    def won(record: Record, heat: float) -> figures.Floats:
        return figures.against(np.array(record["temperatures"][f"{heat:g}"]["oracle"], float), opponents)

    def drops(name: str) -> list[figures.Floats]:
        return [figures.drop(won(record, 0.0), won(record, 1.0)) for record in runs[name]]

    numbers = [2**power for power in range(sweep.candidates.bit_length()) if 2**power <= sweep.candidates]

    def best_of(heat: float, n: int) -> figures.Floats:
        found = candidates[heat]
        return figures.best_of(found["reward"], figures.against(found["oracle"].T, opponents).T, n)

    best = Answers(*(figures.pick(candidates[1.0]["reward"], candidates[1.0][name]) for name in Answers._fields))
    return {
        "temperatures": {
            name: [
                {"temperature": heat, "win_rate": [figures.win_rate(won(record, heat)) for record in records]}
                for heat in sweep.temperatures
            ]
            for name, records in runs.items()
        },
        "drop": {name: [figures.win_rate(one) for one in drops(name)] for name in runs}
        | {
            "ppo_minus_dpo": [
                figures.win_rate(of_ppo - of_dpo) for of_ppo, of_dpo in zip(drops("ppo"), drops("dpo"), strict=True)
            ]
        },
        "best_of": [
            {"temperature": heat, "n": n, "win_rate": [figures.win_rate(best_of(heat, n))]}
            for heat in candidates
            for n in numbers
        ],
        "dpo_vs_best": [figures.duel(answers(run["temperatures"]["1"]), best) for run in runs["dpo"]],
        "dpo_vs_chosen": [figures.duel(answers(run["held_out"]), answers(run["chosen"])) for run in runs["dpo"]],
    }


# -- command ----------------------------------------------------------------------------------------------------------


def run(world: str, sweep: Sweep, seeds: int, *, processes: int, out: Path, only: int | None = None) -> None:
    """Run what is missing, and write the figures to the file `out` once all is there."""
    given = read(world, sweep)
    made_of = json.loads(text_file.read("metrics/sample_preferences.json", step="`make repro` makes it"))
    for name in ("queries", f"comparisons/{given.comparisons}"):
        tables.check_made(name)
    for folder in (given.policy, given.reward):
        model_folder.check(folder)
    found = all_runs(given, seeds, processes=processes, only=only)
    missing = len(given.jobs(seeds)) - len(found)
    if missing:
        print(f"{len(found)} runs are finished, {missing} are missing; without --only they are run too")
        return
    written = {"comparisons": made_of, **report(found, given, seeds)}
    written |= {"answers_scored": answers_scored(given, made_of["queries_sampled"])}
    written |= many_runs.of_settings("train_sft", "sample_preferences", "train_dpo", "train_ppo")
    out.write_text(json.dumps(written, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    print(out)


def main() -> None:
    parser = many_runs.parser("dpo_frontier", __doc__.splitlines()[0])
    parser.add_argument("--only", type=int, help="run only so many of the missing runs, and write no figures")
    parser.add_argument("--tiny", action="store_true", help="a sweep of a minute or two to .work, which shows nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sweep, out = (TINY, ".work/dpo_frontier_tiny.json") if given.tiny else (Sweep(), "metrics/dpo_frontier.json")
    with many_runs.command("dpo_frontier"):
        run("data/embedded", sweep, given.seeds, processes=given.jobs, out=Path(out), only=given.only)


if __name__ == "__main__":
    main()
