"""DPO and PPO on comparisons of the policy's own answers that the large model labels, round after round.

    python -m benchmarks.iterated_rlaif              # after `make repro`: five seeds, metrics/iterated_rlaif.json
    python -m benchmarks.iterated_rlaif --only 1     # the first run that is missing, and no figures: how long is one?

A round: the policy of the round before, first SFT, answers the training queries; the large model is asked of two
answers which is better by a principle, in both orders (RLAIF, Lee et al. 2023, section 2.1), and a learner learns it.

dpo  from the policy of the round before, which is the reference too, on pairs labelled alike in both orders
ppo  from SFT, against a reward model of all rounds' pairs with the labels as probabilities (online iterated RLHF, Bai
     et al. 2022a, section 4.5)

Training queries are divided by a hash into those that DPO and PPO learn from and those that are asked afterwards, of
which they saw SFT's demonstrations alone; the oracle judges the answers against SFT's.  Evaluation questions are never
asked.  Settings are those of params.yaml but for what `Scale` says (`iterated_rlaif_runs`).  Finished runs are kept in
.work/iterated_rlaif.
"""

import json
import tempfile
from functools import cache, partial
from pathlib import Path

import torch

from benchmarks import iterated_rlaif_runs, many_runs
from benchmarks.iterated_rlaif_runs import TINY, Given, Job, Method, Record, Scale, Task, read_settings
from synthalign.core import code, stage, statistics, tables
from synthalign.core.statistics import Interval
from synthalign.generation import model_folder

METHODS: tuple[Method, ...] = ("dpo", "ppo")


def work_of(given: Given) -> Path:
    """The scratch folder of these inputs."""
    files = [Path(given.policy), Path(given.labeller), Path(given.principles), Path(given.reward["model"])]
    files += [Path(given.world) / "world.json", tables.path("queries")]
    runs = code.of(str(iterated_rlaif_runs.__file__))  # and not what the figures are made by
    return stage.work_dir("iterated_rlaif", given.model_dump_json(), *files, *runs)


@cache
def _task(given: str) -> Task:
    return Task(Given.model_validate_json(given))


def one_run(given: Given, work: Path, job: Job) -> Record:
    """The rounds of a run, in whatever process."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        return {"rounds": _task(given.model_dump_json()).run(job, Path(folder))}


def all_runs(given: Given, seeds: int, *, processes: int, only: int | None) -> dict[Job, list[Record]]:
    """The rounds of all runs that are finished in the end; `only` so many of those that are missing are run."""
    work = work_of(given)
    wanted = [Job(method, seed) for seed in range(seeds) for method in reversed(METHODS)]  # the longer one first
    runs = {job.name: partial(one_run, given, work, job) for job in wanted}
    found = many_runs.kept(work, runs, processes=processes, desc="iterated_rlaif", only=only)
    return {job: found[job.name]["rounds"] for job in wanted if job.name in found}


# -- what they add up to ----------------------------------------------------------------------------------------------


def shown(each: list[Record | None]) -> Record | None:
    """A figure under all seeds, and under each by itself (`each`); None where a seed has none."""
    found = [one for one in each if one is not None]
    if len(found) < len(each):
        return None
    return {**statistics.combine_seeds([Interval.of(one) for one in found]).metrics(), "each": found}


def report(found: dict[Job, list[Record]], given: Given, seeds: int) -> Record:
    """metrics/iterated_rlaif.json: of every method a list of rounds."""
    methods = {}
    for method in METHODS:
        methods[method] = []
        for turn in range(given.scale.rounds(method)):
            of_seeds = [found[Job(method, seed)][turn] for seed in range(seeds)]
            methods[method].append(
                {
                    "round": turn + 1,
                    "pairs": [one["pairs"] for one in of_seeds],
                    "used": [one["used"] for one in of_seeds],
                    "labels_right": shown([one["right"] for one in of_seeds]),
                    "labels_right_in_both_orders": shown([one["right_alike"] for one in of_seeds]),
                    "reward_held_out": shown([one.get("held_out_accuracy") for one in of_seeds]),
                    "chosen_longer": [one["chosen_longer"] for one in of_seeds],
                    "win_rate": shown([one["against_sft"]["win_rate"] for one in of_seeds]),
                    "length_controlled": shown([one["against_sft"]["length_controlled"] for one in of_seeds]),
                    "tokens": [one["against_sft"]["tokens_a"] for one in of_seeds],
                    "tokens_sft": [one["against_sft"]["tokens_b"] for one in of_seeds],
                    "kl": shown([one["kl"] for one in of_seeds]),
                }
            )
    settings = given.scale.model_dump() | {"policy": given.policy, "labeller": given.labeller, "task": given.task}
    return {"seeds": seeds, "settings": settings, "methods": methods}


# -- command ----------------------------------------------------------------------------------------------------------


def run(world: str, scale: Scale, seeds: int, *, processes: int, out: Path, only: int | None = None) -> None:
    """Run what is missing, and write the figures to the file `out` once all is there."""
    given = read_settings(world, scale)
    tables.check_made("queries")
    for folder in (given.policy, given.labeller, given.reward["model"]):
        model_folder.check(folder)
    found = all_runs(given, seeds, processes=processes, only=only)
    missing = seeds * len(METHODS) - len(found)
    if missing:
        print(f"{len(found)} runs are finished, {missing} are missing; without --only they are run too")
        return
    written = report(found, given, seeds)
    written |= many_runs.of_settings("train_sft", "train_dpo", "train_ppo", "train_reward", "label_pairs")
    out.write_text(json.dumps(written, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(out)


def main() -> None:
    parser = many_runs.parser("iterated_rlaif", __doc__.splitlines()[0])
    parser.add_argument("--only", type=int, help="run only so many of the missing runs, and write no figures")
    parser.add_argument("--tiny", action="store_true", help="a minute or two to .work, which show nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    scale, out = (TINY, ".work/iterated_rlaif_tiny.json") if given.tiny else (Scale(), "metrics/iterated_rlaif.json")
    with many_runs.command("iterated_rlaif"):
        run("data/embedded", scale, given.seeds, processes=given.jobs, out=Path(out), only=given.only)


if __name__ == "__main__":
    main()
