"""What each part of DITTO is worth, over authors and seeds: metrics/ditto.json.

    python -m benchmarks.ditto_ablation                          # all variants, reported authors, 3 seeds
    python -m benchmarks.ditto_ablation --tuning --variants ditto sft --set beta=0.1 --set sft.stop_loss=0.8
                                                                 # other settings on the tuning authors; only printed

The settings are train_ditto's in params.yaml; a variant changes what its name says.  Each run is trained on an author's
seven demonstrations and answers the author's forty held-out prompts; the style oracle of `world/authors.py` scores.
Finished runs are kept in .work/ditto_ablation, so that the command can be interrupted and started again.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from synthalign.core import stage, statistics, yaml_file
from synthalign.core.measures import difference, mean
from synthalign.core.statistics import Interval, combine_seeds
from synthalign.dialogue import chat, encoding
from synthalign.ditto import authors, draws, steps, training
from synthalign.ditto.draws import Fractions
from synthalign.generation import generate, models
from synthalign.generation.journal import Journal
from world import authors as style_authors
from world.authors import AUTHORS, TUNING_AUTHORS, style_score
from world.oracle import Oracle

FOLDER = Path("data/embedded/authors")
SAMPLES = 2
"""Answers to every held-out prompt."""

Settings = dict[str, Any]
Result = dict[str, Any]
"""Of one run: scores, one list of style scores for each held-out prompt, after every iteration; and other means."""


def changed(settings: Settings, **changes: Any) -> Settings:
    """The settings with other values; a dot in a name goes into a section."""
    found = json.loads(json.dumps(settings))
    for name, value in changes.items():
        *sections, key = name.split(".")
        at = found
        for section in sections:
            at = at[section]
        if key not in at:
            raise SystemExit(f"train_ditto has no setting {name}")
        at[key] = value
    return found


ONLINE = {"online": 1.0, "replay": 0.0, "inter": 0.0}
FAR = {"sft.stop_loss": 0.1, "sft.max_steps": 80}
SPIN = {"online": 0.5, "replay": 0.5, "inter": 0.0}

VARIANTS: dict[str, Callable[[Settings], Settings]] = {
    "zero_shot": lambda s: s,
    "few_shot": lambda s: s,
    "sft": lambda s: changed(s, iterations=0),
    # As many steps as SFT and DITTO have together, and no stop rule.
    "sft_long": lambda s: changed(
        s,
        iterations=0,
        **{"sft.stop_loss": 0.0, "sft.max_steps": s["sft"]["max_steps"] + s["iterations"] * s["steps_per_iteration"]},
    ),
    # Fine-tuned much further than the paper's stop rule allows, and DITTO from there.
    "sft_far": lambda s: changed(s, iterations=0, **FAR),
    "ditto_far": lambda s: changed(s, **FAR),
    "spin": lambda s: changed(s, reference="previous", fractions=SPIN),
    "ditto": lambda s: s,
    "update_reference": lambda s: changed(s, reference="previous"),
    # The same number of samples, steps and pairs, but all samples come from the first policy.
    "up_front": lambda s: changed(
        s,
        iterations=1,
        steps_per_iteration=s["iterations"] * s["steps_per_iteration"],
        negatives=s["iterations"] * s["negatives"],
        fractions=ONLINE,
    ),
    "negatives_1": lambda s: changed(s, negatives=1),
    "negatives_5": lambda s: changed(s, negatives=5),
}
"""What each variant does to the settings of `ditto`."""

LOOP = ["iterations", "steps_per_iteration", "negatives", "pairs_per_demonstration", "reference", "beta"]
LOOP += ["learning_rate", "warmup", "temperature", "top_p"]
"""The settings of the preference steps that SFT has not."""

METHODS = ("zero_shot", "few_shot", "sft", "spin", "ditto")


def answer(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, prefix: str, settings: Settings, seed: int
) -> list[list[generate.Generation]]:
    """The model's answers to the held-out prompts; one seed has the same random numbers for all variants."""
    return generate.generate(
        model,
        tokenizer,
        prefix=prefix,
        suffixes=[chat.prompt([{"role": "user", "content": prompt}]) for prompt in prompts],
        row_ids=list(prompts),
        samples=SAMPLES,
        seed=seed,
        max_new_tokens=settings["max_new_tokens"],
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        stops=chat.STOPS,
    )


def one_run(name: str, variant: str, settings: Settings, seed: int, oracle: Oracle, work: Path) -> Result:
    """Train one variant on one author with one seed, and score it after every iteration."""
    demonstrations = authors.load(FOLDER / f"{name}.jsonl")
    prompts = authors.prompts(FOLDER / "heldout" / f"{name}.txt")
    author = (AUTHORS | TUNING_AUTHORS)[name]
    result: Result = {"scores": []}

    def score(model: Any, tokenizer: Any, prefix: str = "") -> None:
        made = answer(model, tokenizer, prompts, prefix=prefix, settings=settings, seed=seed)
        texts = [[chat.clean(one.text) for one in row] for row in made]
        totals = [oracle.score(p, text) for p, row in zip(prompts, texts, strict=True) for text in row]
        result["scores"].append([[style_score(author, text) for text in row] for row in texts])
        result["oracle"] = fmean(total.total for total in totals if total)
        result["characters"] = fmean(len(text) for row in texts for text in row)
        result["cut_off"] = fmean(one.finish_reason == "length" for row in made for one in row)
        result["copied"] = fmean(text in {d.output for d in demonstrations} for row in texts for text in row)

    if variant in ("zero_shot", "few_shot"):
        shown = [d.messages for d in demonstrations] if variant == "few_shot" else []
        base = models.load_causal(settings["model"])
        score(base, models.load_tokenizer(settings["model"]), chat.few_shot("", shown))
        return result
    accelerator = Accelerator()
    shared = {key: settings[key] for key in ("weight_decay", "device_batch_size", "max_new_tokens")} | {"seed": seed}
    sft_work = work / f"sft-{name}-{seed}-{digest(settings['sft'], settings['model'], settings['weight_decay'])}"
    sft_work.mkdir(parents=True, exist_ok=True)
    sft, log = training.supervised(
        accelerator, settings["model"], demonstrations, folder=sft_work, file=name, **settings["sft"], **shared
    )
    policy, tokenizer = models.load_causal(sft), models.load_tokenizer(sft)
    result["sft_steps"], result["sft_loss"] = len(log), log[-1]["loss"]
    if not settings["iterations"]:
        score(policy, tokenizer)
        return result
    folder = work / f"run-{digest(name, variant, settings, seed)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    learned = training.align(
        accelerator,
        policy,
        tokenizer,
        demonstrations,
        folder=folder,
        fractions=Fractions(**settings["fractions"]),
        on_iteration=lambda t, _: (
            score(policy, tokenizer) if variant == "ditto" or t == settings["iterations"] else None
        ),
        **{key: settings[key] for key in LOOP},
        **shared,
    )
    shutil.rmtree(folder)
    return result | training.summary(learned)


def digest(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def all_runs(names: Sequence[str], variants: Sequence[str], settings: Settings, seeds: int) -> dict[str, Result]:
    """The result of every run by "author/variant/seed"."""
    modules = (draws.__file__, steps.__file__, training.__file__, encoding.__file__, style_authors.__file__)
    work = stage.work_dir("ditto_ablation", Path(settings["model"]), *map(Path, modules))
    journal = Journal(work / "runs.jsonl")
    oracle = Oracle.load("data/embedded")
    found = {}
    todo = list(product(range(seeds), names, variants))
    for seed, name, variant in stage.progress(todo, total=len(todo), desc="runs", unit="run"):
        given = VARIANTS[variant](settings)
        demonstrations = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
        run = digest(name, demonstrations, variant, given, seed)
        if run not in journal.done:
            journal.append(run, one_run(name, variant, given, seed, oracle, work))
        found[f"{name}/{variant}/{seed}"] = journal.done[run]
    journal.close()
    return found


# -- what the runs add up to ------------------------------------------------------------------------------------------


class Runs:
    """Scores of all runs, put together as the claims need them."""

    def __init__(self, found: Mapping[str, Result], names: Sequence[str], seeds: int) -> None:
        self.found, self.names, self.seeds = found, names, seeds

    def scores(self, variant: str, seed: int, iteration: int = -1) -> dict[str, float]:
        """The mean style score of the answers to each prompt of each author."""
        return {
            f"{name}/{prompt}": fmean(scores)
            for name in self.names
            for prompt, scores in enumerate(self.found[f"{name}/{variant}/{seed}"]["scores"][iteration])
        }

    def style(self, variant: str, iteration: int = -1) -> Interval:
        return combine_seeds([mean(self.scores(variant, seed, iteration), seed=seed) for seed in range(self.seeds)])

    def minus(self, one: tuple[str, int], other: tuple[str, int]) -> Interval:
        """Style score of one (variant, iteration) minus that of another, paired by prompt."""
        return combine_seeds(
            [difference(self.scores(*_at(one, s)), self.scores(*_at(other, s)), seed=s) for s in range(self.seeds)]
        )

    def wins(self, one: str, other: str) -> Interval:
        """How often an answer of one has more style than the other's answer to the same prompt; ties are half."""
        per_seed = []
        for seed in range(self.seeds):
            better, clusters = [], []
            for name in self.names:
                a, b = (self.found[f"{name}/{variant}/{seed}"]["scores"][-1] for variant in (one, other))
                for prompt, pair in enumerate(zip(a, b, strict=True)):
                    better += ["a" if x > y else "b" if x < y else "tie" for x, y in zip(*pair, strict=True)]
                    clusters += [f"{name}/{prompt}"] * len(pair[0])
            per_seed.append(statistics.win_rate(better, clusters, seed=seed))
        return combine_seeds(per_seed)

    def means(self, variant: str) -> np.ndarray:
        """(authors, seeds) the mean style score of each run."""
        return np.array(
            [
                [np.mean(self.found[f"{name}/{variant}/{seed}"]["scores"][-1]) for seed in range(self.seeds)]
                for name in self.names
            ]
        )

    def other(self, variant: str, key: str) -> float | None:
        values = [
            self.found[f"{name}/{variant}/{seed}"].get(key) for name, seed in product(self.names, range(self.seeds))
        ]
        return None if any(value is None for value in values) else round(fmean(values), 6)

    def by_author(self, variant: str) -> dict[str, float]:
        return {name: round(float(row.mean()), 6) for name, row in zip(self.names, self.means(variant), strict=True)}


def _at(of: tuple[str, int], seed: int) -> tuple[str, int, int]:
    return of[0], seed, of[1]


def variance_ratio(one: np.ndarray, other: np.ndarray, *, seed: int) -> Interval:
    """The variance over seeds of one variant's runs divided by the other's, both pooled over authors.

    one, other  (A, S)  means of runs;  A (S - 1) degrees of freedom each, so the interval is that of Fisher's F
    """
    freedom = one.shape[0] * (one.shape[1] - 1)
    ratio = float(one.var(axis=1, ddof=1).mean() / other.var(axis=1, ddof=1).mean())
    rng = np.random.default_rng(seed)
    fisher = (rng.chisquare(freedom, 100_000) / freedom) / (rng.chisquare(freedom, 100_000) / freedom)
    low, high = np.quantile(fisher, [0.025, 0.975])
    return Interval(ratio, ratio / high, ratio / low, one.size)


def report(runs: Runs, settings: Settings) -> dict[str, Any]:
    """metrics/ditto.json."""
    iterations = range(settings["iterations"])
    last = {variant: (variant, -1) for variant in VARIANTS}
    ratio = variance_ratio(runs.means("negatives_1"), runs.means("ditto"), seed=0)
    against = {other: runs.wins("ditto", other).metrics() for other in METHODS if other != "ditto"}
    return {
        "authors": list(runs.names),
        "seeds": runs.seeds,
        "samples": SAMPLES,
        "variants": {
            variant: {
                "style": runs.style(variant).metrics(),
                "by_author": runs.by_author(variant),
                "variance_over_seeds": round(float(runs.means(variant).var(axis=1, ddof=1).mean()), 8),
                "deviation_over_authors": round(float(runs.means(variant).mean(axis=1).std(ddof=1)), 6),
                **{k: runs.other(variant, k) for k in ("oracle", "characters", "cut_off", "copied", "last_margin")},
            }
            for variant in VARIANTS
        },
        "iterations": [runs.style("ditto", t).metrics() for t in iterations],
        "win_rate_of_ditto": against,
        "win_rate_against_all": {
            one: round(fmean(runs.wins(one, other).value for other in METHODS if other != one), 6) for one in METHODS
        },
        "differences": {
            "sft_minus_zero_shot": runs.minus(last["sft"], last["zero_shot"]).metrics(),
            "ditto_minus_sft": runs.minus(last["ditto"], last["sft"]).metrics(),
            "ditto_far_minus_sft_far": runs.minus(last["ditto_far"], last["sft_far"]).metrics(),
            "update_reference_minus_sft": runs.minus(last["update_reference"], last["sft"]).metrics(),
            "last_minus_first_iteration": runs.minus(last["ditto"], ("ditto", 0)).metrics(),
            **{
                f"ditto_minus_{other}": runs.minus(last["ditto"], last[other]).metrics()
                for other in VARIANTS
                if other not in ("ditto", "sft")
            },
        },
        "variance_ratio_1_to_all_negatives": ratio.metrics(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What each part of DITTO is worth; see the head of this file.")
    parser.add_argument("--tuning", action="store_true", help="the authors that settings are chosen with; print only")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="which; print only")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting; print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = yaml_file.load(Path("params.yaml").read_text(encoding="utf-8"))["train_ditto"] | {"reference": "first"}
    other = {key: yaml_file.load(value) for key, _, value in (pair.partition("=") for pair in given.set)}
    settings = changed(settings, **other)
    names = list(TUNING_AUTHORS if given.tuning else AUTHORS)
    runs = Runs(all_runs(names, given.variants, settings, given.seeds), names, given.seeds)
    for variant in given.variants:
        found = runs.style(variant)
        others = " ".join(f"{k} {runs.other(variant, k)}" for k in ("oracle", "characters", "cut_off", "copied"))
        rest = f"{runs.by_author(variant)} {others} sft_steps {runs.other(variant, 'sft_steps')}"
        print(f"{variant:18s} {found.value:.3f} [{found.ends()}] {rest}")
        if variant == "ditto":
            print("  iterations", [round(runs.style(variant, t).value, 3) for t in range(settings["iterations"])])
    if not (given.tuning or other) and set(given.variants) == set(VARIANTS):
        stage.write_metrics("ditto", **report(runs, settings))
        print("metrics/ditto.json")


if __name__ == "__main__":
    main()
