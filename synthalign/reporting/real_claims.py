"""What real models on real text show, measured with people's data.

    python -m synthalign.reporting.real_claims RUN [RUN …]

writes metrics/real_claims.json from one run per seed, its metrics folder (beside params.yaml and dvc.lock) or the file
in which it was kept (`run_record`): which models and files the figures are of, and the claims in the form of
metrics/claims.json with three keys more. Where it has more seeds of the same models and files, it stays as it is.

    question       the question of which the row is a part
    decision       yes: the claim holds; no: a part of it lies on the other side of its bound with its whole interval,
                   of two parts with that of 97.5%, as either may (Bonferroni); open: neither; too few, all equal, not
                   measured: it could not be decided; a figure: nothing is claimed of it
    decision_holm  the same with the error of all rows together held at 5%

Whatever the decision is, the row is written.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.reporting import claims, run_inputs, run_record
from synthalign.reporting.seeds import (
    EVEN,
    LEVEL,
    NOT_MEASURED,
    Claim,
    Metrics,
    Part,
    Seeds,
    above,
    below,
    corrected,
    rounded,
)

PARTS = ("no_filter", "no_length", "no_keyword", "heuristic")
"""Reward models that lack a filter, or a part of one; `almost` has both."""

KINDS = {"human_pairs": "people's held-out pairs", "votes": "the majority of several annotators"}

RECORDED = Path("metrics/real_claims.json")

CONFIGURATIONS = ("a", "b", "c", "d", "e")


@dataclass(frozen=True)
class Row:
    """A question's row before its figure is looked up.

    bound  what the figure must be above; None where nothing is claimed, or `path` leads to who wins
    wins   whether `path` leads to a comparison of two policies, whose win rate is judged at equal lengths too
    """

    name: str
    claim: str
    path: tuple[str | int, ...]
    bound: float | None = 0.0
    wins: bool = False


QUESTIONS: dict[str, list[Row]] = {
    "Do size, shots and demonstrations order real answers?": [
        Row(f"order_{name}", claim, ("score_comparisons", "people", "differences", name))
        for name, claim in [
            ("a_e", "The first configuration of the ranking is better than the last"),
            *((step, f"The ranking holds from {step[0].upper()} to {step[-1].upper()}") for step in claims.STEPS),
            ("size", "A larger model answers better"),
            ("shots", "More shots answer better, for the small model"),
            ("demonstrations", "Better demonstrations answer better, for the large model"),
        ]
    ]
    + [
        Row(
            "labels_raw",
            "Labels by the rule of thumb alone agree with people's reward model more often than not",
            ("score_comparisons", "people", "labels", "no_filter", "agreement"),
            EVEN,
        )
    ],
    "How does the synthetic reward model stand against people?": [
        row
        for kind, of in KINDS.items()
        for row in [
            Row(f"{kind}_synthetic", f"The synthetic reward model is right more often than not on {of}",
                ("score_rewards", kind, "scorers", "almost", "accuracy"), EVEN),
            Row(f"{kind}_people", f"The reward model trained on people's pairs is right more often than not on {of}",
                ("score_rewards", kind, "scorers", "gold", "accuracy"), EVEN),
            Row(f"{kind}_longer", f"Always taking the longer answer is right more often than not on {of}",
                ("score_rewards", kind, "scorers", "longer", "accuracy"), EVEN),
            Row(f"{kind}_over_longer", f"The synthetic reward model is right more often than the longer answer on {of}",
                ("score_rewards", kind, "scorers", "almost", "minus_longer")),
            Row(f"{kind}_over_people", f"It is right more often than the one trained on people's pairs on {of}",
                ("score_rewards", kind, "scorers", "almost", "minus_gold")),
            # The paper's 90% are no bound here: where people's own is right on 55%, a coin reaches them.
            Row(f"{kind}_share", f"Its accuracy as a share of that of the one trained on people's pairs on {of}",
                ("score_rewards", kind, "scorers", "almost", "ratio_to_upper_bound"), None),
            Row(f"{kind}_share_longer", f"The same of the longer answer on {of}",
                ("score_rewards", kind, "scorers", "longer", "ratio_to_upper_bound"), None),
        ]
    ]
    + [
        Row("alpha_people", "Krippendorff's alpha of the annotators",
            ("score_rewards", "votes", "alpha", "people"), None),
        *(
            Row(f"alpha_{row}", f"Krippendorff's alpha of the annotators and the {of}",
                ("score_rewards", "votes", "alpha", scorer), None)
            for row, of, scorer in (
                ("synthetic", "synthetic reward model", "almost"),
                ("gold", "one trained on people's pairs", "gold"),
                ("longer", "longer answer", "longer"),
            )
        ),
    ]
    + [
        row
        for name, of in (("reward_almost", "synthetic reward model"), ("reward_gold", "one trained on people's pairs"))
        for row in [
            Row(f"hhh_{name}", f"The {of} is right more often than not on static HHH alignment",
                (f"score_benchmarks/{name}", "hhh", "accuracy"), EVEN),
            Row(f"truthfulqa_{name}", f"Share of TruthfulQA's questions whose right option has the {of}'s best reward",
                (f"score_benchmarks/{name}", "truthfulqa", "highest_reward"), None),
        ]
    ]
    + [
        Row("hhh_longer", "Always taking the longer answer is right more often than not on static HHH alignment",
            ("score_benchmarks/reward_almost", "hhh", "always_longer"), EVEN),
        Row("truthfulqa_longest", "Share of TruthfulQA's questions whose right option is the longest",
            ("score_benchmarks/reward_almost", "truthfulqa", "always_longest"), None),
    ],
    "Do the heuristic and the As-is filter help on real text?": [
        *(
            Row(f"{kind}_over_{part}", f"With both filters the reward model is right more often than {part} on {of}",
                ("score_rewards", kind, "scorers", "almost", f"minus_{part}"))
            for kind, of in KINDS.items()
            for part in PARTS
        ),
        Row("labels_heuristic", "The heuristic filter leaves labels that agree more often than the raw ones",
            ("score_comparisons", "people", "labels", "heuristic", "over_first")),
        Row("labels_asis", "The As-is reward model leaves labels that agree more often than the heuristic filter alone",
            ("score_comparisons", "people", "labels", "almost", "over_previous")),
        *(
            Row(f"accidents_{name}_{kind}", f"Share of the responses of configuration {name.upper()}: {kind}",
                ("score_comparisons", "accidents", name, kind), None)
            for name in CONFIGURATIONS
            for kind in ("any", "cut_off", "loop", "next_turn", "empty")
        ),
    ],
    "Is guided self-play better than plain self-play?": [
        Row("rmsp_win_rate", "SFT on guided self-play beats SFT on plain self-play",
            ("judge_answers", "sft_rmsp_vs_sft_selfplay", "people"), wins=True),
        Row("rmsp_score", "Its mean score is higher", ("score_policies", "people", "differences", "rmsp_selfplay")),
        Row("best_of_n", "The best of N by the synthetic reward scores higher than one sample",
            ("score_candidates", "people", "gain")),
        Row("best_of_n_over_longest", "It scores higher than the longest of N",
            ("score_candidates", "people", "minus_longest")),
    ],
    "Are SFT, DPO and PPO better than what they start from?": [
        Row(f"{one}_vs_{other}", f"{one} beats {other}", ("judge_answers", f"{one}_vs_{other}", "people"), wins=True)
        for one, other in (("sft_rmsp", "base"), ("dpo", "sft_rmsp"), ("dpo", "base"), ("ppo", "sft_rmsp"),
                           ("ppo", "base"), ("ppo", "large_hhh"))
    ]
    + [
        Row(f"loss_{name}", f"Loss per token of {name} on held-out text",
            (f"score_benchmarks/{name}", "heldout_text", "loss_per_token"), None)
        for name in ("base", "sft_rmsp", "dpo", "ppo")
    ]
    + [
        Row(f"tokens_{name}", f"Tokens of an answer of {name}",
            ("score_policies", "people", "policies", name, "lengths", "tokens"), None)
        for name in ("base", "sft_selfplay", "sft_rmsp", "dpo", "ppo", "large_hhh")
    ]
    + [
        Row(f"{test}_{name}", f"{what} of {name}", (f"score_benchmarks/{name}", test, metric), None)
        for test, metric, what in (
            ("hhh", "accuracy", "Accuracy on static HHH alignment, by letters,"),
            ("truthfulqa", "mc1", "MC1 on TruthfulQA"),
        )
        for name in ("base", "sft_rmsp", "dpo", "ppo")
    ]
    + [
        Row("kl_ppo", "Nats of an answer of ppo from the policy that it began as",
            ("score_policies", "people", "kl", "ppo"), None),
        Row("kl_dpo", "Nats of an answer of dpo from the policy that it began as", ("snapshot_dpo", "kl"), None),
    ],
    "Are labels by contrast better than a labeller's?": [
        Row(f"labels_{name}", f"Labels of {name} agree with people's reward model more often than not",
            ("score_pairs", "people", "labels", name, "agreement"), EVEN)
        for name in (f"{name}{size}" for size in ("", "_large") for name in ("rlcd", "rlaif", "rescore"))
    ]
    + [
        Row(f"rlcd_over_{other}{size}", f"{claim}{which}",
            ("score_pairs", "people", "label_differences", f"rlcd_over_{other}{size}"))
        for size, which in (("", ""), ("_large", ", with the large model in the place of the small one"))
        for other, claim in (("rlaif", "Labels by contrast agree more often than a labeller's"),
                             ("rescore", "They do on the same answers"))
    ],
    "Does DITTO write more like a real author?": [
        Row(f"ditto_over_{other}", f"The classifier is surer of the author of an answer of DITTO than of {than}",
            ("score_ditto", "ditto_minus", other))
        for other, than in (("sft", "SFT's"), ("few_shot", "a few-shot prompt's"), ("zero_shot", "the base model's"),
                            ("self_prompt", "a self-written prompt's"), ("spin", "SPIN's"))
    ]
    + [
        Row("author_classifier", "Share of texts that it was not shown whose author the classifier names",
            ("score_ditto", "classifier"), None),
    ],
}  # fmt: skip


JUDGE = ("votes_people", "human_pairs_people")
"""Rows of the model of people's pairs that judges: ordinary questions first, which are what it is asked about."""

NO_JUDGE = "judge not shown"
"""Of a row that it judges while it is not shown to be right more often than a coin."""


def rows(metrics: Sequence[Metrics]) -> list[Claim]:
    """The rows of all questions, from the metrics of one run per seed.

    What the model of people's pairs says is decided once it is shown to be right more often than not, on the first of
    `JUDGE` that is measured: what a judge says that people do not bear out is neither shown nor refuted.

    What a world's oracle says of its own authors is left out: DITTO is judged here by a classifier or not at all.
    """
    metrics = [run if "classifier" in run.get("score_ditto", {}) else {**run, "score_ditto": {}} for run in metrics]
    seeds = Seeds(metrics)
    found = []
    for question, asked in QUESTIONS.items():
        for row in asked:
            place = ".".join(map(str, row.path[1:]))
            parts = seeds.wins(*row.path) if row.wins else [above(seeds.figure(*row.path), row.bound or 0.0)]
            claim = seeds.claim(row.name, row.claim, "people's data", f"metrics/{row.path[0]}.json: {place}", parts)
            claim |= decided(claim, parts) if row.wins or row.bound is not None else untested(claim)
            found.append({"question": question} | claim)
    of_judge = {row["id"]: row["decision"] for row in found if row["id"] in JUDGE}
    measured = [of_judge[name] for name in JUDGE if of_judge[name] != NOT_MEASURED]
    if measured[:1] != ["yes"]:
        judged = {row.name for asked in QUESTIONS.values() for row in asked if "people" in row.path}
        found = [undecided(row) if row["id"] in judged else row for row in found]
    return [
        row
        | {"decision_holm": "open" if row["decision"] in ("yes", "no") and row["p_holm"] >= LEVEL else row["decision"]}
        for row in corrected(found)
    ]


def decided(claim: Claim, parts: Sequence[Part]) -> dict[str, Any]:
    """What a row comes to, and how surprising that is: `yes` is that all parts hold, `no` that one lies on the other
    side, any of them at 5% together (Bonferroni), so that neither is said of nothing more often than that. A part
    without an interval cannot lie there and is not counted."""
    against = [p for part in parts if (p := below(part.figure, part.bound).row()["p"]) is not None]
    if claim["p"] is None:
        return {"decision": claim["why"]}
    no = min(1.0, len(against) * min(against))
    return {"decision": "yes" if claim["holds"] else "no" if no < LEVEL else "open", "p": rounded(min(claim["p"], no))}


def undecided(claim: Claim) -> Claim:
    """A row whose judge is not shown to judge: its figure, and no decision."""
    if claim["decision"] not in ("yes", "no", "open"):
        return claim
    return claim | {"holds": False, "p": None, "decision": NO_JUDGE}


def untested(claim: Claim) -> dict[str, Any]:
    """A row of which nothing is claimed: its figure, and no rule."""
    parts = [part | {"must": None, "bound": None, "p": None, "holds": False} for part in claim["parts"]]
    decision = NOT_MEASURED if claim["value"] is None else "a figure"
    return {"holds": False, "p": None, "parts": parts, "decision": decision}


def main(paths: Sequence[str]) -> None:
    if not paths:
        raise UserError(
            "usage: python -m synthalign.reporting.real_claims RUN [RUN …], one metrics folder or file per seed"
        )
    runs = run_record.together([Path(path) for path in paths])
    metrics = [run.metrics for run in runs]
    of = run_inputs.shared(paths, [run.inputs for run in runs])
    found = rows(metrics)
    if all(row["decision"] in (NOT_MEASURED, "a figure") for row in found):  # losses of a world's texts are figures
        raise UserError(
            f"{', '.join(paths)}: nothing in them is measured with people's data; set the keys `people`, "
            "`human_pairs` and `votes` of params.yaml (docs/judging.md), and run the stages again"
        )
    counts: dict[str, Any] = {}
    for row in found:
        counts[row["decision"]] = counts.get(row["decision"], 0) + 1
    says = ", ".join(f"{count} {decision}" for decision, count in sorted(counts.items()))
    says += f" over {len(runs)} seeds"
    if (seeds := seeds_of(RECORDED, of)) > len(runs):
        print(f"{RECORDED} stays as it is, of {seeds} seeds of the same models and files; here: {says}")
        return
    claims.write("real_claims", {"of": of, "claims": found}, says)


def seeds_of(file: Path, of: Mapping[str, Any]) -> int:
    """How many seeds a file of real claims has of these models and files; 0 where it is of others, or is not there."""
    recorded = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return max((row["seeds"] for row in recorded["claims"]), default=0) if recorded.get("of") == of else 0


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"real_claims: {error}", file=sys.stderr)
        raise SystemExit(1) from error
