"""What the papers of the other methods claim, with this project's figures; `holds` is computed as in claims.py."""

from collections.abc import Sequence

from synthalign.core.statistics import Interval, combine_seeds
from synthalign.reporting.seeds import EVEN, Claim, Seeds, above

LIKELIHOODS, FORGOTTEN = ("score_scorers", "likelihoods"), ("heldout_text", "loss_per_token")

LAST_STEP_SHARE = 0.25
"""The last step of Table 3, 282 to 1,836 tasks, brings 9 to 11% of the gain."""


def claims(seeds: Seeds) -> list[Claim]:
    """All of them."""
    return [*trainers(seeds), *contrast(seeds), *policies(seeds), *ditto(seeds), *instructions(seeds)]


def contrast(seeds: Seeds) -> list[Claim]:
    """What is claimed of the labels of RLCD and RLAIF."""
    return [
        *(
            seeds.claim(name, text, source, seeds.interval("score_pairs", kind, figure), f"{pairs}: {kind}", above(0))
            for pairs in ["metrics/score_pairs.json"]
            for name, text, source, kind, figure in [
                (
                    "rlcd_labels_vs_rlaif",
                    "Labels by contrast are right more often than a small labeller's",
                    "RLCD Table 36",
                    "label_differences",
                    "rlcd_over_rlaif",
                ),
                (
                    "rlcd_gain_by_size",
                    "The gain of contrast over a labeller is greater for the small simulating model than for the large",
                    "RLCD Table 36",
                    "label_differences",
                    "small_over_large",
                ),
                (
                    "rlcd_labels_vs_rescore",
                    "On the same contrasting answers too, the contrast labels better than the small labeller",
                    "RLCD section 5.2",
                    "label_differences",
                    "rlcd_over_rescore",
                ),
                (
                    "order_averaging",
                    "A small labeller that sees both orders is right more often than one that sees one",
                    "RLAIF section 2.1",
                    "label_differences",
                    "both_orders",
                ),
                (
                    "order_averaging_large",
                    "A large labeller that sees both orders is right more often than one that sees one",
                    "RLAIF section 2.1",
                    "label_differences",
                    "both_orders_large",
                ),
                (
                    "rlcd_gap",
                    "Contrasting answers lie further apart than two samples of one prompt",
                    "RLCD section 3.2",
                    "gap_differences",
                    "rlcd_over_iid",
                ),
            ]
        ),
        seeds.claim(
            "rlcd_equal_affixes",
            "Without a difference between the two prompts the label means nothing",
            "RLCD section 3.2",
            seeds.interval("score_pairs", "labels", "rlcd_equal", "agreement"),
            "metrics/score_pairs.json: labels",
            lambda right: right.low <= EVEN <= right.high,
        ),
    ]


def instructions(seeds: Seeds) -> list[Claim]:
    """What is claimed of instruction tuning; of several differences it is the one whose interval lies lowest."""
    return [
        *(
            seeds.claim(name, text, paper, smallest_of(seeds, part, of), "metrics/score_tasks.json: differences", rule)
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
        seeds.claim(
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


def ditto(seeds: Seeds) -> list[Claim]:
    """What is claimed of DITTO."""
    return [
        *(  # The file has seeds of its own, and is the same in every folder of metrics.
            seeds.claim(
                f"ditto_{name}", text, f"DITTO {place}", seeds.interval("ditto", *path), "metrics/ditto.json", rule
            )
            | {"seeds": (seeds.get("ditto", "seeds") or [0])[0]}
            for name, text, place, path, rule in [
                (
                    "sft_vs_zero_shot",
                    "SFT on seven demonstrations has more of the author's style than the base model",
                    "Table 1",
                    ("differences", "sft_minus_zero_shot"),
                    above(0),
                ),
                (
                    "vs_sft",
                    "DITTO has more of the author's style than the SFT model that it starts from",
                    "Table 1",
                    ("differences", "ditto_minus_sft"),
                    above(0),
                ),
                (
                    "iterations",
                    "Four iterations of DITTO have more of the author's style than one",
                    "Figure 2",
                    ("differences", "last_minus_first_iteration"),
                    above(0),
                ),
                (
                    "frozen_reference",
                    "A reference that is updated in every iteration has less of the author's style than a frozen one",
                    "Table 3",
                    ("differences", "ditto_minus_update_reference"),
                    above(0),
                ),
                (
                    "online_samples",
                    "Samples that are all drawn up front give less of the author's style than those drawn online",
                    "Table 3",
                    ("differences", "ditto_minus_up_front"),
                    above(0),
                ),
                (
                    "negatives",
                    "With one sample a demonstration runs vary more over seeds than with ten (ratio of variances)",
                    "Figure 3",
                    ("variance_ratio_1_to_all_negatives",),
                    above(1),
                ),
            ]
        ),
    ]


def policies(seeds: Seeds) -> list[Claim]:
    """What is claimed of the policies that learned from them."""
    beats_base = "compare_methods", "policies", "ppo_rlcd", "against", "base", "win_rate"
    against = "compare_methods", "differences"
    return [
        seeds.claim(name, text, "RLCD Table 2", seeds.interval(*path), "metrics/compare_methods.json", above(bound))
        for name, text, path, bound in [
            ("rlcd_vs_base", "The RLCD policy beats the base model", beats_base, EVEN),
            (
                "rlcd_vs_distillation",
                "The RLCD policy beats context distillation",
                (*against, "rlcd_distillation", "wins", "win_rate"),
                EVEN,
            ),
            (
                "rlcd_vs_rlaif",
                "The RLCD policy beats the RLAIF policy, both labelled by the small model",
                (*against, "rlcd_rlaif", "wins", "win_rate"),
                EVEN,
            ),
            (
                "rlcd_vs_rlaif_harmless",
                "The RLCD policy is more harmless than the RLAIF policy",
                (*against, "rlcd_rlaif", "harmless"),
                0,
            ),
            (
                "rlcd_vs_rlaif_helpful",
                "The RLCD policy is more helpful than the RLAIF policy",
                (*against, "rlcd_rlaif", "helpful"),
                0,
            ),
        ]
    ]


def trainers(seeds: Seeds) -> list[Claim]:
    """What is claimed of RRHF and of PPO-ptx."""
    snapshots, rewards = "metrics/score_snapshots.json", "metrics/score_scorers.json: likelihoods"
    base, ppo = seeds.interval(*LIKELIHOODS, "base", "accuracy"), seeds.interval("score_benchmarks/ppo", *FORGOTTEN)
    free, priced = (
        seeds.get("score_snapshots", "trainers", name, "flags") or [] for name in ("rrhf_online", "rrhf_online_kl")
    )
    return [
        seeds.claim(
            "rrhf_near_best",
            "RRHF's reward is nearer to the best than to the mean (0 to 1) of the answers it learned from",
            "RRHF Table 4",
            way_to_best(seeds),
            "metrics/train_rrhf/offline.json",
            above(EVEN),
        ),
        seeds.claim(
            "rrhf_rank_loss",
            "RRHF with the rank loss reaches a higher reward than without it",
            "RRHF section 4.3",
            seeds.interval("score_snapshots", "differences", "rank_loss", "reward"),
            snapshots,
            above(0),
        ),
        seeds.claim(
            "rrhf_second_round",
            "A second round of RRHF raises the reward",
            "RRHF Table 4",
            seeds.interval("score_snapshots", "differences", "second_round", "reward"),
            snapshots,
            above(0),
        ),
        seeds.claim(
            "rrhf_online_hacks",
            "Online RRHF without a price on distance raises the reward and is flagged as reward hacking",
            "RRHF section 4.3",
            seeds.interval("score_snapshots", "trainers", "rrhf_online", "reward_gain"),
            snapshots,
            lambda gain: gain.low > 0 and all(free),
        ),
        seeds.claim(
            "rrhf_online_kl_sound",
            "Online RRHF with a price on distance raises the reward and is not flagged",
            "RRHF section 4.3",
            seeds.interval("score_snapshots", "trainers", "rrhf_online_kl", "reward_gain"),
            snapshots,
            lambda gain: gain.low > 0 and not any(priced),
        ),
        seeds.claim(
            "rrhf_as_reward_model",
            "How likely RRHF's policy finds an answer ranks pairs better than chance and than the base model",
            "RRHF Table 6",
            seeds.interval(*LIKELIHOODS, "rrhf", "accuracy"),
            rewards,
            lambda right: right.low > EVEN and base is not None and right.low > base.high,
        ),
        seeds.claim(
            "ptx_vs_sft",
            "PPO-ptx, with a loss on pre-training texts beside the reward, beats the SFT policy",
            "InstructGPT Figure 1",
            seeds.interval("compare_methods", "policies", "ppo_ptx", "against", "sft_rmsp", "win_rate"),
            "metrics/compare_methods.json",
            above(EVEN),
        ),
        seeds.claim(
            "ptx_forgets_less",
            "PPO-ptx loses less on held-out text than PPO (loss per token)",
            "InstructGPT section 4.2",
            seeds.interval("score_benchmarks/ppo_ptx", *FORGOTTEN),
            "metrics/score_benchmarks/ppo_ptx.json",
            lambda loss: ppo is not None and loss.high < ppo.low,
        ),
    ]


def way_to_best(seeds: Seeds) -> Interval | None:
    """Where the reward of RRHF's answers lies between the mean, 0, and the best, 1, of the answers it learned from."""
    samples = seeds.get("train_rrhf/offline", "samples", "last_round")
    curves = seeds.get("score_snapshots", "trainers", "rrhf", "curve")
    if samples is None or curves is None:
        return None
    found = []
    for sample, curve in zip(samples, curves, strict=True):
        reward, mean, span = curve[-1]["reward"], sample["mean"], sample["best"] - sample["mean"]
        value, low, high = ((reward[end] - mean) / span for end in ("value", "low", "high"))
        found.append(Interval(value, low, high, reward["n"]))
    return combine_seeds(found)
