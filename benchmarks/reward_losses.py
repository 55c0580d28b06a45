"""What a reward model learns of comparisons, three ways: shuffled pairs, rankings, ratings (train_reward.loss); and
shuffled pairs once more by a smaller and a larger model.

    python -m benchmarks.reward_losses               # after `make repro`: five seeds, metrics/reward_losses.json

All learn the same comparisons of the same queries under the settings of train_reward in params.yaml, and are asked
about the same other queries, those of every seed.  Ouyang et al. 2022 (InstructGPT), section 3.5, say that pairs of one
prompt overfit when they are shuffled, and take a reward model that is smaller than the policy.  A step of the rankings
and ratings has as many queries as hold `batch_size` pairs, so that all take about as many steps of as many pairs at one
learning rate.  Finished runs are kept in .work/reward_losses.
"""

import json
import math
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from pydantic import BaseModel, Field

from benchmarks import many_runs
from synthalign.core import code, measures, stage, statistics, tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.statistics import Interval
from synthalign.generation import model_folder, models
from synthalign.reward import pairwise, rankings, training, training_settings

Arm = Literal["pairs", "rankings", "ratings", "small", "large"]
"""What is learned; the last two learn pairs."""

ARMS: tuple[Arm, ...] = get_args(Arm)
Record = dict[str, Any]


class Given(BaseModel, frozen=True):
    """What all runs share."""

    comparisons: str = "gold"
    """Of data/comparisons; all pairs of a query are there, and their labels are right."""

    max_pairs: int = Field(default=2000, gt=0)
    """That a seed learns from, of whole queries."""

    measured: int = Field(default=400, gt=0)
    """Queries that are asked, of which no seed learns."""

    settings: dict[str, Any]
    """Of train_reward."""

    def base(self, arm: Arm) -> str:
        """The folder of the model that a run starts from."""
        model = Path(self.settings["model"])
        return str(model.parent / arm if arm in ("small", "large") else model)


class Job(NamedTuple):
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm}/{self.seed}"


def queries_in_a_step(pairs: Sequence[Record], batch_size: int) -> int:
    """How many queries hold about `batch_size` of the pairs."""
    return max(1, round(batch_size * len({pair["query_id"] for pair in pairs}) / len(pairs)))


def apart(pairs: Sequence[Record], measured: int) -> tuple[list[Record], list[Record]]:
    """The pairs to learn from and those of the queries that are asked, the first so many by a hash.

    UserError where nothing is left to learn from.
    """
    queries = sorted({pair["query_id"] for pair in pairs}, key=lambda one: content_id("reward_losses", one))
    asked = set(queries[:measured])
    left = [pair for pair in pairs if pair["query_id"] not in asked]
    if not left:
        raise UserError(
            f"{len(queries)} queries have comparisons, and {measured} are asked: nothing is left to learn from"
        )
    return left, [pair for pair in pairs if pair["query_id"] in asked]


def one_run(given: Given, work: Path, job: Job) -> Record:
    """How often the reward model is right in each query that is asked, {query_id: share}."""
    torch.set_num_threads(1)
    models.fix_rounding("training")
    own = {name: given.settings[name] for name in training_settings.Settings.model_fields} | {"seed": job.seed}
    settings, base = training_settings.Settings.model_validate(own), given.base(job.arm)
    left, asked = apart(tables.rows(f"comparisons/{given.comparisons}"), given.measured)
    train = training.draw_queries(left, given.max_pairs, seed=job.seed)
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        folder = Path(scratch)
        told: dict[str, Any] = {"base_model": base, "folder": folder / "reward", "work": folder / "work"}
        told |= {"learning_rate": given.settings["learning_rate"]}
        if job.arm in ("rankings", "ratings"):
            rows = rankings.of_queries(train, job.arm, base, settings.max_length)
            settings = settings.model_copy(update={"batch_size": queries_in_a_step(train, settings.batch_size)})
            rankings.train(rows, settings=settings, **told)
        else:
            rows = train
            pairwise.train(rows, settings=settings, **told)
        judged = pairwise.finish(folder / "reward", asked, max_length=settings.max_length)
    right = measures.by_question(list(zip(judged.queries, judged.correct, strict=True)))
    steps = settings.epochs * math.ceil(len(rows) / settings.batch_size)
    return {"right": right, "pairs": len(train), "steps": steps}


def all_runs(given: Given, seeds: int, *, processes: int) -> dict[Job, Record]:
    """The records of all runs; those that are in the journal are not run again."""
    table, bases = tables.path(f"comparisons/{given.comparisons}"), [Path(given.base(arm)) for arm in ARMS]
    work = stage.work_dir("reward_losses", given.model_dump_json(), table, *bases, *code.of(__file__))
    wanted = [Job(arm, seed) for seed, arm in product(range(seeds), ARMS)]
    runs = {job.name: partial(one_run, given, work, job) for job in wanted}
    found = many_runs.kept(work, runs, processes=processes, desc="reward_losses")
    return {job: found[job.name] for job in wanted}


def shown(each: list[Interval]) -> Record:
    """All seeds together, and each by itself."""
    return {**statistics.combine_seeds(each).metrics(), "each": [one.metrics() for one in each]}


def report(found: dict[Job, Record], given: Given, seeds: int) -> Record:
    """metrics/reward_losses.json: accuracy over the queries that are asked, and what the others have above pairs."""
    right = {arm: [found[Job(arm, seed)]["right"] for seed in range(seeds)] for arm in ARMS}
    return {
        "seeds": seeds,
        "comparisons": given.comparisons,
        "pairs": [found[Job("pairs", seed)]["pairs"] for seed in range(seeds)],
        "steps": {arm: [found[Job(arm, seed)]["steps"] for seed in range(seeds)] for arm in ARMS},
        "accuracy": {arm: shown([measures.mean(one, seed=0) for one in right[arm]]) for arm in ARMS},
        "over_pairs": {
            arm: shown(
                [measures.difference(one, pairs, seed=0) for one, pairs in zip(right[arm], right["pairs"], strict=True)]
            )
            for arm in ARMS[1:]
        },
    }


def run(seeds: int, *, processes: int, out: Path, max_pairs: int, measured: int) -> None:
    settings = stage.read("params.yaml")["train_reward"]
    if settings["lora"]:
        raise UserError("params.yaml: train_reward.lora is set; here all weights are trained, set null")
    given = Given(
        max_pairs=max_pairs,
        measured=measured,
        settings={key: one for key, one in settings.items() if key != "feedback"},
    )
    tables.check_made(f"comparisons/{given.comparisons}")
    for arm in ARMS:
        model_folder.check(given.base(arm))
    found = all_runs(given, seeds, processes=processes)
    written = report(found, given, seeds) | many_runs.of_settings("train_reward")
    out.write_text(json.dumps(written, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(out)


def main() -> None:
    parser = many_runs.parser("reward_losses", __doc__.splitlines()[0])
    parser.add_argument(
        "--pairs", type=many_runs.positive, default=2000, help="comparisons to learn from (default %(default)s)"
    )
    parser.add_argument(
        "--queries", type=many_runs.positive, default=400, help="queries to ask about afterwards (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("metrics/reward_losses.json"), help="(default %(default)s)")
    given = parser.parse_args()
    with many_runs.command("reward_losses"):
        run(given.seeds, processes=given.jobs, out=given.out, max_pairs=given.pairs, measured=given.queries)


if __name__ == "__main__":
    main()
