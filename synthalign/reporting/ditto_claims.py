"""What is claimed of DITTO (Shaikh et al. 2024), with this project's figures; `holds` is computed as in claims.py.

metrics/ditto.json has its own seeds, each figure under each of them, and is the same in every folder of metrics.
"""

from itertools import pairwise

from synthalign.core.statistics import Interval
from synthalign.reporting.seeds import Claim, Figure, Part, Seeds, above, below, weakest_first

ORDER = ("ditto", "sft", "few_shot", "self_prompt", "zero_shot")
"""The methods of the user study, the best first (Table 2)."""

NAMES = {
    "ditto": "DITTO",
    "spin": "SPIN",
    "sft": "SFT",
    "few_shot": "few-shot",
    "self_prompt": "self-prompt",
    "zero_shot": "zero-shot",
}

STYLE, OF_TWO = "of the style of four fixed authors", "of the style of two fixed authors"
"""The unit is the held-out prompt, so nothing is said of other authors. Labels were asked of two."""


def claims(seeds: Seeds) -> list[Claim]:
    """All of them; not measured where the file is not there, or has no figures of single seeds."""
    count = (seeds.get("ditto", "seeds") or [0])[0]

    def figure(*path: str) -> Figure | None:
        found = seeds.get("ditto", *path, "each")
        return None if found is None else Figure(tuple(Interval.of(one) for one in found[0]))

    def minus(name: str, of: str = "") -> Part:
        return above(figure("differences", name), 0, of)

    ratio = seeds.figure("ditto", "variance_ratio_1_to_all_negatives")
    second = figure("differences", "second_minus_first_iteration")
    steps = [
        above(figure("order", f"{better}_over_{worse}"), 0, f"{NAMES[better]} over {NAMES[worse]}")
        for better, worse in pairwise(ORDER)
    ]
    rows: list[tuple[str, str, str, Part | list[Part]]] = [
        (
            "sft_vs_zero_shot",
            f"SFT on seven demonstrations has more {STYLE} than the base model",
            "Table 1",
            minus("sft_minus_zero_shot"),
        ),
        (
            "vs_sft",
            f"DITTO has more {STYLE} than the SFT model that it starts from",
            "Table 1",
            minus("ditto_minus_sft"),
        ),
        (
            "vs_baselines",
            f"DITTO has more {STYLE} than SPIN, few-shot and zero-shot; the smallest lead",
            "Table 1",
            weakest_first([minus(f"ditto_minus_{o}", f"over {NAMES[o]}") for o in ("spin", "few_shot", "zero_shot")]),
        ),
        (
            "order",
            f"DITTO has more {STYLE} than SFT, SFT than few-shot, few-shot than self-prompt, and self-prompt than "
            "zero-shot; the smallest step",
            "Table 2",
            weakest_first(steps),
        ),
        (
            "iterations",
            f"Four iterations of DITTO have more {STYLE} than one",
            "Figure 2",
            minus("last_minus_first_iteration"),
        ),
        (
            "second_iteration",
            f"Two iterations of DITTO have less {STYLE} than one (a dip)",
            "Figure 2",
            below(second, 0),
        ),
        (
            "demonstrations",
            f"From one demonstration to three DITTO gains more {STYLE} than from four to seven",
            "Figure 2",
            above(figure("demonstrations_gain", "early_minus_late"), 0),
        ),
        (
            "negatives",
            "With one sample a demonstration runs of four fixed authors vary more over seeds than with ten (ratio of "
            "variances)",
            "Figure 2",
            above(None if ratio is None else Figure(ratio.each[:1], count), 1),
        ),
        (
            "more_negatives",
            f"With ten samples a demonstration DITTO has more {STYLE} than with one",
            "Figure 2",
            minus("ditto_minus_negatives_1"),
        ),
        (
            "frozen_reference",
            f"A reference that is updated in every iteration has less {STYLE} than a frozen one",
            "Table 3",
            minus("ditto_minus_update_reference"),
        ),
        (
            "online_samples",
            f"Samples that are all drawn up front give less {STYLE} than those drawn online (most of it one author's)",
            "Table 3",
            minus("ditto_minus_up_front"),
        ),
        (
            "replay",
            f"Without pairs of earlier samples (replay) DITTO has less {STYLE}",
            "Table 3",
            minus("ditto_minus_no_replay"),
        ),
        (
            "inter",
            f"Without pairs of two samples (inter-model) DITTO has less {STYLE}",
            "Table 3",
            minus("ditto_minus_no_inter"),
        ),
        (
            "more_than_online",
            f"With pairs of the latest samples alone (online) DITTO has less {STYLE}",
            "section 3.3",
            minus("ditto_minus_online_only"),
        ),
        (
            "vs_labels_of_base",
            f"DITTO on four demonstrations has more {OF_TWO} than DPO on 500 labelled pairs of the base model's "
            "answers",
            "Figure 3",
            minus("ditto_4_minus_base"),
        ),
        (
            "vs_labels_of_tuned",
            f"DITTO on four demonstrations has more {OF_TWO} than DPO on 500 labelled pairs of the SFT model's answers",
            "Figure 3",
            minus("ditto_4_minus_tuned"),
        ),
    ]
    return [
        seeds.claim(f"ditto_{name}", text, f"DITTO {place}", "metrics/ditto.json", parts)
        for name, text, place, parts in rows
    ]
