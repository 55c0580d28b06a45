"""The papers' claims, each with this project's figure for it and whether the figure bears it out.

    python -m synthalign.claims METRICS [METRICS …]    writes metrics/claims.json from one metrics folder per seed

`holds` is computed from the numbers alone, by the rule that stands beside each claim. Several seeds are put together as
`statistics.combine_seeds` says. A claim whose figure was not measured has no value and does not hold.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthalign.errors import UserError
from synthalign.statistics import Interval, combine_seeds

Metrics = Mapping[str, Any]
"""The metrics of one run, by stage: {"score_rewards": {…}, "train_sft/rmsp": {…}, …}."""

Claim = dict[str, Any]

STEPS = ("a_b", "b_c", "c_d", "d_e")
"""The steps of the ranking A > B > C > D > E in score_comparisons.differences."""

EVEN = 0.5
UPPER_BOUND_SHARE = 0.9
"""The share of the gold reward model's accuracy that the synthetic one reaches in Table 3."""

LAST_STEP_SHARE = 0.25
"""The last step of Table 3, 282 to 1,836 tasks, brings 9 to 11% of the gain."""


@dataclass(frozen=True)
class Seeds:
    """The metrics of every seed, read by path."""

    metrics: Sequence[Metrics]

    def get(self, *path: str | int) -> list[Any] | None:
        """What stands at the path in every seed's metrics; None when a seed has nothing there."""
        found = []
        for values in self.metrics:
            at: Any = values
            for key in path:
                try:
                    at = at[key]
                except (KeyError, IndexError, TypeError):
                    return None
            if at is None:
                return None
            found.append(at)
        return found

    def interval(self, *path: str | int) -> Interval | None:
        """The figure at the path, all seeds together."""
        found = self.get(*path)
        if found is None:
            return None
        return combine_seeds([Interval(f["value"], f["low"], f["high"], f["n"]) for f in found])

    def win_rate(self, a: str, b: str) -> Interval | None:
        """How often policy a beats policy b in the oracle's eyes."""
        return self.interval("judge_answers", f"{a}_vs_{b}", "oracle", "win_rate")

    def difference(self, name: str) -> Interval | None:
        """A difference between two vanilla configurations."""
        return self.interval("score_comparisons", "differences", name)

    def label(self, part: str, figure: str) -> Interval | None:
        """A figure about the labels that a filter leaves."""
        return self.interval("score_comparisons", "labels", part, figure)

    def reward(self, name: str, figure: str) -> Interval | None:
        """A figure about a reward model."""
        return self.interval("score_rewards", "rewards", name, figure)


def claims(metrics: Sequence[Metrics]) -> list[Claim]:
    """The claim objects, from the metrics of one run per seed."""
    seeds = Seeds(metrics)
    steps = [seeds.difference(step) for step in STEPS]
    smallest = min((step for step in steps if step), key=lambda step: step.value) if all(steps) else None
    whole, size, shots = seeds.difference("a_e"), seeds.difference("size"), seeds.difference("shots")
    hf_over_raw = seeds.label("heuristic", "over_first")
    asis_over_hf = seeds.label("almost", "over_previous")
    curve = best_of_n(seeds)

    def claim(
        name: str, text: str, paper: str, figure: Interval | None, file: str, rule: Callable[[Interval], bool]
    ) -> Claim:
        return {
            "id": name,
            "claim": text,
            "source": f"{paper}; {file}",
            "value": None if figure is None else round(figure.value, 6),
            "low": None if figure is None else round(figure.low, 6),
            "high": None if figure is None else round(figure.high, 6),
            "n": 0 if figure is None else figure.n,
            "seeds": len(metrics),
            "holds": figure is not None and bool(rule(figure)),
        }

    def above(bound: float) -> Callable[[Interval], bool]:
        return lambda figure: figure.low > bound

    configurations, labels = "metrics/score_comparisons.json: differences", "metrics/score_comparisons.json: labels"
    rewards, judged = "metrics/score_rewards.json", "metrics/judge_answers.json"
    return [
        claim(
            "rule_of_thumb_order",
            "Oracle score falls from A over B, C and D to E: the smallest step is above 0, and A - E clearly",
            "ALMoST Table 2",
            smallest,
            configurations,
            lambda step: step.value > 0 and whole is not None and whole.low > 0,
        ),
        claim("size_effect", "A larger model answers better", "ALMoST Table 2", size, configurations, above(0)),
        claim("shots_effect", "More shots answer better", "ALMoST Table 2", shots, configurations, above(0)),
        claim(
            "demonstration_effect",
            "Better demonstrations answer better, and matter more than size and shots",
            "ALMoST Table 2",
            seeds.difference("demonstrations"),
            configurations,
            lambda better: better.low > 0 and all(other and better.value > other.value for other in (size, shots)),
        ),
        claim(
            "label_accuracy_raw",
            "Labels by the rule of thumb alone are right more often than not",
            "ALMoST section 3.1",
            seeds.label("no_filter", "agreement"),
            labels,
            above(EVEN),
        ),
        claim(
            "label_accuracy_hf",
            "The heuristic filter leaves labels that are right more often than the raw ones",
            "ALMoST section 3.1",
            seeds.label("heuristic", "agreement"),
            labels,
            lambda _: hf_over_raw is not None and hf_over_raw.low > 0,
        ),
        claim(
            "label_accuracy_hf_asis",
            "The As-is reward model leaves labels that are right more often than those of the heuristic filter alone",
            "ALMoST section 3.1",
            seeds.label("almost", "agreement"),
            labels,
            lambda _: asis_over_hf is not None and asis_over_hf.low > 0,
        ),
        claim(
            "reward_accuracy_vs_gold",
            "The synthetic reward model reaches 90% of the accuracy of one trained on the oracle's labels",
            "ALMoST Table 3",
            seeds.reward("almost", "ratio_to_upper_bound"),
            rewards,
            lambda share: share.value >= UPPER_BOUND_SHARE,
        ),
        claim(
            "reward_vs_longer",
            "The synthetic reward model is right more often than always taking the longer response",
            "ALMoST Table 4",
            seeds.reward("almost", "minus_longer"),
            rewards,
            above(0),
        ),
        claim(
            "filter_ablation",
            "The reward model is right more often with the filters than without them",
            "ALMoST Table 4",
            seeds.reward("almost", "minus_no_filter"),
            rewards,
            above(0),
        ),
        claim(
            "rmsp_vs_selfplay",
            "SFT on demonstrations picked by the reward model beats SFT on unpicked ones",
            "ALMoST Table 5",
            seeds.win_rate("sft_rmsp", "sft_selfplay"),
            judged,
            above(EVEN),
        ),
        claim(
            "best_of_n_oracle",
            "The best of N by reward is better than one sample, and reward and oracle rise with every N",
            "ALMoST section 2.2",
            seeds.interval("score_candidates", "gain"),
            "metrics/score_candidates.json",
            lambda gain: gain.low > 0 and bool(curve) and all(rises(values) for values in zip(*curve, strict=True)),
        ),
        *(
            claim(name, text, "ALMoST Figure 3", seeds.win_rate(a, b), judged, above(EVEN))
            for name, text, a, b in [
                ("sft_vs_base", "SFT beats the base model without demonstrations", "sft_rmsp", "base"),
                ("ppo_vs_sft", "PPO against the synthetic reward beats the SFT policy", "ppo", "sft_rmsp"),
                ("dpo_vs_sft", "DPO on the synthetic comparisons beats the SFT policy", "dpo", "sft_rmsp"),
            ]
        ),
        claim(
            "small_vs_large",
            "The aligned small model beats the large one with the plain HHH prompt",
            "ALMoST section 1",
            seeds.win_rate("ppo", "large_hhh"),
            judged,
            above(EVEN),
        ),
        # FLAN: the smallest of several differences is the one whose interval lies lowest.
        *(
            claim(name, text, paper, smallest_of(seeds, part, of), "metrics/score_tasks.json: differences", rule)
            for name, text, paper, part, of, rule in [
                (
                    "flan_tuned_vs_base",
                    "Instruction tuning beats the base model on held-out tasks at every size: the smallest gain",
                    "FLAN Table 3",
                    "all",
                    ("small", "medium", "large"),
                    above(0),
                ),
                (
                    "flan_size",
                    "A larger tuned model is better on held-out tasks: the smallest step",
                    "FLAN Figure 4",
                    "all",
                    ("medium_over_small", "large_over_medium"),
                    above(0),
                ),
                (
                    "flan_more_tasks",
                    "Tuning on all tasks beats tuning on three of them",
                    "FLAN Table 3",
                    "all",
                    ("all_over_three",),
                    above(0),
                ),
                (
                    "flan_direct_hurts_reasoning",
                    "Tuning on direct tasks alone makes tasks with reasoning worse than tuning on both",
                    "FLAN section 4.2",
                    "cot",
                    ("both_over_direct",),
                    above(0),
                ),
                (
                    "flan_direct_below_base",
                    "Tuning on direct tasks alone makes tasks with reasoning worse than no tuning",
                    "FLAN section 4.2",
                    "cot",
                    ("base_over_direct",),
                    above(0),
                ),
                (
                    "flan_reasoning_hurts_direct",
                    "Tuning on reasoning alone makes direct tasks worse than tuning on both",
                    "FLAN Table 3",
                    "direct",
                    ("both_over_cot",),
                    above(0),
                ),
                (
                    "flan_reasoning_below_base",
                    "Tuning on reasoning alone makes direct tasks worse than no tuning",
                    "FLAN Table 3",
                    "direct",
                    ("base_over_cot",),
                    above(0),
                ),
                (
                    "flan_both_keeps_direct",
                    "Tuning on both is not worse on direct tasks than tuning on direct tasks alone",
                    "FLAN section 4.2",
                    "direct",
                    ("both_over_direct",),
                    lambda gap: gap.high >= 0,
                ),
                (
                    "flan_both_keeps_reasoning",
                    "Tuning on both is not worse on tasks with reasoning than tuning on reasoning alone",
                    "FLAN section 4.2",
                    "cot",
                    ("both_over_cot",),
                    lambda gap: gap.high >= 0,
                ),
            ]
        ),
        claim(
            "flan_saturates",
            "The last doubling of the number of tasks brings less than a quarter of the gain",
            "FLAN Table 3",
            seeds.interval("score_tasks", "last_step_of_gain"),
            "metrics/score_tasks.json: last_step_of_gain",
            lambda share: share.high < LAST_STEP_SHARE,
        ),
    ]


def smallest_of(seeds: Seeds, part: str, names: Sequence[str]) -> Interval | None:
    """The smallest of some differences on the held-out tasks; None unless all were measured."""
    found = [seeds.interval("score_tasks", "differences", name, part) for name in names]
    return min((one for one in found if one), key=lambda one: one.low) if all(found) else None


def best_of_n(seeds: Seeds) -> list[tuple[float, float]]:
    """(reward, oracle) of the best of n for n = 1, 2, …, means over seeds."""
    found = seeds.get("score_candidates", "curve") or []
    return [
        (sum(point["reward"] for point in points) / len(points), sum(point["value"] for point in points) / len(points))
        for points in zip(*found, strict=False)
    ]


def rises(values: Sequence[float]) -> bool:
    """Whether every value is above the one before it."""
    return all(one < other for one, other in zip(values, values[1:], strict=False))


def read(folder: Path) -> dict[str, Any]:
    """The metrics of one run: every JSON object below the folder, named by its path; plots and claims left out."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such metrics folder; `make repro` makes it")
    found = {}
    for file in sorted(folder.rglob("*.json")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name != "claims" and not name.startswith("plots/"):
            try:
                found[name] = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{file}: not JSON ({error}); run its stage again") from error
    return found


def main(folders: Sequence[str]) -> None:
    if not folders:
        raise UserError("usage: python -m synthalign.claims METRICS [METRICS …], one metrics folder per seed")
    found = claims([read(Path(folder)) for folder in folders])
    file = Path("metrics/claims.json")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{file}: {sum(claim['holds'] for claim in found)} of {len(found)} claims hold over {len(folders)} seeds")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"claims: {error}", file=sys.stderr)
        raise SystemExit(1) from error
