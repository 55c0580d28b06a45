"""The papers' claims, each with this project's figure for it and whether the figure bears it out.

    python -m synthalign.reporting.claims METRICS [METRICS …]

writes metrics/claims.json and metrics/methods.json (the table of all methods) from one metrics folder per seed, and
metrics/recorded.json, which says of which run they are.

`holds` is computed from the numbers alone, by the rule that stands beside each claim. Several seeds are put together as
`statistics.combine_seeds` says. A claim whose figure was not measured has no value and does not hold.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.reporting import method_claims, method_table, recorded
from synthalign.reporting.seeds import EVEN, Claim, Metrics, Seeds, above

STEPS = ("a_b", "b_c", "c_d", "d_e")
"""The steps of the ranking A > B > C > D > E in score_comparisons.differences."""

UPPER_BOUND_SHARE = 0.9
"""The share of the gold reward model's accuracy that the synthetic one reaches in Table 3."""


def claims(metrics: Sequence[Metrics]) -> list[Claim]:
    """The claim objects, from the metrics of one run per seed; those of other methods, of the seeds that ran them."""
    ran = [run for run in metrics if run.get("compare_methods")]
    return [*almost(Seeds(metrics)), *method_claims.claims(Seeds(ran or metrics))]


def almost(seeds: Seeds) -> list[Claim]:
    """What ALMoST claims."""
    steps = [seeds.difference(step) for step in STEPS]
    smallest = min((step for step in steps if step), key=lambda step: step.value) if all(steps) else None
    whole, size, shots = seeds.difference("a_e"), seeds.difference("size"), seeds.difference("shots")
    hf_over_raw = seeds.label("heuristic", "over_first")
    asis_over_hf = seeds.label("almost", "over_previous")
    curve = best_of_n(seeds)

    configurations, labels = "metrics/score_comparisons.json: differences", "metrics/score_comparisons.json: labels"
    rewards, judged = "metrics/score_rewards.json", "metrics/judge_answers.json"
    return [
        seeds.claim(
            "rule_of_thumb_order",
            "Oracle score falls from A over B, C and D to E: the smallest step is above 0, and A - E clearly",
            "ALMoST Table 2",
            smallest,
            configurations,
            lambda step: step.value > 0 and whole is not None and whole.low > 0,
        ),
        seeds.claim("size_effect", "A larger model answers better", "ALMoST Table 2", size, configurations, above(0)),
        seeds.claim("shots_effect", "More shots answer better", "ALMoST Table 2", shots, configurations, above(0)),
        seeds.claim(
            "demonstration_effect",
            "Better demonstrations answer better, and matter more than size and shots",
            "ALMoST Table 2",
            seeds.difference("demonstrations"),
            configurations,
            lambda better: better.low > 0 and all(other and better.value > other.value for other in (size, shots)),
        ),
        seeds.claim(
            "label_accuracy_raw",
            "Labels by the rule of thumb alone are right more often than not",
            "ALMoST section 3.1",
            seeds.label("no_filter", "agreement"),
            labels,
            above(EVEN),
        ),
        seeds.claim(
            "label_accuracy_hf",
            "The heuristic filter leaves labels that are right more often than the raw ones",
            "ALMoST section 3.1",
            seeds.label("heuristic", "agreement"),
            labels,
            lambda _: hf_over_raw is not None and hf_over_raw.low > 0,
        ),
        seeds.claim(
            "label_accuracy_hf_asis",
            "The As-is reward model leaves labels that are right more often than those of the heuristic filter alone",
            "ALMoST section 3.1",
            seeds.label("almost", "agreement"),
            labels,
            lambda _: asis_over_hf is not None and asis_over_hf.low > 0,
        ),
        seeds.claim(
            "reward_accuracy_vs_gold",
            "The synthetic reward model reaches 90% of the accuracy of one trained on the oracle's labels",
            "ALMoST Table 3",
            seeds.reward("almost", "ratio_to_upper_bound"),
            rewards,
            lambda share: share.value >= UPPER_BOUND_SHARE,
        ),
        seeds.claim(
            "reward_vs_longer",
            "The synthetic reward model is right more often than always taking the longer response",
            "ALMoST Table 4",
            seeds.reward("almost", "minus_longer"),
            rewards,
            above(0),
        ),
        seeds.claim(
            "filter_ablation",
            "The reward model is right more often with the filters than without them",
            "ALMoST Table 4",
            seeds.reward("almost", "minus_no_filter"),
            rewards,
            above(0),
        ),
        seeds.claim(
            "rmsp_vs_selfplay",
            "SFT on demonstrations picked by the reward model beats SFT on unpicked ones",
            "ALMoST Table 5",
            seeds.win_rate("sft_rmsp", "sft_selfplay"),
            judged,
            above(EVEN),
        ),
        seeds.claim(
            "best_of_n_oracle",
            "The best of N by reward is better than one sample, and reward and oracle rise with every N",
            "ALMoST section 2.2",
            seeds.interval("score_candidates", "gain"),
            "metrics/score_candidates.json",
            lambda gain: gain.low > 0 and bool(curve) and all(rises(values) for values in zip(*curve, strict=True)),
        ),
        *(
            seeds.claim(name, text, "ALMoST Figure 3", seeds.win_rate(a, b), judged, above(EVEN))
            for name, text, a, b in [
                ("sft_vs_base", "SFT beats the base model without demonstrations", "sft_rmsp", "base"),
                ("ppo_vs_sft", "PPO against the synthetic reward beats the SFT policy", "ppo", "sft_rmsp"),
                ("dpo_vs_sft", "DPO on the synthetic comparisons beats the SFT policy", "dpo", "sft_rmsp"),
            ]
        ),
        seeds.claim(
            "small_vs_large",
            "The aligned small model beats the large one with the plain HHH prompt",
            "ALMoST section 1",
            seeds.win_rate("ppo", "large_hhh"),
            judged,
            above(EVEN),
        ),
    ]


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
    """The metrics of one run: every JSON object below the folder, by its path; no plots, no recorded.NO_METRICS."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such metrics folder; `make repro` makes it")
    found = {}
    for file in sorted(folder.rglob("*.json")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name not in recorded.NO_METRICS and not name.startswith("plots/"):
            try:
                found[name] = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{file}: not JSON ({error}); run its stage again") from error
    return found


def main(folders: Sequence[str]) -> None:
    if not folders:
        raise UserError("usage: python -m synthalign.reporting.claims METRICS [METRICS …], one metrics folder per seed")
    metrics = [read(Path(folder)) for folder in folders]
    found = claims(metrics)
    holding = sum(claim["holds"] for claim in found)
    write("claims", found, f"{holding} of {len(found)} claims hold over {len(folders)} seeds")
    methods = method_table.table(metrics, [method_table.seconds_of(Path(folder).parent) for folder in folders])
    write("methods", methods, f"{len(methods)} policies")
    of = recorded.origin(Path(folders[0]).parent, len(folders), claims(metrics[:1]))
    write("recorded", of, recorded.said(of))


def write(name: str, found: Any, says: str) -> None:
    """metrics/<name>.json, and what it says."""
    file = Path("metrics") / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{file}: {says}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"claims: {error}", file=sys.stderr)
        raise SystemExit(1) from error
