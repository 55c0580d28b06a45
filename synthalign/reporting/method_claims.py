"""What the papers of the other methods claim, with this project's figures; `holds` is computed as in claims.py."""

from synthalign.core.statistics import Interval
from synthalign.reporting import ditto_claims, dpo_claims, feedback_claims
from synthalign.reporting.seeds import (
    EVEN,
    ORACLE_MARGIN,
    SCORE_MARGIN,
    SHARE_MARGIN,
    Claim,
    Figure,
    Seeds,
    above,
    below,
    level,
    not_worse,
    weakest_first,
)

LIKELIHOODS, FORGOTTEN = ("score_scorers", "likelihoods"), ("heldout_text", "loss_per_token")

LAST_STEP_SHARE = 0.25
"""The last step of Table 3, 282 to 1,836 tasks, brings 9 to 11% of the gain."""


def claims(seeds: Seeds) -> list[Claim]:
    """All of them."""
    return [
        *trainers(seeds),
        *contrast(seeds.first),
        *policies(seeds),
        *dpo_claims.claims(seeds),
        *feedback_claims.claims(seeds),
        *ditto_claims.claims(seeds),
        *instructions(seeds),
    ]


def contrast(seeds: Seeds) -> list[Claim]:
    """What is claimed of the labels of RLCD and RLAIF, and of RLAIF's revisions."""
    first, second = (seeds.figure("score_revisions", "gains", place) for place in (0, 1))
    return [
        *(
            seeds.claim(name, text, source, f"{pairs}: {kind}", above(seeds.figure("score_pairs", kind, figure), 0))
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
            "revisions",
            "Each of two revisions makes answers better in the oracle's eyes, the first one more",
            "Constitutional AI section 3.4",
            "metrics/score_revisions.json: gains",
            [
                above(first, 0, "by the first"),
                above(second, 0, "by the second"),
                above(seeds.figure("score_revisions", "first_over_second"), 0, "the first over the second"),
            ],
        ),
        seeds.claim(
            "rlcd_equal_affixes",
            "Without a difference between the two prompts the label means nothing: of pairs without a tie it is right "
            "as often as a coin",
            "RLCD section 3.2",
            "metrics/score_pairs.json: labels",
            level(seeds.figure("score_pairs", "labels", "rlcd_equal", "agreement"), EVEN, SHARE_MARGIN),
            margin=SHARE_MARGIN,
        ),
    ]


def instructions(seeds: Seeds) -> list[Claim]:
    """What is claimed of instruction tuning, of tasks that were not seen: the unit is the task."""
    return [
        *(
            seeds.claim(
                name,
                text,
                paper,
                "metrics/score_tasks.json: differences_over_tasks",
                weakest_first([above(over_tasks(seeds, one, part), 0, one.replace("_", " ")) for one in of])
                if len(of) > 1
                else above(over_tasks(seeds, of[0], part), 0),
            )
            for name, text, paper, part, of in [
                (
                    "flan_tuned_vs_base",
                    "Instruction tuning beats the base model on held-out tasks at every size; the smallest gain",
                    "FLAN Table 3",
                    "all",
                    ("small", "medium", "large"),
                ),
                (
                    "flan_size",
                    "A larger tuned model is better on held-out tasks, at every step; the smallest step",
                    "FLAN Figure 4",
                    "all",
                    ("medium_over_small", "large_over_medium"),
                ),
                (
                    "flan_more_tasks",
                    "Tuning on all tasks beats tuning on three of them",
                    "FLAN Table 3",
                    "all",
                    ("all_over_three",),
                ),
                (
                    "flan_direct_hurts_reasoning",
                    "Tuning on direct tasks alone makes tasks with reasoning worse than tuning on both",
                    "FLAN section 4.2",
                    "cot",
                    ("both_over_direct",),
                ),
                (
                    "flan_direct_below_base",
                    "Tuning on direct tasks alone makes tasks with reasoning worse than no tuning",
                    "FLAN section 4.2",
                    "cot",
                    ("base_over_direct",),
                ),
                (
                    "flan_reasoning_hurts_direct",
                    "Tuning on reasoning alone makes direct tasks worse than tuning on both",
                    "FLAN Table 3",
                    "direct",
                    ("both_over_cot",),
                ),
                (
                    "flan_reasoning_below_base",
                    "Tuning on reasoning alone makes direct tasks worse than no tuning",
                    "FLAN Table 3",
                    "direct",
                    ("base_over_cot",),
                ),
            ]
        ),
        *(
            seeds.claim(
                name,
                text,
                "FLAN section 4.2",
                "metrics/score_tasks.json: differences_over_tasks",
                not_worse(over_tasks(seeds, one, part), SCORE_MARGIN),
                margin=SCORE_MARGIN,
            )
            for name, text, part, one in [
                (
                    "flan_both_keeps_direct",
                    "Tuning on both is not worse on direct tasks than tuning on direct tasks alone",
                    "direct",
                    "both_over_direct",
                ),
                (
                    "flan_both_keeps_reasoning",
                    "Tuning on both is not worse on tasks with reasoning than tuning on reasoning alone",
                    "cot",
                    "both_over_cot",
                ),
            ]
        ),
        seeds.claim(
            "flan_saturates",
            "The last doubling of the number of tasks brings less than a quarter of the gain",
            "FLAN Table 3",
            "metrics/score_tasks.json: last_step_of_gain_over_tasks",
            below(seeds.figure("score_tasks", "last_step_of_gain_over_tasks"), LAST_STEP_SHARE),
        ),
    ]


def over_tasks(seeds: Seeds, name: str, part: str) -> Figure | None:
    """A difference on the held-out tasks of one kind."""
    return seeds.figure("score_tasks", "differences_over_tasks", name, part)


def policies(seeds: Seeds) -> list[Claim]:
    """What is claimed of the policies that learned from them."""
    differences = "compare_methods", "differences"
    control = level(seeds.figure("score_scorers", "rewards", "rlcd_equal", "accuracy"), EVEN, SHARE_MARGIN)
    harmless, helpful = (seeds.figure(*differences, "rlcd_rlaif", trait) for trait in ("harmless", "helpful"))
    return [
        seeds.claim(
            "rlcd_equal_reward",
            "A reward model of labels without a difference between the prompts is as often right as a coin",
            "RLCD section 3.2",
            "metrics/score_scorers.json: rewards",
            control,
            margin=SHARE_MARGIN,
        ),
    ] + [
        seeds.claim(name, text, paper, "metrics/compare_methods.json", parts)
        for paper, name, text, parts in [
            (
                "RLCD Table 2",
                "rlcd_vs_base",
                "The RLCD policy beats the base model",
                seeds.wins("compare_methods", "policies", "ppo_rlcd", "against", "base"),
            ),
            (
                "RLCD Table 2",
                "rlcd_vs_distillation",
                "The RLCD policy beats context distillation",
                seeds.wins(*differences, "rlcd_distillation", "wins"),
            ),
            (
                "RLCD Table 2",
                "rlcd_vs_rlaif",
                "The RLCD policy beats the RLAIF policy, both labelled by the small model",
                seeds.wins(*differences, "rlcd_rlaif", "wins"),
            ),
            (
                "RLCD Table 2",
                "rlcd_vs_rlaif_harmless",
                "The RLCD policy is more harmless than the RLAIF policy",
                [above(harmless, 0)],
            ),
            (
                "RLCD Table 2",
                "rlcd_vs_rlaif_helpful",
                "The RLCD policy is more helpful than the RLAIF policy",
                [above(helpful, 0)],
            ),
            (
                "RLCD Table 2",
                "rlcd_harmless",
                "RLCD and context distillation both make answers more harmless than the base model's",
                [
                    above(seeds.figure(*differences, "rlcd_base", "harmless"), 0, "RLCD"),
                    above(seeds.figure(*differences, "distillation_base", "harmless"), 0, "context distillation"),
                ],
            ),
            (
                "ALMoST Table 5",
                "plain_prompt",
                "Self-Play with Faithful demonstrations, and their answers distilled, beat a plain prompt's distilled",
                [
                    *seeds.wins(*differences, "selfplay_hhh", "wins"),
                    *seeds.wins(*differences, "faithful_hhh", "wins"),
                ],
            ),
        ]
    ]


def trainers(seeds: Seeds) -> list[Claim]:
    """What is claimed of RRHF, of PPO-ptx, and of DPO as a reward model."""
    snapshots, rewards = "metrics/score_snapshots.json", "metrics/score_scorers.json: likelihoods"
    rrhf, base, sft = (seeds.figure(*LIKELIHOODS, name, "accuracy") for name in ("rrhf", "base", "sft_rmsp"))
    implicit = seeds.figure("score_scorers", "implicit_rewards", "dpo", "accuracy")
    ptx, ppo = (seeds.figure(f"score_benchmarks/{name}", *FORGOTTEN) for name in ("ppo_ptx", "ppo"))

    def gain(trainer: str) -> Figure | None:
        return seeds.figure("score_snapshots", "trainers", trainer, "reward_gain")

    def true_gain(trainer: str) -> Figure | None:
        return seeds.figure("score_snapshots", "trainers", trainer, "oracle_gain")

    free = seeds.get("score_snapshots", "trainers", "rrhf_online", "flags") or []
    priced = seeds.get("score_snapshots", "trainers", "rrhf_online_kl", "flags")
    return [
        seeds.claim(
            "rrhf_near_best",
            "RRHF's reward is nearer to the best than to the mean (0 to 1) of the answers it learned from",
            "RRHF Table 4",
            "metrics/train_rrhf/offline.json",
            above(way_to_best(seeds), EVEN),
        ),
        seeds.claim(
            "rrhf_rank_loss",
            "RRHF with the rank loss reaches a higher reward than without it",
            "RRHF section 4.3",
            snapshots,
            above(seeds.figure("score_snapshots", "differences", "rank_loss", "reward"), 0),
        ),
        seeds.claim(
            "rrhf_mixed_sources",
            "RRHF with two answers of another model beside its own reaches a higher reward than with its own alone",
            "RRHF Table 4",
            snapshots,
            above(seeds.figure("score_snapshots", "differences", "mixed_sources", "reward"), 0),
        ),
        seeds.claim(
            "rrhf_second_round",
            "A second round of RRHF raises the reward",
            "RRHF Table 4",
            snapshots,
            above(seeds.figure("score_snapshots", "differences", "second_round", "reward"), 0),
        ),
        seeds.claim(
            "rrhf_online_hacks",
            "Online RRHF without a price on distance raises the reward, lowers the oracle's score, and is flagged as "
            "reward hacking",
            "RRHF section 4.3",
            snapshots,
            [above(gain("rrhf_online"), 0), below(true_gain("rrhf_online"), 0, "in the oracle's eyes")],
            also=("flagged under every seed", bool(free) and all(free)),
        ),
        seeds.claim(
            "rrhf_online_kl_sound",
            "Online RRHF with a price on distance raises the reward, the oracle's score is not worse, and nothing is "
            "flagged",
            "RRHF section 4.3",
            snapshots,
            [
                above(gain("rrhf_online_kl"), 0),
                above(true_gain("rrhf_online_kl"), -ORACLE_MARGIN.size, "in the oracle's eyes"),
            ],
            margin=ORACLE_MARGIN,
            also=("unflagged under every seed", priced is not None and not any(priced)),
        ),
        seeds.claim(
            "rrhf_as_reward_model",
            "How likely RRHF's policy finds an answer ranks pairs better than chance and than the base model",
            "RRHF Table 6",
            rewards,
            [above(rrhf, EVEN), above(rrhf.minus(base) if rrhf and base else None, 0, "minus the base model's")],
        ),
        seeds.claim(
            "dpo_implicit_reward",
            "DPO's implicit reward ranks pairs that it did not learn from better than chance, and than how likely per "
            "token the SFT policy that it started from finds an answer",
            "DPO section 5.1",
            "metrics/score_scorers.json: implicit_rewards",
            [above(implicit, EVEN), above(implicit.minus(sft) if implicit and sft else None, 0, "minus SFT's")],
        ),
        seeds.claim(
            "ptx_vs_sft",
            "PPO-ptx, with a loss on pre-training texts beside the reward, beats the SFT policy",
            "InstructGPT Figure 1",
            "metrics/compare_methods.json",
            seeds.wins("compare_methods", "policies", "ppo_ptx", "against", "sft_rmsp"),
        ),
        seeds.claim(
            "ptx_forgets_less",
            "PPO-ptx loses less on held-out text than PPO (loss per token, the difference)",
            "InstructGPT section 4.2",
            "metrics/score_benchmarks/ppo_ptx.json",
            below(ptx.minus(ppo) if ptx and ppo else None, 0),
        ),
    ]


def way_to_best(seeds: Seeds) -> Figure | None:
    """Where the reward of RRHF's answers lies between the mean, 0, and the best, 1, of the answers it learned from."""
    samples = seeds.get("train_rrhf/offline", "samples", "last_round")
    rewards = seeds.figure("score_snapshots", "trainers", "rrhf", "curve", -1, "reward")
    if samples is None or rewards is None:
        return None
    found = []
    for sample, reward in zip(samples, rewards.each, strict=True):
        mean, span = sample["mean"], sample["best"] - sample["mean"]
        value, low, high = (
            None if end is None else (end - mean) / span for end in (reward.value, reward.low, reward.high)
        )
        assert value is not None
        found.append(Interval(value, low, high, reward.n, reward.why))
    return Figure(tuple(found))
