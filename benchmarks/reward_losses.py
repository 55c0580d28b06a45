"""What a reward model learns of comparisons, three ways: shuffled pairs, rankings, ratings (train_reward.loss).

    python -m benchmarks.reward_losses               # after `make repro`: five seeds, metrics/reward_losses.json

All three learn the same comparisons of the same queries under the same settings, those of train_reward in params.yaml,
and are asked about the same held-out queries: InstructGPT's claim (Ouyang et al. 2022, section 3.5) is that pairs of
one prompt overfit when they are shuffled.  Finished runs are kept in .work/reward_losses.
"""

import json
import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from pydantic import BaseModel, Field

from benchmarks import many_runs
from synthalign.core import measures, stage, statistics, tables
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval
from synthalign.feedback import bradley_terry
from synthalign.generation import model_folder, models
from synthalign.reward import losses, pairwise, rankings, training, training_settings

Loss = Literal["pairs", "rankings", "ratings"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
Record = dict[str, Any]

CODE = (bradley_terry, losses, pairwise, rankings, training)


class Given(BaseModel, frozen=True):
    """What all runs share."""

    comparisons: str = "gold"
    """Of data/comparisons; all pairs of a query are there, and their labels are right."""

    max_pairs: int = Field(default=2000, gt=0)
    settings: dict[str, Any]
    """Of train_reward."""


class Job(NamedTuple):
    loss: Loss
    seed: int

    @property
    def name(self) -> str:
        return f"{self.loss}/{self.seed}"


def one_run(given: Given, work: Path, job: Job) -> Record:
    """How often the reward model is right in each held-out query, {query_id: share}."""
    torch.set_num_threads(1)
    models.fix_rounding("training")
    own = {name: given.settings[name] for name in training_settings.Settings.model_fields} | {"seed": job.seed}
    settings, base = training_settings.Settings.model_validate(own), given.settings["model"]
    train, held_out = pairwise.choose(
        tables.rows(f"comparisons/{given.comparisons}"),
        max_pairs=given.max_pairs,
        held_out=given.settings["held_out"],
        seed=job.seed,
        whole_queries=True,
    )
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        folder = Path(scratch)
        told = {"base_model": base, "folder": folder / "reward", "work": folder / "work", "settings": settings}
        told |= {"learning_rate": given.settings["learning_rate"]}
        if job.loss == "pairs":
            pairwise.train(train, **told)
        else:
            rankings.train(rankings.of_queries(train, job.loss, base, settings.max_length), **told)
        judged = pairwise.finish(folder / "reward", held_out, max_length=settings.max_length)
    right = measures.by_question(list(zip(judged.queries, judged.correct, strict=True)))
    return {"right": right, "pairs": len(train)}


def all_runs(given: Given, seeds: int, *, processes: int) -> dict[Job, Record]:
    """The records of all runs; those that are in the journal are not run again."""
    table, base = tables.path(f"comparisons/{given.comparisons}"), Path(given.settings["model"])
    code = [Path(str(module.__file__)) for module in CODE]
    work = stage.work_dir("reward_losses", given.model_dump_json(), table, base, Path(__file__), *code)
    wanted = [Job(loss, seed) for seed, loss in product(range(seeds), LOSSES)]
    runs = {job.name: partial(one_run, given, work, job) for job in wanted}
    found = many_runs.kept(work, runs, processes=processes, desc="reward_losses")
    return {job: found[job.name] for job in wanted}


def shown(each: list[Interval]) -> Record:
    """All seeds together, and each by itself."""
    return {**statistics.combine_seeds(each).metrics(), "each": [one.metrics() for one in each]}


def report(found: dict[Job, Record], given: Given, seeds: int) -> Record:
    """metrics/reward_losses.json: accuracy over held-out queries, and what the other two have above shuffled pairs."""
    right = {loss: [found[Job(loss, seed)]["right"] for seed in range(seeds)] for loss in LOSSES}
    return {
        "seeds": seeds,
        "comparisons": given.comparisons,
        "pairs": [found[Job("pairs", seed)]["pairs"] for seed in range(seeds)],
        "accuracy": {loss: shown([measures.mean(one, seed=0) for one in right[loss]]) for loss in LOSSES},
        "over_pairs": {
            loss: shown(
                [
                    measures.difference(one, pairs, seed=0)
                    for one, pairs in zip(right[loss], right["pairs"], strict=True)
                ]
            )
            for loss in LOSSES[1:]
        },
    }


def run(seeds: int, *, processes: int, out: Path, max_pairs: int) -> None:
    settings = stage.read("params.yaml")["train_reward"]
    if settings["lora"]:
        raise UserError("params.yaml: train_reward.lora is set; here all weights are trained, set null")
    given = Given(max_pairs=max_pairs, settings={key: one for key, one in settings.items() if key != "feedback"})
    tables.check_made(f"comparisons/{given.comparisons}")
    model_folder.check(given.settings["model"])
    found = all_runs(given, seeds, processes=processes)
    out.write_text(json.dumps(report(found, given, seeds), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(out)


def main() -> None:
    parser = many_runs.parser("reward_losses", __doc__.splitlines()[0])
    parser.add_argument(
        "--pairs", type=many_runs.positive, default=2000, help="comparisons, held-out ones included (default 2000)"
    )
    parser.add_argument("--out", type=Path, default=Path("metrics/reward_losses.json"), help="(default %(default)s)")
    given = parser.parse_args()
    with many_runs.command("reward_losses"):
        run(given.seeds, processes=given.jobs, out=given.out, max_pairs=given.pairs)


if __name__ == "__main__":
    main()
