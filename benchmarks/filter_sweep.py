"""Where ALMoST's heuristic filter helps a reward model and where it hurts, as a figure.

    python -m benchmarks.filter_sweep                        # metrics/filter_sweep.json, docs/figures/filter_sweep.svg
    python -m benchmarks.filter_sweep --tiny --out FOLDER    # the same in seconds, too small to show anything

Two things vary: how often an answer of any configuration goes wrong by accident, and how long the answers of the
strongest configuration are beside the others'.  No language model is sampled: the world's own writer answers for five
configurations of known order, and neutral sentences, for which the oracle gives no points, set the length gap.  So in
every cell of the grid the configurations know and say the same; only accidents and lengths differ.

In each cell one reward model learns from the pairs that each part of the filter keeps, for several seeds, always from
the same number of pairs.  It is judged on pairs of other questions of the same cell, which the oracle ranks.
What came out, and why: docs/filter_sweep.md.
"""

import argparse
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks import filter_figure, many_runs
from synthalign.core import code, ids, stage, statistics
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval
from synthalign.dialogue import encoding
from synthalign.feedback import comparisons, filters
from synthalign.feedback.comparisons import Pair, Response
from synthalign.generation import models
from synthalign.generation.model_folder import check as check_folder
from synthalign.reward import losses, packing, pairwise, scoring, training
from world import exports
from world.answers import Answerer
from world.entities import World
from world.oracle import Oracle
from world.questions import Asker, Question

FILTERS = {
    "none": {"keyword": False, "length": False},
    "keyword": {"keyword": True, "length": False},
    "length": {"keyword": False, "length": True},
    "both": {"keyword": True, "length": True},
}
"""The parts of the filter that are on."""

GOLD = "gold"
"""In the place of a filter: all pairs, labelled by the oracle; one seed, to show what such a model can learn."""

LEVELS = ("faithful", "plain", "careless")
CONFIGURATIONS = {
    "a": (0.60, 0.15, 0.25),
    "b": (0.05, 0.60, 0.35),
    "c": (0.05, 0.40, 0.55),
    "d": (0.00, 0.30, 0.70),
    "e": (0.00, 0.15, 0.85),
}
"""How often each configuration answers on each level of the world, the strongest first.

They overlap as real ones do: the first is faithful at its best, and as careless as the others in a quarter of cases."""

PADDED = {"short": (0.1, 0.7), "as it is": (0.0, 0.0), "long": (0.7, 0.1)}
"""For each length gap the share of padded answers: of the strongest configuration, and of every other."""

PADDING = (
    "Here is what I can say to that.",
    "This is my answer to your question.",
    "You want to hear more about this.",
    "Let me tell you all about it.",
)
"""A padded answer begins with two of these.  The oracle gives no points for them (a test says so)."""


class Sweep(BaseModel, frozen=True, extra="forbid", strict=True):
    """The grid, and the size of everything in it."""

    accident_rates: tuple[float, ...] = (0.0, 0.12, 0.24, 0.40)
    """Share of answers, of every configuration, that go wrong by accident."""

    gaps: tuple[str, ...] = ("as it is", "long", "short")
    """Length of the strongest configuration's answers beside the others': keys of PADDED."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the reward model: its head, its draw of pairs, and their order."""

    train_queries: int = Field(default=1000, gt=0)
    """Questions whose pairs are learned from: enough for `pairs` even where the filter leaves little."""

    test_queries: int = Field(default=480, gt=0)
    """Questions whose pairs are judged; their topics were held out of the base model's training."""

    pairs: int = Field(default=1200, gt=0)
    """Pairs that one reward model learns from, once; the same for every filter, so that none wins by its amount."""

    batch_size: int = Field(default=16, gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of the cosine schedule."""

    warmup: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_length: int = Field(default=160, gt=1)
    """Tokens of question and answer, counted from the end."""

    min_characters: int = Field(default=20, ge=0)
    """An answer with fewer characters is rejected by the keyword part; as in `build_comparisons` of this world."""

    resamples: int = Field(default=statistics.RESAMPLES, gt=0)
    """Bootstrap draws behind an interval."""


TINY = Sweep(
    accident_rates=(0.0, 0.4),
    gaps=("short", "long"),
    seeds=(0, 1),
    train_queries=24,
    test_queries=16,
    pairs=32,
    batch_size=8,
    resamples=50,
)
"""Everything that the sweep does, in seconds."""

# -- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """A question, the responses of all configurations to it, and which of them are accidents (by response id)."""

    query_id: str
    question: str
    responses: list[Response]
    accidents: frozenset[str]


def train_questions(asker: Asker, count: int) -> list[Question]:
    """Distinct questions with the world's frequencies, none of them held out."""
    rng = Random(f"filter sweep {asker.world.seed}")
    found: dict[str, Question] = {}
    while len(found) < count:
        question = asker.ask(rng)
        found.setdefault(question.text, question)
    return list(found.values())


def test_questions(world: World, asker: Asker, count: int) -> list[Question]:
    """Distinct questions of the evaluation; UserError when the world has not enough of them."""
    texts = exports.eval_questions(world, asker, count)[:count]
    if len(texts) < count:
        raise UserError(
            f"this world has only {len(texts)} evaluation questions; take a smaller test_queries than {count}"
        )
    return [question for question in map(asker.parse, texts) if question is not None]


def write(answerer: Answerer, question: Question, config: str, *, gap: str, accident_rate: float) -> tuple[str, bool]:
    """An answer of a configuration, and whether it is an accident.

    Level, padding and accident have a generator each, so that the same question has the same answer in every cell,
    but for what the cell changes: an answer that is an accident at a rate of .12 is the same accident at .40.
    """
    told = f"{answerer.world.seed} {question.text} {config}"
    rng = Random(f"level {told}")
    [level] = rng.choices(LEVELS, CONFIGURATIONS[config])
    styles = answerer.phase["style_mix"][level]
    text = answerer.in_style(rng, question, rng.choices(list(styles), list(styles.values()))[0])
    rng = Random(f"padding {told}")
    share = PADDED[gap][0 if config == next(iter(CONFIGURATIONS)) else 1]
    if rng.random() < share:
        text = " ".join([*rng.sample(PADDING, 2), text])
    rng = Random(f"accident {told}")
    if rng.random() < accident_rate:
        return answerer.accident(rng, text), True
    return text, False


def answered(
    answerer: Answerer, asked: Sequence[Question], *, gap: str, accident_rate: float, min_characters: int
) -> list[Answered]:
    """The responses of all configurations to every question, with the reasons that the keyword part gives."""
    found = []
    for question in asked:
        query_id = ids.content_id("query", question.text)
        responses, accidents = [], set()
        for rank, config in enumerate(CONFIGURATIONS):
            text, is_accident = write(answerer, question, config, gap=gap, accident_rate=accident_rate)
            response_id = ids.content_id(query_id, config)
            reason = filters.reject_reason(text, min_characters=min_characters)
            responses.append(Response(response_id, config, rank, text, reason))
            if is_accident:
                accidents.add(response_id)
        found.append(Answered(query_id, question.text, responses, frozenset(accidents)))
    return found


# -- pairs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labelled:
    """A pair with its query and what the oracle thinks of it: points of the chosen less points of the rejected."""

    query_id: str
    pair: Pair
    margin: float


Points = Mapping[str, float]
"""The oracle's points of every response, by response id."""


def points_of(judge: Oracle, queries: Sequence[Answered]) -> dict[str, float]:
    """The oracle's points of every response."""
    points = {}
    for query in queries:
        for response in query.responses:
            scores = judge.score(query.question, response.text)
            assert scores is not None, f"the oracle does not know the question {query.question!r}"
            points[response.response_id] = scores.total
    return points


def kept(
    queries: Sequence[Answered], points: Points, parts: Mapping[str, bool], mode: comparisons.Mode
) -> list[Labelled]:
    """The pairs that a filter leaves, the response of the stronger configuration chosen."""
    return [
        Labelled(query.query_id, pair, points[pair.chosen.response_id] - points[pair.rejected.response_id])
        for query in queries
        for pair in comparisons.ranked_pairs(query.responses, mode=mode, **parts)
        if pair.drop_reason is None
    ]


def by_oracle(pairs: Sequence[Labelled]) -> list[Labelled]:
    """The pairs with a better side, turned so that it is the chosen one."""
    return [
        one if one.margin > 0 else Labelled(one.query_id, Pair(one.pair.rejected, one.pair.chosen), -one.margin)
        for one in pairs
        if one.margin != 0
    ]


def longer(pair: Pair) -> float:
    """1 when the chosen response has more characters, 1/2 when as many, else 0."""
    chosen, rejected = len(pair.chosen.text), len(pair.rejected.text)
    return (chosen > rejected) + 0.5 * (chosen == rejected)


def label_figures(pairs: Sequence[Labelled], *, resamples: int) -> dict[str, Any]:
    """How often the oracle agrees with the labels where it has an opinion, and how often the chosen one is longer."""
    told = [one for one in pairs if one.margin != 0]
    queries = [one.query_id for one in told]
    agreement = statistics.mean_interval([one.margin > 0 for one in told], queries, seed=0, resamples=resamples)
    return {
        "pairs": len(pairs),
        "tied": round(1 - len(told) / len(pairs), 6),
        "agreement": agreement.metrics(),
        "chosen_longer": round(fmean(longer(one.pair) for one in pairs), 6),
    }


# -- reward models ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """The base model that every reward model starts from."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase


def tokens_of(base: Base, queries: Sequence[Answered], max_length: int) -> dict[str, list[int]]:
    """What a reward model reads of every response, by response id."""
    responses = [(query.question, response) for query in queries for response in query.responses]
    dialogues = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": response.text}]
        for question, response in responses
    ]
    encoded = encoding.encode(base.tokenizer, dialogues)
    return {
        response.response_id: (prompt + answer)[-max_length:]
        for (_, response), (prompt, answer) in zip(responses, encoded, strict=True)
    }


def drawn(pairs: Sequence[Labelled], limit: int, *, seed: int) -> list[Labelled]:
    """At most `limit` pairs, in an order that hashes of the seed and the ids give."""
    key = {
        id(one): ids.content_id(seed, "pair", one.pair.chosen.response_id, one.pair.rejected.response_id)
        for one in pairs
    }
    return sorted(pairs, key=lambda one: key[id(one)])[:limit]


def fitted(
    base: Base, pairs: Sequence[Labelled], tokens: Mapping[str, list[int]], *, sweep: Sweep, seed: int
) -> PreTrainedModel:
    """A reward model that learned from the pairs once.

    Loss, order of pairs, schedule and optimizer are those of `reward_training.train` (a test compares the two); what is
    left out is everything around them, checkpoints above all, which takes longer than these small models train.
    """
    rows: list[dict[str, Any]] = [
        {
            "chosen_ids": tokens[one.pair.chosen.response_id],
            "rejected_ids": tokens[one.pair.rejected.response_id],
            "p_chosen": 1.0,
        }
        for one in pairs
    ]
    lengths = [max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
    order = training.batch_order(lengths, batch_size=sweep.batch_size, epochs=1, seed=seed)
    steps = len(order) // sweep.batch_size
    warmup = round(sweep.warmup * steps)

    torch.manual_seed(seed)  # the head is new
    model = training.without_dropout(models.load_reward(base.folder, new_head=True)).train()
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": sweep.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=sweep.learning_rate,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, warmup=warmup, steps=steps))
    for start in range(0, len(order), sweep.batch_size):
        batch = pairwise.collate(
            [rows[row] for row in order[start : start + sweep.batch_size]], base.tokenizer.pad_token_id
        )
        chosen, rejected = scoring.last_token_scores(model, batch["input_ids"], batch["attention_mask"]).chunk(2)
        losses.pairwise_loss(chosen, rejected, batch["p_chosen"]).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model.eval()


def rate_factor(step: int, *, warmup: int, steps: int) -> float:
    """The learning rate at a step, as a share of its peak: a line up in `warmup` steps, then a cosine down to 0."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.inference_mode()
def scores_of(
    model: PreTrainedModel, tokens: Mapping[str, list[int]], pad_token_id: int, *, batch_size: int = 64
) -> dict[str, float]:
    """The reward of every response, by response id; equal texts in equal dialogues get equal scores."""
    distinct = sorted({tuple(row) for row in tokens.values()}, key=lambda row: (len(row), row))
    found: dict[tuple[int, ...], float] = {}
    for start in range(0, len(distinct), batch_size):
        batch = distinct[start : start + batch_size]
        found |= zip(batch, scoring.last_token_scores(model, *packing.pad(batch, pad_token_id)).tolist(), strict=True)
    return {response_id: found[tuple(row)] for response_id, row in tokens.items()}


def correct(scores: Mapping[str, float], pairs: Sequence[Labelled]) -> NDArray[np.float64]:
    """(N,) 1 where the chosen response has the strictly higher score, else 0."""
    return np.array(
        [float(scores[one.pair.chosen.response_id] > scores[one.pair.rejected.response_id]) for one in pairs]
    )


# -- one cell ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: the pairs of each kind to learn from, and the oracle's pairs to be judged on."""

    gap: str
    accident_rate: float
    train: dict[str, list[Labelled]]
    test: list[Labelled]
    tokens: dict[str, list[int]]
    test_tokens: dict[str, list[int]]
    is_accident: list[bool]
    """(N,) whether one of the two responses of each test pair is an accident."""

    figures: dict[str, Any]
    """What can be said before any model learns."""


def cell(world: World, judge: Oracle, base: Base, *, gap: str, accident_rate: float, sweep: Sweep) -> Cell:
    """Write the answers of one cell and pair them."""
    answerer = Answerer(world, judge.asker)
    train, test = (
        answered(answerer, asked, gap=gap, accident_rate=accident_rate, min_characters=sweep.min_characters)
        for asked in (
            train_questions(judge.asker, sweep.train_queries),
            test_questions(world, judge.asker, sweep.test_queries),
        )
    )
    points = points_of(judge, train)
    pairs = {name: kept(train, points, parts, "all_pairs") for name, parts in FILTERS.items()}
    judged = by_oracle(kept(test, points_of(judge, test), FILTERS["none"], "all_pairs"))
    accidents = frozenset().union(*(query.accidents for query in test))
    responses = [response for query in train for response in query.responses]
    hit = frozenset().union(*(query.accidents for query in train))
    rejected = {response.response_id for response in responses if response.reject_reason is not None}
    possible = len(train) * math.comb(len(CONFIGURATIONS), 2)
    figures: dict[str, Any] = {
        "gap": gap,
        "accident_rate": accident_rate,
        "configurations": {
            config: {
                "points": round(fmean(points[r.response_id] for r in responses if r.config == config), 4),
                "characters": round(fmean(len(r.text) for r in responses if r.config == config), 2),
            }
            for config in CONFIGURATIONS
        },
        "rejected": round(len(rejected) / len(responses), 6),
        "accidents_rejected": round(len(rejected & hit) / len(hit), 6) if hit else None,
        "test_pairs": len(judged),
        "always_longer": statistics.mean_interval(
            [longer(one.pair) for one in judged], [one.query_id for one in judged], seed=0, resamples=sweep.resamples
        ).metrics(),
        "filters": {
            name: {"kept": round(len(found) / possible, 6)} | label_figures(found, resamples=sweep.resamples)
            for name, found in pairs.items()
        },
        # The released code pairs each response at most once; the paper's 13k pairs may have been counted either way.
        "kept_adjacent": {
            name: round(len(kept(train, points, parts, "adjacent")) / (len(train) * (len(CONFIGURATIONS) - 1)), 6)
            for name, parts in FILTERS.items()
        },
    }
    return Cell(
        gap=gap,
        accident_rate=accident_rate,
        train=pairs | {GOLD: by_oracle(pairs["none"])},
        test=judged,
        tokens=tokens_of(base, train, sweep.max_length),
        test_tokens=tokens_of(base, test, sweep.max_length),
        is_accident=[bool({one.pair.chosen.response_id, one.pair.rejected.response_id} & accidents) for one in judged],
        figures=figures,
    )


def learned(at: Cell, base: Base, feedback: str, seed: int, sweep: Sweep) -> NDArray[np.float64]:
    """(N,) on which test pairs of a cell a reward model is right that learned from one kind of its pairs."""
    chosen = drawn(at.train[feedback], sweep.pairs, seed=seed)
    model = fitted(base, chosen, at.tokens, sweep=sweep, seed=seed)
    return correct(scores_of(model, at.test_tokens, base.tokenizer.pad_token_id), at.test)


def outcome(at: Cell, right: Mapping[tuple[str, int], NDArray[np.float64]], sweep: Sweep) -> dict[str, Any]:
    """The figures of a cell once its reward models have learned.

    right  (feedback, seed) -> (N,) as `learned` gives it

    Under each seed the filter and no filter are compared on the same pairs, question by question; `combine_seeds` adds
    the doubt about the run.
    """
    queries = [one.query_id for one in at.test]
    is_longer = np.array([longer(one.pair) for one in at.test])
    parts = {
        "better_is_longer": is_longer == 1,
        "better_is_shorter": is_longer == 0,
        "with_accident": np.array(at.is_accident),
        "without_accident": ~np.array(at.is_accident),
    }
    found = at.figures | {"reward_models": {}}
    for feedback in [*FILTERS, GOLD]:
        runs = [right[feedback, seed] for seed in sweep.seeds if (feedback, seed) in right]
        accuracy = statistics.combine_seeds(
            [statistics.mean_interval(run, queries, seed=0, resamples=sweep.resamples) for run in runs]
        )
        figures: dict[str, Any] = {
            "pairs_learned": min(sweep.pairs, len(at.train[feedback])),
            "accuracy": accuracy.metrics(),
            "accuracy_of_seeds": [round(float(run.mean()), 6) for run in runs],
        }
        figures |= {
            f"accuracy_{name}": round(float(np.mean([run[where].mean() for run in runs])), 6) if where.any() else None
            for name, where in parts.items()
        }
        if feedback in FILTERS and feedback != "none":
            gain = statistics.combine_seeds(
                [
                    statistics.difference_interval(
                        right[feedback, seed], right["none", seed], queries, seed=0, resamples=sweep.resamples
                    )
                    for seed in sweep.seeds
                ]
            )
            figures |= {"gain": gain.metrics(), "verdict": verdict(gain)}
        found["reward_models"][feedback] = figures
    return found


def verdict(gain: Interval) -> str:
    """helps or hurts where the interval is clear of 0, else unclear."""
    return "helps" if gain.lies_above(0) else "hurts" if gain.lies_below(0) else "unclear"


# -- the sweep --------------------------------------------------------------------------------------------------------


def sweep_cells(world: World, base: Base, journal: Path, sweep: Sweep) -> list[dict[str, Any]]:
    """The figures of every cell; models and cells that the journal holds are not computed again."""
    grid = [(gap, rate) for gap in sweep.gaps for rate in sweep.accident_rates]
    kinds = [(name, seed) for name in FILTERS for seed in sweep.seeds] + [(GOLD, sweep.seeds[0])]
    done: dict[tuple[str, float], dict[str, Any]] = {}
    right: dict[tuple[str, float], dict[tuple[str, int], NDArray[np.float64]]] = {place: {} for place in grid}
    for line in journal_lines(journal):
        place = line["gap"], line["accident_rate"]
        if "correct" in line:
            right[place][line["feedback"], line["seed"]] = np.array([float(digit) for digit in line["correct"]])
        else:
            done[place] = line
    judge = Oracle(world)

    def make(place: tuple[str, float]) -> Cell:
        return cell(world, judge, base, gap=place[0], accident_rate=place[1], sweep=sweep)

    def finish(at: Cell) -> None:
        place = at.gap, at.accident_rate
        done[place] = outcome(at, right[place], sweep)
        append(journal, done[place])

    at = None
    jobs = [(place, *kind) for place in grid if place not in done for kind in kinds if kind not in right[place]]
    for place, feedback, seed in stage.progress(jobs, total=len(jobs), desc="filter sweep", unit="model"):
        if at is None or (at.gap, at.accident_rate) != place:
            at = make(place)
        run = right[place][feedback, seed] = learned(at, base, feedback, seed, sweep)
        digits = "".join(str(int(value)) for value in run)
        found = {"gap": at.gap, "accident_rate": at.accident_rate, "feedback": feedback, "seed": seed}
        append(journal, found | {"correct": digits})
        if len(right[place]) == len(kinds):
            finish(at)
    for place in grid:
        if place not in done:  # killed between its last model and its figures
            finish(make(place))
    return [done[place] for place in grid]


def append(journal: Path, line: dict[str, Any]) -> None:
    """One more line of the journal."""
    with journal.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def journal_lines(journal: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; an interrupted last one is left out, and closed so that the next stands alone."""
    text = journal.read_text(encoding="utf-8") if journal.exists() else ""
    if text and not text.endswith("\n"):
        with journal.open("a", encoding="utf-8") as lines:
            lines.write("\n")
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


# -- command ----------------------------------------------------------------------------------------------------------


def run(world_folder: Path, model_folder: Path, out: Path, sweep: Sweep) -> None:
    """Sweep, and write metrics/filter_sweep.json and docs/figures/filter_sweep.svg below `out`."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()  # that every model gets a new head is no news
    transformers.logging.disable_progress_bar()
    if not (world_folder / "world.json").exists():
        raise UserError(f"{world_folder}/world.json does not exist; `make world` builds a world")
    world = World.load(world_folder / "world.json")
    check_folder(model_folder)
    work = stage.work_dir("filter_sweep", sweep, world_folder / "world.json", model_folder, *code.of(__file__))
    shutil.copytree(model_folder, work / "base", dirs_exist_ok=True)  # a world rebuilt meanwhile changes nothing here
    base = Base(work / "base", models.load_tokenizer(work / "base"))
    cells = sweep_cells(world, base, work / "cells.jsonl", sweep)
    file = out / "metrics" / "filter_sweep.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    figures = {
        "shipped_accident_rate": world.params["accident_rate"],
        "settings": sweep.model_dump(mode="json"),
        "cells": cells,
    }
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    filter_figure.draw(figures, out / "docs/figures/filter_sweep.svg")
    filter_figure.print_table(cells)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Where the heuristic filter helps and where it hurts.")
    parser.add_argument("--tiny", action="store_true", help="a grid of seconds, too small to show anything")
    parser.add_argument("--world", type=Path, default=Path("data/embedded"), help="folder of the world")
    parser.add_argument("--model", type=Path, help="base model (default: models/small of the world)")
    parser.add_argument("--out", type=Path, help="folder to write below (default: here; tiny: .work/filter_sweep_tiny)")
    given = parser.parse_args()
    out = given.out or (Path(".work/filter_sweep_tiny") if given.tiny else Path("."))
    with many_runs.command("filter_sweep"):
        run(given.world, given.model or given.world / "models" / "small", out, TINY if given.tiny else Sweep())


if __name__ == "__main__":
    main()
