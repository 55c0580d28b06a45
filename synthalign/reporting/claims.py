"""The papers' claims, each with this project's figure for it and whether the figure bears it out.

    python -m synthalign.reporting.claims RUN [RUN …]

writes metrics/claims.json and metrics/methods.json (the table of all methods) from one run per seed, its metrics folder
or the file in which it was kept (`run_record`), and metrics/recorded.json, which says of which run they are.

Whether a claim holds is computed from the numbers alone, by the rule of its parts: `seeds` says how. Several seeds are
put together as `statistics.combine_seeds` says. A claim whose figure was not measured has no value and does not hold.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.reporting import method_claims, method_table, recorded, run_record
from synthalign.reporting.seeds import EVEN, Claim, Metrics, Seeds, above, below, corrected, weakest_first

STEPS = ("a_b", "b_c", "c_d", "d_e")
"""The steps of the ranking A > B > C > D > E in score_comparisons.differences."""

UPPER_BOUND_SHARE = 0.9
"""The share of the gold reward model's accuracy that the synthetic one reaches in Table 3."""


def claims(metrics: Sequence[Metrics]) -> list[Claim]:
    """The claim objects, from the metrics of one run per seed; those of other methods, of the seeds that ran them."""
    ran = [run for run in metrics if run.get("compare_methods")]
    return corrected([*almost(Seeds(metrics)), *method_claims.claims(Seeds(ran or metrics))])


def almost(seeds: Seeds) -> list[Claim]:
    """What ALMoST claims."""
    return [*configurations(seeds.first), *labels(seeds), *reward_model(seeds), *policies(seeds)]


def configurations(seeds: Seeds) -> list[Claim]:
    """Of size, shots and demonstrations."""
    found = {
        name: seeds.figure("score_comparisons", "differences", name)
        for name in (
            *STEPS,
            "size",
            "shots",
            "demonstrations",
            *(f"demonstrations_over_{x}" for x in ("size", "shots")),
        )
    }
    asked = {
        "rule_of_thumb_order": (
            "Oracle score falls from A over B, C and D to E, at every step; the smallest step",
            weakest_first([above(found[step], 0, f"{step[0].upper()} over {step[-1].upper()}") for step in STEPS]),
        ),
        "size_effect": ("A larger model answers better", [above(found["size"], 0)]),
        "shots_effect": ("More shots answer better, for the small model", [above(found["shots"], 0)]),
        "demonstration_effect": (
            "For the large model better demonstrations answer better, and matter more than size, and than shots for "
            "the small one",
            [
                above(found["demonstrations"], 0),
                *(above(found[f"demonstrations_over_{x}"], 0, f"more than {x}") for x in ("size", "shots")),
            ],
        ),
    }
    file = "metrics/score_comparisons.json: differences"
    return [seeds.claim(name, text, "ALMoST Table 2", file, parts) for name, (text, parts) in asked.items()]


def labels(seeds: Seeds) -> list[Claim]:
    """Of the rule of thumb and what the filters leave."""
    return [
        seeds.claim(
            f"label_accuracy_{name}", text, "ALMoST section 3.1", "metrics/score_comparisons.json: labels",
            above(seeds.figure("score_comparisons", "labels", *path), bound),
        )
        for name, text, path, bound in [
            (
                "raw",
                "Labels by the rule of thumb alone are right more often than not, of pairs on which the oracle has a "
                "preference",
                ("no_filter", "agreement"),
                EVEN,
            ),
            (
                "hf",
                "The heuristic filter leaves labels that are right more often than the raw ones",
                ("heuristic", "over_first"),
                0,
            ),
            (
                "hf_asis",
                "The As-is reward model leaves labels that are right more often than those of the heuristic filter",
                ("almost", "over_previous"),
                0,
            ),
        ]
    ]  # fmt: skip


def reward_model(seeds: Seeds) -> list[Claim]:
    """Of the reward model."""
    filtered, plain = (
        seeds.figure("score_rewards", "rewards", name, "correlation_with_length") for name in ("heuristic", "no_filter")
    )
    return [
        seeds.claim(
            name, text, paper, "metrics/score_rewards.json",
            above(seeds.figure("score_rewards", "rewards", "almost", figure), bound),
        )
        for name, text, paper, figure, bound in [
            (
                "reward_accuracy_vs_gold",
                "The synthetic reward model reaches 90% of the accuracy of one trained on the oracle's labels",
                "ALMoST Table 3",
                "ratio_to_upper_bound",
                UPPER_BOUND_SHARE,
            ),
            (
                "reward_vs_longer",
                "The synthetic reward model is right more often than always taking the longer response",
                "ALMoST Table 4",
                "minus_longer",
                0,
            ),
            (
                "filter_ablation",
                "The reward model is right more often with the filters than without them",
                "ALMoST Table 4",
                "minus_no_filter",
                0,
            ),
        ]
    ] + [
        seeds.claim(
            "filter_length",
            "With the heuristic filter the reward model's scores go less with the length of a response than without it "
            "(correlations)",
            "ALMoST section 3.1",
            "metrics/score_rewards.json",
            below(filtered.minus(plain) if filtered and plain else None, 0),
        )
    ]  # fmt: skip


def policies(seeds: Seeds) -> list[Claim]:
    """Of self-play, best-of-N and the policies."""
    judged, candidates = "metrics/judge_answers.json", "metrics/score_candidates.json"
    duels = {
        name: seeds.claim(name, text, paper, judged, seeds.wins("judge_answers", f"{a}_vs_{b}", "oracle"))
        for name, text, paper, a, b in [
            (
                "rmsp_vs_selfplay",
                "SFT on demonstrations picked by the reward model beats SFT on unpicked ones",
                "ALMoST Table 5",
                "sft_rmsp",
                "sft_selfplay",
            ),
            (
                "sft_vs_base",
                "SFT beats the base model without demonstrations",
                "ALMoST Figure 3",
                "sft_rmsp",
                "base",
            ),
            (
                "ppo_vs_sft",
                "PPO against the synthetic reward beats the SFT policy",
                "ALMoST Figure 3",
                "ppo",
                "sft_rmsp",
            ),
            (
                "dpo_vs_sft",
                "DPO on the synthetic comparisons beats the SFT policy",
                "ALMoST Figure 3",
                "dpo",
                "sft_rmsp",
            ),
            (
                "small_vs_large",
                "The aligned medium model beats the large one with the plain HHH prompt",
                "ALMoST section 1",
                "ppo",
                "large_hhh",
            ),
        ]
    }
    # By reward the best of more is better whatever the reward, so the oracle alone is asked.
    steps = seeds.get("score_candidates", "steps")
    chosen = seeds.claim(
        "best_of_n_oracle",
        "The best of N by reward is better than one sample in the oracle's eyes, and better with every N",
        "ALMoST section 2.2",
        candidates,
        [
            above(seeds.figure("score_candidates", "gain"), 0),
            *(
                above(seeds.figure("score_candidates", "steps", place), 0, f"{place + 2} over {place + 1}")
                for place in range(min(map(len, steps)) if steps else 1)
            ),
        ],
    )
    rmsp, *others = duels.values()
    return [rmsp, chosen, *others]


def main(paths: Sequence[str]) -> None:
    if not paths:
        raise UserError("usage: python -m synthalign.reporting.claims RUN [RUN …], one metrics folder or file per seed")
    runs = run_record.together([Path(path) for path in paths])
    metrics = [run.metrics for run in runs]
    found = claims(metrics)
    holding = sum(claim["holds"] for claim in found)
    write("claims", found, f"{holding} of {len(found)} claims hold over {len(runs)} seeds")
    methods = method_table.table(metrics, [run.seconds for run in runs])
    write("methods", methods, f"{len(methods)} policies")
    of = recorded.origin(runs[0].lock, runs[0].settings, len(runs), claims(metrics[:1]))
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
