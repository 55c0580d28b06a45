"""What each part of DITTO is worth, over authors and seeds: metrics/ditto.json.

    python -m benchmarks.ditto_ablation                          # all variants, reported authors, five seeds
    python -m benchmarks.ditto_ablation --tuning --variants ditto sft --set beta=0.1 --set sft.stop_loss=0.8
                                                                 # other settings on the tuning authors; only printed

The settings are train_ditto's in params.yaml, and SPIN's train_spin's; a variant changes what its name says
(`ditto_runs`).  Every figure is there for each seed by itself (`each`), so that a claim is decided from the seeds; the
unit is the held-out prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks import ditto_labels, many_runs
from benchmarks.ditto_runs import ALL, FEW, SAMPLES, VARIANTS, Result, Settings, all_runs, changed
from synthalign.core import stage, statistics, yaml_file
from synthalign.core.measures import mean
from synthalign.core.statistics import Interval, combine_seeds
from world.authors import AUTHORS, TUNING_AUTHORS

METHODS = ("zero_shot", "few_shot", "sft", "spin", "ditto")
"""Those of Table 1, compared with each other by wins."""

ORDER = ("ditto", "sft", "few_shot", "self_prompt", "zero_shot")
"""Those of the user study (Table 2), the best first."""

LABELS = {"base": "labels_base", "tuned": "labels_tuned"}
"""DPO on labelled pairs, by whose answers they are."""

OTHERS = ("oracle", "characters", "cut_off", "copied", "last_margin", "pairs_in_order", "nats", "overlap")
"""What there is of a run besides scores: of its answers, and of its training (`outcome.summary`)."""

At = tuple[str, int]
"""A variant, and the place of one of its points; -1 is the last."""


def demonstrations(count: int) -> At:
    """DITTO on so many demonstrations."""
    return ("ditto" if count == ALL else f"demonstrations_{count}", -1)


class Runs:
    """Scores of all runs, put together as the claims need them."""

    def __init__(self, found: Mapping[str, Result], names: Sequence[str], seeds: int) -> None:
        self.found, self.names, self.seeds = found, names, seeds

    def who(self, *variants: str) -> list[str]:
        """The authors that have runs of all these variants."""
        return [name for name in self.names if all(f"{name}/{variant}/0" in self.found for variant in variants)]

    def scores(self, at: At, seed: int, names: Sequence[str]) -> dict[str, float]:
        """The mean style score of the answers to each prompt of each of the authors."""
        variant, point = at
        return {
            f"{name}/{prompt}": fmean(scores)
            for name in names
            for prompt, scores in enumerate(self.found[f"{name}/{variant}/{seed}"]["scores"][point])
        }

    def sum(self, terms: Iterable[tuple[int, At]], among: Sequence[str] = ()) -> list[Interval]:
        """Under each seed the sum of sign x style score, prompt by prompt, of the authors that have all of these
        variants, and those of `among`."""
        terms = list(terms)
        names = self.who(*(variant for _, (variant, _) in terms), *among)
        found = []
        for seed in range(self.seeds):
            scores = [(sign, self.scores(at, seed, names)) for sign, at in terms]
            sums = {prompt: sum(sign * of[prompt] for sign, of in scores) for prompt in scores[0][1]}
            found.append(mean(sums, seed=seed))
        return found

    def style(self, at: At) -> list[Interval]:
        return self.sum([(1, at)])

    def minus(self, one: At, other: At) -> list[Interval]:
        """The style score of one minus that of another, paired by prompt."""
        return self.sum([(1, one), (-1, other)])

    def wins(self, one: str, other: str) -> list[Interval]:
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
        return per_seed

    def means(self, variant: str) -> np.ndarray:
        """(authors, seeds) the mean style score of each run."""
        return np.array(
            [
                [np.mean(self.found[f"{name}/{variant}/{seed}"]["scores"][-1]) for seed in range(self.seeds)]
                for name in self.who(variant)
            ]
        )

    def other(self, variant: str, key: str) -> float | None:
        values = [
            self.found[f"{name}/{variant}/{seed}"].get(key)
            for name, seed in product(self.who(variant), range(self.seeds))
        ]
        return None if any(value is None for value in values) else round(fmean(values), 6)

    def fewest_labelled(self, variant: str) -> list[int]:
        """At each point, how many labelled pairs there were to learn from in the run that had the fewest."""
        runs = [
            self.found[f"{name}/{variant}/{seed}"]["labelled"]
            for name, seed in product(self.who(variant), range(self.seeds))
        ]
        return [min(there) for there in zip(*runs, strict=True)]

    def by_author(self, variant: str) -> dict[str, list[float]]:
        """Of each author the mean style score under every seed."""
        means = self.means(variant).round(6).tolist()
        return dict(zip(self.who(variant), means, strict=True))


def shown(each: Sequence[Interval]) -> dict[str, Any]:
    """All seeds together, and each by itself, for the metrics file."""
    return {**combine_seeds(each).metrics(), "each": [one.metrics() for one in each]}


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


def differences(runs: Runs, settings: Settings) -> dict[str, list[Interval]]:
    """The style score of one minus that of another, by name."""
    last = {variant: (variant, -1) for variant in VARIANTS}
    found = {
        "sft_minus_zero_shot": (last["sft"], last["zero_shot"]),
        "ditto_minus_sft": (last["ditto"], last["sft"]),
        "ditto_far_minus_sft_far": (last["ditto_far"], last["sft_far"]),
        "update_reference_minus_sft": (last["update_reference"], last["sft"]),
        "last_minus_first_iteration": (last["ditto"], ("ditto", 0)),
        "second_minus_first_iteration": (("ditto", min(1, settings["iterations"] - 1)), ("ditto", 0)),
        **{f"ditto_minus_{name}": (last["ditto"], last[name]) for name in VARIANTS if name not in ("ditto", "sft")},
        **{f"ditto_{FEW}_minus_{name}": (demonstrations(FEW), last[labels]) for name, labels in LABELS.items()},
    }
    return {name: runs.minus(*pair) for name, pair in found.items()}


def report(runs: Runs, settings: Settings) -> dict[str, Any]:
    """metrics/ditto.json."""
    one, few, half, all_of_them = (demonstrations(n) for n in (1, 3, FEW, ALL))
    return {
        "authors": list(runs.names),
        "seeds": runs.seeds,
        "samples": SAMPLES,
        "variants": {
            variant: {
                "style": shown(runs.style((variant, -1))),
                "by_author": runs.by_author(variant),
                "variance_over_seeds": round(float(runs.means(variant).var(axis=1, ddof=1).mean()), 8),
                "deviation_over_authors": round(float(runs.means(variant).mean(axis=1).std(ddof=1)), 6),
                **{k: runs.other(variant, k) for k in OTHERS},
            }
            for variant in VARIANTS
        },
        "iterations": [shown(runs.style(("ditto", t))) for t in range(settings["iterations"])],
        "demonstrations": {str(n): shown(runs.style(demonstrations(n))) for n in range(1, ALL + 1)},
        "demonstrations_gain": {
            "1_to_3": shown(runs.minus(few, one)),
            f"{FEW}_to_{ALL}": shown(runs.minus(all_of_them, half)),
            "early_minus_late": shown(runs.sum([(1, few), (-1, one), (-1, all_of_them), (1, half)])),
        },
        "labels": {
            "authors": runs.who(*LABELS.values()),
            "ditto": shown(runs.sum([(1, demonstrations(FEW))], among=[*LABELS.values()])),
            "pairs": [0, *ditto_labels.POINTS],
            "fewest_pairs": {name: [0, *runs.fewest_labelled(variant)] for name, variant in LABELS.items()},
            **{
                name: [shown(runs.style((variant, place))) for place in range(len(ditto_labels.POINTS) + 1)]
                for name, variant in LABELS.items()
            },
        },
        "order": {
            f"{better}_over_{worse}": shown(runs.minus((better, -1), (worse, -1))) for better, worse in pairwise(ORDER)
        },
        "win_rate_of_ditto": {other: shown(runs.wins("ditto", other)) for other in METHODS if other != "ditto"},
        "win_rate_against_all": {
            one: round(fmean(combine_seeds(runs.wins(one, other)).value for other in METHODS if other != one), 6)
            for one in METHODS
        },
        "differences": {name: shown(each) for name, each in differences(runs, settings).items()},
        "variance_ratio_1_to_all_negatives": variance_ratio(
            runs.means("negatives_1"), runs.means("ditto"), seed=0
        ).metrics(),
    }


def read() -> Settings:
    """The settings of params.yaml."""
    everything = yaml_file.load(Path("params.yaml").read_text(encoding="utf-8"))
    beside = {"reference": "first", "demonstrations": ALL, "labels": None, "spin": everything["train_spin"]}
    return everything["train_ditto"] | beside


def main() -> None:
    parser = many_runs.parser("ditto_ablation", __doc__.splitlines()[0])
    parser.add_argument("--tuning", action="store_true", help="the authors that settings are chosen with; print only")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="which; print only")
    parser.add_argument("--authors", nargs="+", choices=AUTHORS, default=list(AUTHORS), help="which; print only")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting; print only")
    given = parser.parse_args()
    settings = read()
    other = {key: yaml_file.load(value) for key, _, value in (pair.partition("=") for pair in given.set)}
    settings = changed(settings, **other)
    names = list(TUNING_AUTHORS) if given.tuning else given.authors
    with many_runs.command("ditto_ablation"):
        found = all_runs(names, given.variants, settings, seeds=given.seeds, jobs=given.jobs)
    runs = Runs(found, names, given.seeds)
    for variant in filter(runs.who, given.variants):
        style = combine_seeds(runs.style((variant, -1)))
        others = " ".join(f"{k} {runs.other(variant, k)}" for k in ("oracle", "characters", "cut_off", "copied"))
        means = {name: round(fmean(of_seeds), 3) for name, of_seeds in runs.by_author(variant).items()}
        rest = f"{means} {others} sft_steps {runs.other(variant, 'sft_steps')}"
        print(f"{variant:18s} {style.value:.3f} [{style.ends()}] {rest}")
        points = len(found[f"{runs.who(variant)[0]}/{variant}/0"]["scores"])
        if points > 1:
            curve = [round(combine_seeds(runs.style((variant, point))).value, 3) for point in range(points)]
            print("  points", curve)
    print(f"{sum(run['cpu_seconds'] for run in found.values()) / 60:.1f} minutes of processor time")
    if names == list(AUTHORS) and not other and set(given.variants) == set(VARIANTS) and given.seeds > 1:
        stage.write_metrics("ditto", **report(runs, settings), **many_runs.of_settings("train_ditto", "train_spin"))
        print("metrics/ditto.json")


if __name__ == "__main__":
    main()
