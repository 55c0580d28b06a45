import copy
import json
import math
from pathlib import Path
from statistics import fmean

import pytest

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.reporting import claims, recorded, run_record

IDS = [
    "rule_of_thumb_order",
    "size_effect",
    "shots_effect",
    "demonstration_effect",
    "label_accuracy_raw",
    "label_accuracy_hf",
    "label_accuracy_hf_asis",
    "reward_accuracy_vs_gold",
    "reward_vs_longer",
    "filter_ablation",
    "filter_length",
    "rmsp_vs_selfplay",
    "best_of_n_oracle",
    "sft_vs_base",
    "ppo_vs_sft",
    "dpo_vs_sft",
    "small_vs_large",
    "rrhf_near_best",
    "rrhf_rank_loss",
    "rrhf_mixed_sources",
    "rrhf_second_round",
    "rrhf_online_hacks",
    "rrhf_online_kl_sound",
    "rrhf_as_reward_model",
    "dpo_implicit_reward",
    "ptx_vs_sft",
    "ptx_forgets_less",
    "rlcd_labels_vs_rlaif",
    "rlcd_gain_by_size",
    "rlcd_labels_vs_rescore",
    "order_averaging",
    "order_averaging_large",
    "rlcd_gap",
    "revisions",
    "rlcd_equal_affixes",
    "rlcd_equal_reward",
    "rlcd_vs_base",
    "rlcd_vs_distillation",
    "rlcd_vs_rlaif",
    "rlcd_vs_rlaif_harmless",
    "rlcd_vs_rlaif_helpful",
    "rlcd_harmless",
    "plain_prompt",
    "dpo_frontier",
    "dpo_frontier_oracle",
    "dpo_temperature",
    "dpo_vs_best_of_128",
    "dpo_vs_chosen",
    "reward_rankings",
    "reward_ratings",
    "reward_small",
    "reward_large",
    "iterated_rlaif_dpo",
    "iterated_rlaif_ppo",
    "ditto_sft_vs_zero_shot",
    "ditto_vs_sft",
    "ditto_vs_baselines",
    "ditto_order",
    "ditto_iterations",
    "ditto_second_iteration",
    "ditto_demonstrations",
    "ditto_negatives",
    "ditto_more_negatives",
    "ditto_frozen_reference",
    "ditto_online_samples",
    "ditto_replay",
    "ditto_inter",
    "ditto_more_than_online",
    "ditto_vs_labels_of_base",
    "ditto_vs_labels_of_tuned",
    "flan_tuned_vs_base",
    "flan_size",
    "flan_more_tasks",
    "flan_direct_hurts_reasoning",
    "flan_direct_below_base",
    "flan_reasoning_hurts_direct",
    "flan_reasoning_below_base",
    "flan_both_keeps_direct",
    "flan_both_keeps_reasoning",
    "flan_saturates",
]


def figure(value, half=0.05, n=400):
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def each(*values):
    """A figure of a file that has its own seeds: one under each."""
    return {"each": [figure(value) for value in values]}


def wins():
    return {"win_rate": figure(0.6), "length_controlled": figure(0.58)}


METRICS = {
    "score_comparisons": {
        "differences": {
            "a_b": figure(0.6), "b_c": figure(0.3), "c_d": figure(0.3), "d_e": figure(0.1), "a_e": figure(1.3),
            "size": figure(0.3), "shots": figure(0.1), "demonstrations": figure(0.7),
            "demonstrations_over_size": figure(0.4), "demonstrations_over_shots": figure(0.6),
        },
        "labels": {
            "no_filter": {"agreement": figure(0.68)},
            "heuristic": {"agreement": figure(0.75), "over_first": figure(0.07)},
            "almost": {"agreement": figure(0.85), "over_previous": figure(0.1)},
        },
    },
    "score_pairs": {
        "label_differences": {
            "rlcd_over_rlaif": figure(0.2), "small_over_large": figure(0.1), "rlcd_over_rescore": figure(0.2),
            "both_orders": figure(0.1), "both_orders_large": figure(0.1),
        },
        "gap_differences": {"rlcd_over_iid": figure(1.0)},
        "labels": {"rlcd_equal": {"agreement": figure(0.51, half=0.03)}},
    },
    "score_rewards": {
        "rewards": {
            "almost": {
                "ratio_to_upper_bound": figure(0.96), "minus_longer": figure(0.2), "minus_no_filter": figure(0.07)
            },
            "heuristic": {"correlation_with_length": figure(0.3)},
            "no_filter": {"correlation_with_length": figure(0.5)},
        },
    },
    "score_revisions": {"gains": [figure(0.8), figure(0.3)], "first_over_second": figure(0.5)},
    "score_scorers": {
        "rewards": {"rlcd_equal": {"accuracy": figure(0.49, half=0.03)}},
        "likelihoods": {"rrhf": {"accuracy": figure(0.7)}, "base": {"accuracy": figure(0.5)}}
        | {"sft_rmsp": {"accuracy": figure(0.6)}},
        "implicit_rewards": {"dpo": {"accuracy": figure(0.8)}},
    },
    "compare_methods": {
        "policies": {
            name: figure(1.0)
            | {"harmless": 0.5, "helpful": 0.25, "honest": 0.25, "tokens": 20.0}
            | {"against": {base: wins()}}
            for name, base in (("ppo_rlcd", "base"), ("ppo_ptx", "sft_rmsp"))
        },
        "differences": {
            "rlcd_distillation": {"wins": wins()},
            "rlcd_rlaif": {"wins": wins(), "harmless": figure(0.2), "helpful": figure(0.2)},
            "rlcd_base": {"harmless": figure(0.4)},
            "distillation_base": {"harmless": figure(0.3)},
            "selfplay_hhh": {"wins": wins()},
            "faithful_hhh": {"wins": wins()},
        },
    },
    "train_rrhf/offline": {"samples": {"last_round": {"mean": 1.0, "best": 2.0}}},
    "score_snapshots": {
        "trainers": {
            "rrhf": {"curve": [{"reward": figure(1.0)}, {"reward": figure(1.8)}]},
            "rrhf_online": {"reward_gain": figure(0.5), "oracle_gain": figure(-0.4), "flags": ["oracle"]},
            "rrhf_online_kl": {"reward_gain": figure(0.4), "oracle_gain": figure(0.0, half=0.1), "flags": []},
        },
        "differences": {
            name: {"reward": figure(0.1)} for name in ("rank_loss", "mixed_sources", "second_round")
        },
    },
    "score_benchmarks/ppo": {"heldout_text": {"loss_per_token": figure(0.8)}},
    "score_benchmarks/ppo_ptx": {"heldout_text": {"loss_per_token": figure(0.6)}},
    "score_candidates": {
        "gain": figure(0.7),
        "steps": [figure(0.5), figure(0.2)],
    },
    "judge_answers": {
        pair: {"oracle": wins()}
        for pair in ("sft_rmsp_vs_sft_selfplay", "sft_rmsp_vs_base", "ppo_vs_sft_rmsp", "dpo_vs_sft_rmsp",
                     "ppo_vs_large_hhh")
    },
    "dpo_frontier": {
        "seeds": 1,
        "frontier": {
            "shared": [{"kl": kl, "reward": [figure(0.01)], "oracle": [figure(0.0, half=0.1)]} for kl in (0.5, 1.0)]
        },
        "win_rates": {
            "drop": {"ppo_minus_dpo": [figure(0.1)]},
            "dpo_vs_best": [{"win_rate": figure(0.51, half=0.03), "length_controlled": figure(0.49, half=0.03)}],
            "dpo_vs_chosen": [wins()],
        },
    },
    "reward_losses": {
        "seeds": 1,
        "over_pairs": {
            **{name: each(0.06) for name in ("rankings", "large")},
            **{name: each(0.01) for name in ("ratings", "small")},
        },
    },
    "iterated_rlaif": {
        "seeds": 1,
        "methods": {
            name: [{key: each(value) for key in wins()} for value in (0.4, 0.6)]  # of rounds the last is claimed of
            for name in ("dpo", "ppo")
        },
    },
    "ditto": {
        "seeds": 2,
        "differences": {
            name: each(0.1, 0.11)
            for name in ("sft_minus_zero_shot", "ditto_minus_sft", "ditto_minus_spin", "ditto_minus_few_shot",
                         "ditto_minus_zero_shot", "last_minus_first_iteration", "ditto_minus_negatives_1",
                         "ditto_minus_update_reference", "ditto_minus_up_front", "ditto_minus_no_replay",
                         "ditto_minus_no_inter", "ditto_minus_online_only", "ditto_4_minus_base",
                         "ditto_4_minus_tuned")
        }
        | {"second_minus_first_iteration": each(-0.1, -0.11)},
        "order": {
            name: each(0.1, 0.11)
            for name in ("ditto_over_sft", "sft_over_few_shot", "few_shot_over_self_prompt",
                         "self_prompt_over_zero_shot")
        },
        "demonstrations_gain": {"early_minus_late": each(0.1, 0.11)},
        "variance_ratio_1_to_all_negatives": figure(3.0, half=1.5),
    },
    "score_tasks": {
        "differences_over_tasks": {
            name: {part: figure(0.2, n=8) for part in ("all", "direct", "cot")}
            for name in ("small", "medium", "large", "medium_over_small", "large_over_medium", "all_over_three",
                         "base_over_direct", "base_over_cot", "both_over_direct", "both_over_cot")
        },
        "last_step_of_gain_over_tasks": figure(0.1),
    },
}  # fmt: skip


def changed(path, value):
    metrics = copy.deepcopy(METRICS)
    at = metrics
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return metrics


def holds(*metrics):
    return {claim["id"]: claim["holds"] for claim in claims.claims(metrics)}


def test_there_is_one_claim_for_every_row_and_all_hold_where_all_figures_are_clear():
    found = claims.claims([METRICS])

    assert [claim["id"] for claim in found] == IDS
    assert {claim["id"] for claim in found if not claim["holds"]} == set()
    keys = ["id", "claim", "source", "value", "low", "high", "n", "seeds", "holds", "why", "p", "margin", "also"]
    assert all(list(claim) == [*keys, "parts", "p_holm", "holds_holm"] for claim in found)


# For each claim, the figure just beyond the rule
DIFFERENCES, LABELS = ("score_comparisons", "differences"), ("score_comparisons", "labels")
TRAINERS = ("score_snapshots", "trainers")
PAIRS, METHODS = ("score_pairs", "label_differences"), ("compare_methods", "differences")
REWARD, JUDGED = ("score_rewards", "rewards", "almost"), "judge_answers"
TASKS, DITTO = ("score_tasks", "differences_over_tasks"), ("ditto", "differences")
SPREAD = {"each": [figure(0.0), figure(0.2)]}  # .1 as before, but two seeds so far apart say nothing
BEST = ("dpo_frontier", "win_rates", "dpo_vs_best", 0)
BREAKS = [
    ("rule_of_thumb_order", (*DIFFERENCES, "c_d"), figure(0.05)),
    ("rule_of_thumb_order", (*DIFFERENCES, "a_b"), figure(0.04)),
    ("size_effect", (*DIFFERENCES, "size"), figure(0.05)),
    ("shots_effect", (*DIFFERENCES, "shots"), figure(0.04)),
    ("demonstration_effect", (*DIFFERENCES, "demonstrations"), figure(0.05)),
    ("demonstration_effect", (*DIFFERENCES, "demonstrations_over_size"), figure(0.05)),
    ("demonstration_effect", (*DIFFERENCES, "demonstrations_over_shots"), figure(0.04)),
    ("label_accuracy_raw", (*LABELS, "no_filter", "agreement"), figure(0.55)),
    ("label_accuracy_hf", (*LABELS, "heuristic", "over_first"), figure(0.04)),
    ("label_accuracy_hf_asis", (*LABELS, "almost", "over_previous"), figure(0.05)),
    ("reward_accuracy_vs_gold", (*REWARD, "ratio_to_upper_bound"), figure(0.92)),  # .87 is not above .9
    ("reward_vs_longer", (*REWARD, "minus_longer"), figure(0.04)),
    ("filter_ablation", (*REWARD, "minus_no_filter"), figure(-0.1)),
    ("filter_length", ("score_rewards", "rewards", "heuristic", "correlation_with_length"), figure(0.41)),
    ("rmsp_vs_selfplay", (JUDGED, "sft_rmsp_vs_sft_selfplay", "oracle", "win_rate"), figure(0.55)),
    ("rmsp_vs_selfplay", (JUDGED, "sft_rmsp_vs_sft_selfplay", "oracle", "length_controlled"), figure(0.518)),
    ("best_of_n_oracle", ("score_candidates", "gain"), figure(0.05)),
    ("best_of_n_oracle", ("score_candidates", "steps", 1), figure(0.05)),
    ("sft_vs_base", (JUDGED, "sft_rmsp_vs_base", "oracle", "win_rate"), figure(0.54)),
    ("ppo_vs_sft", (JUDGED, "ppo_vs_sft_rmsp", "oracle", "win_rate"), figure(0.54)),
    ("dpo_vs_sft", (JUDGED, "dpo_vs_sft_rmsp", "oracle", "win_rate"), figure(0.54)),
    ("small_vs_large", (JUDGED, "ppo_vs_large_hhh", "oracle", "win_rate"), figure(0.54)),
    ("rrhf_near_best", (*TRAINERS, "rrhf", "curve", 1, "reward"), figure(1.54)),  # (1.49 - 1) / (2 - 1) is below 1/2
    ("rrhf_rank_loss", ("score_snapshots", "differences", "rank_loss", "reward"), figure(0.04)),
    ("rrhf_mixed_sources", ("score_snapshots", "differences", "mixed_sources", "reward"), figure(0.04)),
    ("rrhf_second_round", ("score_snapshots", "differences", "second_round", "reward"), figure(0.04)),
    ("rrhf_online_hacks", (*TRAINERS, "rrhf_online", "reward_gain"), figure(0.04)),
    ("rrhf_online_hacks", (*TRAINERS, "rrhf_online", "oracle_gain"), figure(-0.04)),
    ("rrhf_online_hacks", (*TRAINERS, "rrhf_online", "flags"), []),
    ("rrhf_online_kl_sound", (*TRAINERS, "rrhf_online_kl", "reward_gain"), figure(0.04)),
    ("rrhf_online_kl_sound", (*TRAINERS, "rrhf_online_kl", "flags"), ["kl"]),
    ("rrhf_online_kl_sound", (*TRAINERS, "rrhf_online_kl", "oracle_gain"), figure(0.0, half=0.2)),  # wide
    ("rrhf_as_reward_model", ("score_scorers", "likelihoods", "rrhf", "accuracy"), figure(0.54)),
    ("rrhf_as_reward_model", ("score_scorers", "likelihoods", "base", "accuracy"), figure(0.61)),
    ("dpo_implicit_reward", ("score_scorers", "implicit_rewards", "dpo", "accuracy"), figure(0.54)),
    ("dpo_implicit_reward", ("score_scorers", "likelihoods", "sft_rmsp", "accuracy"), figure(0.71)),
    ("ptx_forgets_less", ("score_benchmarks/ppo_ptx", "heldout_text", "loss_per_token"), figure(0.71)),
    ("rlcd_labels_vs_rlaif", (*PAIRS, "rlcd_over_rlaif"), figure(0.05)),
    ("rlcd_gain_by_size", (*PAIRS, "small_over_large"), figure(0.05)),
    ("rlcd_labels_vs_rescore", (*PAIRS, "rlcd_over_rescore"), figure(0.05)),
    ("order_averaging", (*PAIRS, "both_orders"), figure(0.05)),
    ("order_averaging_large", (*PAIRS, "both_orders_large"), figure(0.05)),
    ("rlcd_gap", ("score_pairs", "gap_differences", "rlcd_over_iid"), figure(0.05)),
    ("rlcd_equal_affixes", ("score_pairs", "labels", "rlcd_equal", "agreement"), figure(0.53, half=0.03)),  # above .55
    ("rlcd_equal_affixes", ("score_pairs", "labels", "rlcd_equal", "agreement"), figure(0.5, half=0.2)),  # wide
    ("rlcd_equal_reward", ("score_scorers", "rewards", "rlcd_equal", "accuracy"), figure(0.47, half=0.03)),  # .44
    ("rlcd_harmless", (*METHODS, "rlcd_base", "harmless"), figure(0.04)),
    ("rlcd_harmless", (*METHODS, "distillation_base", "harmless"), figure(0.04)),
    ("plain_prompt", (*METHODS, "selfplay_hhh", "wins", "length_controlled"), figure(0.54)),
    ("plain_prompt", (*METHODS, "faithful_hhh", "wins", "win_rate"), figure(0.54)),
    ("ptx_vs_sft", ("compare_methods", "policies", "ppo_ptx", "against", "sft_rmsp", "win_rate"), figure(0.54)),
    ("rlcd_vs_base", ("compare_methods", "policies", "ppo_rlcd", "against", "base", "win_rate"), figure(0.54)),
    ("rlcd_vs_distillation", (*METHODS, "rlcd_distillation", "wins", "win_rate"), figure(0.54)),
    ("rlcd_vs_rlaif", (*METHODS, "rlcd_rlaif", "wins", "win_rate"), figure(0.54)),
    ("revisions", ("score_revisions", "gains", 0), figure(0.04)),
    ("revisions", ("score_revisions", "first_over_second"), figure(0.04)),
    ("revisions", ("score_revisions", "gains", 1), figure(0.04)),
    ("rlcd_vs_rlaif_harmless", (*METHODS, "rlcd_rlaif", "harmless"), figure(0.05)),
    ("rlcd_vs_rlaif_helpful", (*METHODS, "rlcd_rlaif", "helpful"), figure(0.05)),
    ("dpo_frontier", ("dpo_frontier", "frontier", "shared", 1, "reward"), [figure(-0.01)]),  # -.06 is below the margin
    ("dpo_frontier_oracle", ("dpo_frontier", "frontier", "shared", 0, "oracle"), [figure(-0.1, half=0.06)]),
    ("dpo_temperature", ("dpo_frontier", "win_rates", "drop", "ppo_minus_dpo"), [figure(0.04)]),
    ("dpo_vs_best_of_128", (*BEST, "win_rate"), figure(0.53, half=0.03)),  # .56 is above .55
    ("dpo_vs_best_of_128", (*BEST, "win_rate"), figure(0.5, half=0.06)),  # wide
    ("dpo_vs_best_of_128", (*BEST, "length_controlled"), figure(0.47, half=0.03)),
    ("dpo_vs_chosen", ("dpo_frontier", "win_rates", "dpo_vs_chosen", 0, "win_rate"), figure(0.54)),
    ("dpo_vs_chosen", ("dpo_frontier", "win_rates", "dpo_vs_chosen", 0, "length_controlled"), figure(0.54)),
    ("reward_rankings", ("reward_losses", "over_pairs", "rankings"), each(0.05)),
    ("reward_ratings", ("reward_losses", "over_pairs", "ratings"), each(0.0)),  # -.05 is the margin
    ("reward_small", ("reward_losses", "over_pairs", "small"), each(0.0)),
    ("reward_large", ("reward_losses", "over_pairs", "large"), each(0.05)),
    *(
        (f"iterated_rlaif_{name}", ("iterated_rlaif", "methods", name, -1, key), each(0.54))
        for name in ("dpo", "ppo")
        for key in ("win_rate", "length_controlled")
    ),
    ("ditto_sft_vs_zero_shot", (*DITTO, "sft_minus_zero_shot"), SPREAD),
    ("ditto_vs_sft", (*DITTO, "ditto_minus_sft"), SPREAD),
    ("ditto_vs_baselines", (*DITTO, "ditto_minus_spin"), SPREAD),
    ("ditto_vs_baselines", (*DITTO, "ditto_minus_zero_shot"), SPREAD),
    ("ditto_order", ("ditto", "order", "few_shot_over_self_prompt"), SPREAD),
    ("ditto_order", ("ditto", "order", "ditto_over_sft"), SPREAD),
    ("ditto_iterations", (*DITTO, "last_minus_first_iteration"), SPREAD),
    ("ditto_second_iteration", (*DITTO, "second_minus_first_iteration"), {"each": [figure(0.0), figure(-0.2)]}),
    ("ditto_demonstrations", ("ditto", "demonstrations_gain", "early_minus_late"), SPREAD),
    ("ditto_negatives", ("ditto", "variance_ratio_1_to_all_negatives"), figure(1.04)),
    ("ditto_more_negatives", (*DITTO, "ditto_minus_negatives_1"), SPREAD),
    ("ditto_frozen_reference", (*DITTO, "ditto_minus_update_reference"), SPREAD),
    ("ditto_online_samples", (*DITTO, "ditto_minus_up_front"), SPREAD),
    ("ditto_replay", (*DITTO, "ditto_minus_no_replay"), SPREAD),
    ("ditto_inter", (*DITTO, "ditto_minus_no_inter"), SPREAD),
    ("ditto_more_than_online", (*DITTO, "ditto_minus_online_only"), SPREAD),
    ("ditto_vs_labels_of_base", (*DITTO, "ditto_4_minus_base"), SPREAD),
    ("ditto_vs_labels_of_tuned", (*DITTO, "ditto_4_minus_tuned"), SPREAD),
    ("flan_tuned_vs_base", (*TASKS, "medium", "all"), figure(0.04)),
    ("flan_tuned_vs_base", (*TASKS, "large", "all"), figure(-0.3)),
    ("flan_size", (*TASKS, "large_over_medium", "all"), figure(0.05)),
    ("flan_more_tasks", (*TASKS, "all_over_three", "all"), figure(0.05)),
    ("flan_direct_hurts_reasoning", (*TASKS, "both_over_direct", "cot"), figure(0.05)),
    ("flan_direct_below_base", (*TASKS, "base_over_direct", "cot"), figure(0.05)),
    ("flan_reasoning_hurts_direct", (*TASKS, "both_over_cot", "direct"), figure(0.05)),
    ("flan_reasoning_below_base", (*TASKS, "base_over_cot", "direct"), figure(0.05)),
    ("flan_both_keeps_direct", (*TASKS, "both_over_direct", "direct"), figure(-0.01)),  # -.06 is below the margin
    ("flan_both_keeps_reasoning", (*TASKS, "both_over_cot", "cot"), figure(0.1, half=0.3)),  # wide
    ("flan_saturates", ("score_tasks", "last_step_of_gain_over_tasks"), figure(0.2)),
]


def test_every_claim_has_a_figure_that_breaks_it():
    assert {name for name, _, _ in BREAKS} == set(IDS)


@pytest.mark.parametrize("name, path, value", BREAKS)
def test_a_claim_falls_with_its_figure_and_no_other_does(name, path, value):
    assert {other for other, held in holds(changed(path, value)).items() if not held} == {name}


def found(name, *metrics):
    """The claim; without metrics, one that was not measured."""
    [claim] = [claim for claim in claims.claims(metrics or [{}]) if claim["id"] == name]
    return claim


def test_the_order_is_as_good_as_its_least_shown_step():
    order = found("rule_of_thumb_order", changed((*DIFFERENCES, "b_c"), figure(0.2, half=0.3)))

    assert (order["value"], order["low"], order["parts"][0]["of"]) == (0.2, pytest.approx(-0.1), "B over C")
    assert [part["holds"] for part in order["parts"]] == [False, True, True, True]
    assert order["p"] == max(part["p"] for part in order["parts"])  # of several, the least shown


def test_a_claim_that_something_is_level_or_not_worse_states_its_margin_and_why_it_is_that_large():
    with_margin = {claim["id"]: claim["margin"] for claim in claims.claims([METRICS]) if claim["margin"]}

    kept = {"flan_both_keeps_direct", "flan_both_keeps_reasoning"}
    of_dpo = {"dpo_frontier", "dpo_frontier_oracle", "dpo_vs_best_of_128"}
    others = {"rlcd_equal_affixes", "rlcd_equal_reward", "reward_ratings", "reward_small", "rrhf_online_kl_sound"}
    assert {*with_margin} == {*others, *kept, *of_dpo}
    for name in ("dpo_frontier_oracle", "rrhf_online_kl_sound"):
        assert with_margin.pop(name)["size"] == 0.15  # of points, not of a share
    assert all(margin["size"] == 0.05 and margin["why"] for margin in with_margin.values())
    assert [(part["must"], part["bound"]) for part in found("rlcd_equal_affixes", METRICS)["parts"]] == [
        ("above", 0.5 - 0.05),
        ("below", 0.5 + 0.05),
    ]


def test_a_win_that_is_one_of_length_says_which_figure_does_not_hold():
    fair = (JUDGED, "sft_rmsp_vs_sft_selfplay", "oracle", "length_controlled")
    rmsp = found("rmsp_vs_selfplay", changed(fair, figure(0.518)))

    assert [(part["of"], part["value"], part["holds"]) for part in rmsp["parts"]] == [
        ("", 0.6, True),
        ("at equal lengths", 0.518, False),
    ]
    assert not rmsp["holds"]
    assert len(found("rmsp_vs_selfplay", changed(fair, None))["parts"]) == 1  # all of one length: nothing to control


def test_a_win_that_one_seed_alone_has_not_at_equal_lengths_is_not_measured():
    without = changed((JUDGED, "sft_rmsp_vs_sft_selfplay", "oracle", "length_controlled"), None)

    rmsp = found("rmsp_vs_selfplay", METRICS, without)

    assert [(part["of"], part["why"]) for part in rmsp["parts"]] == [("", None), ("at equal lengths", "not measured")]
    assert not rmsp["holds"] and rmsp["why"] == "not measured"


def test_a_file_without_flags_does_not_say_that_nothing_is_flagged():
    assert not holds(changed((*TRAINERS, "rrhf_online_kl", "flags"), None))["rrhf_online_kl_sound"]


def test_an_experiment_of_other_settings_is_not_measured_and_one_of_another_seed_is(tmp_path):
    of = recorded.of_settings(
        {"train_ditto": {"beta": 0.05, "seed": 3, "sft": {"seed": 1, "steps": 9}}}, ["train_ditto"]
    )
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/ditto.json").write_text(json.dumps({"seeds": 5, "of_settings": of}))
    params = tmp_path / "params.yaml"

    params.write_text("train_ditto: {beta: 0.05, seed: 4, sft: {steps: 9, seed: 2}}")
    assert "ditto" in run_record.metrics_in(tmp_path / "metrics")
    params.write_text("train_ditto: {beta: 0.1, seed: 3, sft: {steps: 9, seed: 1}}")
    assert "ditto" not in run_record.metrics_in(tmp_path / "metrics")
    params.write_text("train_sft: {}")
    assert "ditto" not in run_record.metrics_in(tmp_path / "metrics")


def test_a_claim_of_ditto_is_decided_from_its_own_seeds_whatever_their_sum_says():
    # .1 with a half width of .05 would do; but the means of two seeds are .1 apart: t(1) = 12.7 times .05
    apart = {**figure(0.1), "each": [figure(0.05), figure(0.15)]}
    order = found("ditto_order", changed(("ditto", "order", "sft_over_few_shot"), apart))

    assert (order["value"], order["seeds"], order["parts"][0]["of"]) == (0.1, 2, "SFT over few-shot")
    assert order["low"] == pytest.approx(0.1 - math.hypot(0.05, 12.706 * 0.05), abs=1e-3)
    assert [part["holds"] for part in order["parts"]] == [False, True, True, True]


def test_a_file_without_figures_of_single_seeds_has_measured_nothing_that_is_claimed_of_seeds():
    before = {"seeds": 3, "differences": {"ditto_minus_sft": figure(0.3)}}

    ditto = [claim for claim in claims.claims([METRICS | {"ditto": before}]) if claim["id"].startswith("ditto_")]

    assert len(ditto) == 16 and {claim["why"] for claim in ditto} == {"not measured"}


def test_three_tasks_are_too_few_and_the_claim_says_so():
    reasoning = found("flan_direct_hurts_reasoning", changed((*TASKS, "both_over_direct", "cot"), TOO_FEW_TASKS))

    assert (reasoning["value"], reasoning["low"], reasoning["n"]) == (0.6, None, 3)
    assert (reasoning["holds"], reasoning["why"], reasoning["p"]) == (False, "too few", None)
    assert (reasoning["p_holm"], reasoning["holds_holm"]) == (None, False)


TOO_FEW_TASKS = {"value": 0.6, "low": None, "high": None, "n": 3, "why": "too few"}


def test_a_part_that_fails_decides_whatever_is_not_known_of_the_others():
    steps = ("score_candidates", "steps")
    unknown, fails = found("best_of_n_oracle", changed(steps, None)), changed(steps, None)
    fails["score_candidates"]["gain"] = figure(0.04)

    assert (unknown["why"], unknown["p"], unknown["holds"]) == ("not measured", None, False)
    assert (found("best_of_n_oracle", fails)["why"], found("best_of_n_oracle", fails)["p"]) == (
        None,
        pytest.approx(0.117, abs=1e-3),
    )


def test_what_holds_by_itself_may_not_hold_among_all():
    # .06 [.001, .119] has p = .046, and .4 [.35, .45] far below .05 / 57
    weak = changed((*DIFFERENCES, "size"), figure(0.06, half=0.059))
    by_id = {claim["id"]: claim for claim in claims.claims([weak])}

    assert by_id["size_effect"]["p"] == pytest.approx(0.0462, abs=1e-3)
    assert (by_id["size_effect"]["holds"], by_id["size_effect"]["holds_holm"]) == (True, False)
    assert by_id["demonstration_effect"]["holds_holm"]
    smallest = min(by_id.values(), key=lambda claim: claim["p"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, len(IDS) * smallest["p"]))


def test_a_figure_on_the_wrong_side_counts_as_no_evidence_at_all():
    assert found("size_effect", changed((*DIFFERENCES, "size"), figure(-0.3)))["p"] == 1.0


def test_every_seeds_own_figure_stands_in_the_claim():
    other = changed(("score_snapshots", "differences", "rank_loss", "reward"), figure(0.5))

    assert [one["value"] for one in found("rrhf_rank_loss", METRICS, other)["parts"][0]["each"]] == [0.1, 0.5]


def test_what_no_seed_changes_is_a_claim_of_one_run():
    same = found("size_effect", METRICS, METRICS, METRICS, METRICS)

    assert (same["seeds"], same["parts"][0]["each"]) == (1, [figure(0.3)])
    assert same == found("size_effect", METRICS)


def test_a_run_that_is_there_twice_counts_once_in_the_interval_the_p_value_and_the_seeds():
    win_rate = (JUDGED, "ppo_vs_sft_rmsp", "oracle", "win_rate")
    one, other = (changed(win_rate, figure(value)) for value in (0.55, 0.65))

    twice, once = found("ppo_vs_sft", one, one, other, other), found("ppo_vs_sft", one, other)

    low = 0.6 - math.hypot(0.05, 12.7062 * 0.05)  # two means .1 apart, by Student's t with 1 degree of freedom
    assert (twice["value"], twice["low"]) == pytest.approx((0.6, low), abs=1e-4)
    assert twice == once and twice["parts"][0]["seeds"] == 2


def test_a_number_that_an_older_run_kept_without_an_interval_is_not_measured():
    older = changed(("score_rewards", "rewards", "heuristic", "correlation_with_length"), 0.806)

    assert found("filter_length", older)["value"] is None
    assert found("filter_length", METRICS)["holds"]


def test_two_runs_that_come_to_one_share_without_an_interval_are_two():
    runs = [changed((*METHODS, "rlcd_rlaif", "wins", "win_rate"), figure(won)) for won in (0.6, 0.5, 0.7)]
    for run, share in zip(runs, (0.2, 0.4, 0.4), strict=True):
        shown = {"value": share, "low": None, "high": None, "n": 1, "why": "too few"}
        run["compare_methods"]["differences"]["rlcd_rlaif"]["harmless"] = shown

    harmless = found("rlcd_vs_rlaif_harmless", *runs, runs[-1])  # and one of them twice

    assert (harmless["value"], harmless["seeds"], harmless["why"]) == (pytest.approx(1 / 3), 3, "too few")


def test_a_claim_is_of_as_many_runs_as_the_part_that_has_the_fewest():
    other = changed(("score_scorers", "likelihoods", "base", "accuracy"), figure(0.52))

    rrhf = found("rrhf_as_reward_model", METRICS, other)  # alone, and minus the base model's

    assert ([part["seeds"] for part in rrhf["parts"]], rrhf["seeds"]) == ([1, 2], 1)


def test_what_comes_before_all_training_is_of_the_first_seed_whatever_the_others_made_of_it():
    rounded = changed(("score_pairs", "label_differences", "rlcd_over_rlaif"), figure(0.1501))

    assert found("rlcd_labels_vs_rlaif", METRICS, rounded) == found("rlcd_labels_vs_rlaif", METRICS)


def test_a_difference_to_what_no_seed_changes_is_of_as_many_runs_as_the_rest():
    other = changed(("score_scorers", "likelihoods", "rrhf", "accuracy"), figure(0.72))

    rrhf = found("rrhf_as_reward_model", METRICS, other)  # the base model's .5 is the same under both seeds

    assert [one["value"] for one in rrhf["parts"][1]["each"]] == [pytest.approx(0.2), pytest.approx(0.22)]
    assert rrhf["seeds"] == 2


def test_the_number_of_authors_in_a_claim_of_ditto_is_that_of_its_file():
    of = json.loads(Path("metrics/ditto.json").read_text(encoding="utf-8"))
    count = {2: "two", 4: "four"}

    for claim in claims.claims([METRICS]):
        if claim["id"].startswith("ditto_"):
            authors = of["labels"]["authors"] if "_vs_labels_" in claim["id"] else of["authors"]
            assert f"{count[len(authors)]} fixed authors" in claim["claim"]
    gains = [fmean(of["variants"]["ditto"]["by_author"][name]) - fmean(up_front)
             for name, up_front in of["variants"]["up_front"]["by_author"].items()]  # fmt: skip
    assert max(gains) > sum(gains) / 2  # most of it one author's
    assert "most of it one author's" in found("ditto_online_samples", METRICS)["claim"]


def test_a_claim_names_the_models_that_it_was_measured_on():
    settings = yaml_file.load(Path("params.yaml").read_text(encoding="utf-8"))
    compared, models = settings["score_comparisons"]["differences"], settings["sample_responses"]["configurations"]

    def sizes(name):
        return {models[one]["model"].removeprefix("models/base/") for one in compared[name]}

    assert sizes("demonstrations") == {"large"} and "For the large model" in found("demonstration_effect")["claim"]
    assert sizes("shots") == {"small"} and "for the small model" in found("shots_effect")["claim"]
    assert settings["train_sft"]["model"] == "models/base/medium"
    assert "aligned medium model" in found("small_vs_large")["claim"]


def test_a_claim_about_all_kl_points_says_how_many_there_are():
    points = json.loads(Path("metrics/dpo_frontier.json").read_text(encoding="utf-8"))["frontier"]["shared"]

    assert len(points) == 4
    assert all("at four KL points" in found(name)["claim"] for name in ("dpo_frontier", "dpo_frontier_oracle"))


def test_what_was_not_measured_has_no_value_and_does_not_hold():
    found = claims.claims([{}])

    assert [claim["id"] for claim in found] == IDS
    assert all((claim["value"], claim["n"], claim["holds"]) == (None, 0, False) for claim in found)


def test_a_figure_that_one_seed_lacks_is_not_measured():
    lacking = changed(("score_snapshots", "differences", "rank_loss", "reward"), None)

    assert not holds(METRICS, lacking)["rrhf_rank_loss"]


def test_ditto_has_seeds_of_its_own_and_more_folders_with_the_same_file_do_not_narrow_its_interval():
    def ditto(*metrics):
        return [claim for claim in claims.claims(metrics) if claim["id"] == "ditto_vs_sft"]

    assert ditto(METRICS, METRICS) == ditto(METRICS)  # one run twice
    low = 0.105 - math.hypot(0.05, 12.706 * 0.005)  # of .1 and .11, by Student's t with 1 degree of freedom
    assert (ditto(METRICS)[0]["seeds"], ditto(METRICS)[0]["low"]) == (2, pytest.approx(low, abs=1e-5))
    assert ditto({})[0]["seeds"] == 0


def test_seeds_that_disagree_widen_the_interval():
    win_rate = (JUDGED, "ppo_vs_sft_rmsp", "oracle", "win_rate")
    seeds = [changed(win_rate, figure(value)) for value in (0.55, 0.6, 0.65)]

    [ppo] = [claim for claim in claims.claims(seeds) if claim["id"] == "ppo_vs_sft"]

    half = math.sqrt(0.05**2 + 4.30265**2 * 0.05**2 / 3)
    assert (ppo["value"], ppo["low"], ppo["high"]) == pytest.approx((0.6, 0.6 - half, 0.6 + half), abs=1e-6)
    assert (ppo["parts"][0]["seeds"], ppo["holds"]) == (3, False)  # 0.6 - 0.134 is not above 1/2


def test_the_command_writes_a_list_from_the_folders_of_the_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, folder in enumerate(("", "other")):
        for name, values in METRICS.items():
            file = tmp_path / folder / "metrics" / f"{name}.json"
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(json.dumps(values))
        (tmp_path / folder / "params.yaml").write_text(f"mine: {{target: 48, seed: {seed}}}")
    (tmp_path / "metrics/plots").mkdir()
    (tmp_path / "metrics/plots/curve.json").write_text("[]")

    claims.main(["metrics", "other/metrics"])

    written = json.loads((tmp_path / "metrics/claims.json").read_text())
    assert written == claims.claims([METRICS, METRICS])
    assert list(json.loads((tmp_path / "metrics/methods.json").read_text())) == ["ppo_rlcd", "ppo_ptx"]
    assert run_record.metrics_in(tmp_path / "metrics") == METRICS  # what is written is no metrics of a run
    of = json.loads((tmp_path / "metrics/recorded.json").read_text())
    assert of["seeds"] == 2
    assert list(of["figures"]) == [claim["id"] for claim in claims.claims([METRICS])]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such metrics folder"):
        claims.main([str(tmp_path / "nowhere")])
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="broken.json: not JSON"):
        run_record.metrics_in(tmp_path)


def test_the_frontier_is_as_good_as_at_its_worst_kl_and_all_its_seeds_count():
    of_seeds = [figure(value, half=0.02) for value in (0.01, 0.02, 0.03, 0.04, 0.05)]
    metrics = changed(("dpo_frontier", "frontier", "shared", 1, "reward"), of_seeds)
    metrics["dpo_frontier"]["frontier"]["shared"][0]["reward"] = [figure(0.0025 * place) for place in range(5)]

    claim = found("dpo_frontier", metrics, metrics)  # the file is the same in the folder of every seed of `make claims`

    assert (claim["seeds"], claim["holds"]) == (5, True)
    assert [(part["of"], part["value"], part["bound"]) for part in claim["parts"]] == [
        ("at 0.50 nats", pytest.approx(0.005), -0.05),
        ("at 1.00 nats", pytest.approx(0.03), -0.05),
    ]
    assert len(claim["parts"][1]["each"]) == 5
