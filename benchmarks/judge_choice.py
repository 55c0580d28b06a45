"""Which of people's pairs the judge of real answers should learn, and how often, by cross-validation on training pairs.

    make profile P=pocket && python -m benchmarks.judge_choice   # benchmarks/results/judge_choice.json

Where people's files were made without --heldout, no pair that `score_rewards` measures with is read.  Questions are
dealt into folds by a hash; a reward model with the settings of train_reward in params.yaml learns the pairs of the
other folds and is asked about those of its own, of both kinds: PandaLM's (helpful) and HH-RLHF's (harmless).  It is
trained for some epochs, or it is a linear probe at some depth of the body (`reward.probe`).

helpful  PandaLM's pairs alone
equal    as many of HH-RLHF's beside them
all      all of HH-RLHF's beside them

What the judge is asked about are answers to ordinary questions, so the choice with the most right on helpful pairs is
taken, and of equal ones the first.  Finished runs are kept in .work/judge_choice.
"""

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from pydantic import BaseModel

from benchmarks import many_runs
from synthalign.commands.people import FOLDER, HH, PANDALM
from synthalign.core import code, stage, statistics
from synthalign.core.tables import Row
from synthalign.feedback import human_pairs, people
from synthalign.generation import model_folder, models
from synthalign.reward import pairwise, probe, training, training_settings

Share = Literal["helpful", "equal", "all"]
Kind = Literal["helpful", "harmless"]
Pairs = dict[Kind, list[Row]]
Record = dict[str, Any]

FOLDS = 3
EPOCHS = (1, 3)
DEPTHS = (0.33, 0.5, 0.67, 1.0)

OUT = Path("benchmarks/results/judge_choice.json")


class Given(BaseModel, frozen=True):
    """What all runs share."""

    settings: dict[str, Any]
    """Of train_reward."""


class Way(NamedTuple):
    """How the pairs are learned: `epochs` of training, or a `probe` at a depth."""

    by: Literal["epochs", "probe"]
    value: float


class Job(NamedTuple):
    share: Share
    way: Way
    seed: int
    fold: int

    @property
    def name(self) -> str:
        return f"{self.share}/{self.way.by} {self.way.value}/{self.seed}/{self.fold}"


def training_pairs(folder: Path) -> Pairs:
    """People's pairs on the side that is trained on, as comparisons; `folder` gets the files they are read from."""
    harmless, _ = people.hh_pairs(FOLDER / "raw" / HH, people.HELDOUT)
    judged, _ = people.pandalm(FOLDER / "raw" / PANDALM, people.HELDOUT)
    found: Pairs = {}
    given: Pairs = {"helpful": people.preferences(judged["train"]), "harmless": harmless["train"]}
    for kind, rows in given.items():
        file = folder / f"{kind}.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        found[kind], _ = human_pairs.load(file, feedback="gold")
    return found


def dealt(pairs: Sequence[Row], fold: int) -> tuple[list[Row], list[Row]]:
    """The pairs of the other folds, and those of this one; all pairs of a question are in one."""
    places = [int(pair["query_id"], 16) % FOLDS for pair in pairs]
    others = [pair for pair, place in zip(pairs, places, strict=True) if place != fold]
    return others, [pair for pair, place in zip(pairs, places, strict=True) if place == fold]


def split(pairs: Pairs, share: Share, fold: int) -> tuple[list[Row], Pairs]:
    """The pairs to learn from, and at most as many of each kind to be asked about as there are helpful ones."""
    helpful, asked = dealt(pairs["helpful"], fold)
    harmless, others = dealt(pairs["harmless"], fold)
    more = {"helpful": 0, "equal": len(helpful), "all": len(harmless)}[share]
    return [*helpful, *training.draw(harmless, more, seed=0)], {
        "helpful": asked,
        "harmless": training.draw(others, len(asked), seed=0),
    }


def one_run(given: Given, work: Path, job: Job) -> Record:
    """By kind, what the reward model is right on: {"queries", "correct", "longer"}."""
    torch.set_num_threads(1)
    models.fix_rounding("training")
    own = {name: given.settings[name] for name in training_settings.Settings.model_fields} | {"seed": job.seed}
    if job.way.by == "epochs":
        own["epochs"] = int(job.way.value)
    settings = training_settings.Settings.model_validate(own)
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        train, asked = split(training_pairs(Path(scratch)), job.share, job.fold)
        folder = Path(scratch) / "reward"
        base = given.settings["model"]
        if job.way.by == "probe":
            probe.train(train, base_model=base, folder=folder, depth=job.way.value, max_length=settings.max_length)
        else:
            pairwise.train(
                train,
                base_model=base,
                folder=folder,
                work=Path(scratch) / "work",
                learning_rate=given.settings["learning_rate"],
                settings=settings,
            )
        judged = {kind: pairwise.finish(folder, rows, max_length=settings.max_length) for kind, rows in asked.items()}
    measured = {
        kind: {"queries": one.queries, "correct": one.correct, "longer": one.longer} for kind, one in judged.items()
    }
    return {"pairs": len(train)} | measured


def report(found: dict[Job, Record]) -> list[Record]:
    """A row for each choice: accuracy by kind over all folds, with that of the longer answer, and pairs learned.

    Seeds are put together from an interval of each: the same questions once more are no more questions.
    """
    rows = []
    for share, way in dict.fromkeys((job.share, job.way) for job in found):
        by_seed: dict[int, list[Record]] = {}
        for job, record in found.items():
            if (job.share, job.way) == (share, way):
                by_seed.setdefault(job.seed, []).append(record)
        pairs = [run["pairs"] for of_seed in by_seed.values() for run in of_seed]
        row: Record = {"share": share, way.by: way.value, "pairs": pairs}
        for kind in get_args(Kind):
            for name in ("correct", "longer"):
                each = [over_folds(of_seed, kind, name) for of_seed in by_seed.values()]
                row[f"{kind}_{name}"] = statistics.combine_seeds(each).metrics()
        rows.append(row)
    return rows


def over_folds(runs: Sequence[Record], kind: Kind, name: str) -> statistics.Interval:
    """A measure of one kind over the runs of one seed, which were asked about other questions each."""
    values, queries = ([value for run in runs for value in run[kind][key]] for key in (name, "queries"))
    return statistics.mean_interval(values, queries, seed=0)


def run(shares: Sequence[Share], ways: Sequence[Way], seeds: int, *, processes: int) -> None:
    settings = {key: one for key, one in stage.read("params.yaml")["train_reward"].items() if key != "feedback"}
    model_folder.check(settings["model"])
    raw = [FOLDER / "raw" / name for name in (HH, PANDALM)]
    work = stage.work_dir("judge_choice", json.dumps(settings), Path(settings["model"]), *raw, *code.of(__file__))
    given = Given(settings=settings)
    wanted = [Job(*one) for one in product(shares, ways, range(seeds), range(FOLDS))]
    runs = {job.name: partial(one_run, given, work, job) for job in wanted}
    found = many_runs.kept(work, runs, processes=processes, desc="judge_choice")
    rows = report({job: found[job.name] for job in wanted})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(
        json.dumps({"folds": FOLDS, "seeds": seeds, "settings": settings, "rows": rows}, indent=1) + "\n",
        encoding="utf-8",
    )
    for row in rows:
        says = ", ".join(
            f"{kind} {row[f'{kind}_correct']['value']:.3f} "
            f"[{row[f'{kind}_correct']['low']:.3f}, {row[f'{kind}_correct']['high']:.3f}] "
            f"(longer {row[f'{kind}_longer']['value']:.3f}, {row[f'{kind}_correct']['n']} questions)"
            for kind in get_args(Kind)
        )
        way = f"{row['epochs']} epochs" if "epochs" in row else f"probe at {row['probe']}"
        print(f"{row['share']}, {way}: {says}")
    print(OUT)


def main() -> None:
    parser = many_runs.parser("judge_choice", __doc__.splitlines()[0], seeds=1)
    parser.add_argument("--shares", nargs="+", choices=get_args(Share), default=list(get_args(Share)), help="which")
    parser.add_argument("--epochs", nargs="*", type=int, default=list(EPOCHS), help="passes of those that are trained")
    parser.add_argument("--depths", nargs="*", type=float, default=list(DEPTHS), help="of those that are probes")
    given = parser.parse_args()
    ways = [Way("epochs", one) for one in given.epochs] + [Way("probe", one) for one in given.depths]
    with many_runs.command("judge_choice"):
        run(given.shares, ways, given.seeds, processes=given.jobs)


if __name__ == "__main__":
    main()
