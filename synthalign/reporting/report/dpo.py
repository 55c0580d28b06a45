"""DPO's two experiments, from metrics/dpo_frontier.json: reward against KL, and win rates against temperature."""

from collections.abc import Mapping, Sequence
from typing import Any

from synthalign.core.statistics import Interval, combine_seeds
from synthalign.reporting.report import charts
from synthalign.reporting.report.charts import Series
from synthalign.reporting.report.parts import Block, Cell, Figure, Folded, Section, Table, count, figure, number, word
from synthalign.reporting.report.run import Run

POLICIES = {"dpo": "DPO", "ppo": "PPO", "sft": "SFT"}
"""In the order of their styles in the charts."""

BEST = len(POLICIES)
"""The style of the best of N."""


def sections(run: Run) -> list[Section]:
    """Both experiments, where they are recorded; they are of the run whose comparisons DPO learned from."""
    found = run.metrics.get("dpo_frontier")
    if not found:
        return []
    title, anchor = "DPO beside PPO", "dpo"
    if found["comparisons"] != run.metrics.get("sample_preferences"):
        return [
            Section(
                title,
                anchor,
                ["What is recorded was measured on other comparisons than this run's; `make dpo-frontier` repeats it."],
            )
        ]
    return [Section(title, anchor, [PAPER], [frontier(found), temperatures(found)])]


PAPER = (
    "Rafailov et al. 2023, Direct Preference Optimization (arXiv 2305.18290), section 6. Models, questions and judges "
    "are others than there, so what is compared is the direction of an effect, not its size."
)


def together(each: Sequence[Mapping[str, Any]]) -> Interval:
    """A figure of every seed, put together."""
    return combine_seeds([Interval.of(one) for one in each])


def line(x: Sequence[float], found: Sequence[Interval], style: int) -> Series:
    """A line with its intervals."""
    return Series(x, [one.value for one in found], style, [one.low for one in found], [one.high for one in found])


# -- the frontier -----------------------------------------------------------------------------------------------------


def frontier(found: Mapping[str, Any]) -> Section:
    """What DPO and PPO buy for a nat, and the difference at equal KL."""
    settings, measured = found["settings"], found["frontier"]
    methods = list(measured["curves"])
    drawn = [
        charts.lines(
            [
                *(
                    line([point["kl"] for point in curve], [together(point[name]) for point in curve], style)
                    for style, curve in enumerate(measured["curves"].values())
                ),
                *(
                    Series(
                        [together(point["kl"]).value for point in points],
                        [together(point[name]).value for point in points],
                        methods.index(method),
                        cloud=True,
                    )
                    for method, points in measured["points"].items()
                ),
            ],
            title=title, x="KL to the start, nats per answer", y=y, whole_x=False,
        )
        for name, title, y in (("reward", "Reward", "reward, deviations"), ("oracle", "Oracle", "oracle points"))
    ]  # fmt: skip
    rows = [
        [
            number(point["kl"]),
            *(cell for name in ("reward", "oracle") for cell in figure(together(point[name]))),
            *(number(together(point[f"kl_of_{method}"]).value) for method in methods),
            count(point["reward"][0]["n"]),
        ]
        for point in measured["shared"]
    ]
    policies = [
        [word(POLICIES[method]), number(point["price"], 2), word("own" if point["own"] else "sweep"),
         count(point["step"]), *(number(together(point[name]).value) for name in ("kl", "reward", "oracle"))]
        for method, points in measured["points"].items()
        for point in points
    ]  # fmt: skip
    seeds = f"{found['seeds']} seeds"
    blocks: list[Block] = [
        f"DPO at {len(settings['betas'])} values of β and PPO at {len(settings['kl_coefficients'])} KL coefficients "
        f"start from {settings['policy']}; the reward is that of {settings['reward']}, which labelled DPO's pairs and "
        "which PPO climbs. A line is what a method reaches at a KL of at most so much, by one of its policies or a "
        "mixture of two: chosen on one half of the questions by reward, measured on the other.",
        Figure(
            f"Reward and oracle points against KL. Small marks are single policies, means over {seeds}; lines are "
            f"frontiers, bars 95% intervals over questions and {seeds}. Both methods meet the same questions, so their "
            "difference, in the table, is known better than either.",
            drawn,
            [(POLICIES[method], style) for style, method in enumerate(methods)],
        ),
        Table(
            f"DPO minus PPO at equal KL, {seeds}; 95% interval over questions and seeds; n counts questions. The KL of "
            "each is that on the half of the questions where nothing was chosen.",
            ["KL, nats", "reward", "95% interval", "oracle", "95% interval", "KL of DPO", "KL of PPO", "n"],
            rows,
        ),
        Folded(f"{len(policies)} policies of the two sweeps", table=Table(
            f"Every policy of the two sweeps; means over {seeds}. `own`: with all settings of params.yaml.",
            ["method", "β or KL coefficient", "settings", "step", "KL, nats", "reward", "oracle"],
            policies,
        )),
    ]  # fmt: skip
    return Section("Reward against KL", "dpo-frontier", blocks)


# -- temperatures -----------------------------------------------------------------------------------------------------


def temperatures(found: Mapping[str, Any]) -> Section:
    """Win rates against SFT over temperatures, and what the best of N wins."""
    measured, seeds = found["win_rates"], found["seeds"]
    rates = {
        name: {point["temperature"]: together(point["win_rate"]) for point in points}
        for name, points in measured["temperatures"].items()
    }
    of_n = {(point.get("temperature", 1.0), point["n"]): together(point["win_rate"]) for point in measured["best_of"]}
    best = {n: rate for (heat, n), rate in of_n.items() if heat == 1.0}
    most = {heat: rate for (heat, n), rate in of_n.items() if n == max(best)}
    names = [name for name in POLICIES if name in rates]
    hot = rates["dpo"][1.0]
    drawn = [
        charts.lines(
            [
                line([heat + (style - 1) * 0.012 for heat in rates[name]], list(rates[name].values()), style)
                for style, name in enumerate(names)
            ]
            + [line(list(most), list(most.values()), BEST)],
            title="Against SFT at temperature 1", x="sampling temperature", y="win rate, ties half", whole_x=False,
        ),
        charts.lines(
            [line(list(best), list(best.values()), BEST), Series(list(best), [hot.value] * len(best), 0)],
            title="Best of N of SFT, by reward", x="N", y="win rate, ties half", doubling_x=True,
        ),
    ]  # fmt: skip
    rows = [
        [
            number(heat, 2),
            *(cell for name in names for cell in figure(rates[name][heat])),
            *figure(most.get(heat)),
            count(rates["dpo"][heat].n),
        ]
        for heat in rates["dpo"]
    ]
    said = [*(POLICIES[name] for name in names), f"best of {max(best)}"]
    columns = [column for name in said for column in (name, "95% interval")]
    others: list[list[Cell]] = [
        [word(f"{POLICIES[name]}: temperature 0 minus 1"), *figure(together(measured["drop"][name]))] for name in names
    ]
    others.append([word("by how much more PPO falls"), *figure(together(measured["drop"]["ppo_minus_dpo"]))])
    for key, against in (
        ("dpo_vs_best", f"DPO over the best of {max(best)}"),
        ("dpo_vs_chosen", "DPO over the chosen"),
    ):
        fair = [one["length_controlled"] for one in measured[key]]
        others.append([word(against), *figure(together([one["win_rate"] for one in measured[key]]))])
        others.append([word(f"{against}, at equal lengths"), *figure(together(fair) if all(fair) else None)])
    return Section(
        "Win rates against temperature",
        "dpo-temperature",
        [
            f"DPO (β = {found['settings']['beta']:g}) and PPO (KL coefficient "
            f"{found['settings']['kl_coefficient']:g}) against SFT's answers at temperature 1, by the oracle, and "
            f"the best of N of SFT likewise: on the left of {max(best)}, on the right at temperature 1, where the flat "
            "line is DPO. `The chosen` are "
            "the preferred answers of comparisons that DPO did not learn from.",
            Figure(
                f"Win rates over temperatures, and of the best of N; bars are 95% intervals over questions and {seeds} "
                "seeds, of SFT and its best of N over questions alone.",
                drawn,
                [*((POLICIES[name], style) for style, name in enumerate(names)), ("best of N of SFT", BEST)],
            ),
            Table("Win rates against SFT; n counts questions.", ["temperature", *columns, "n"], rows),
            Table("What the claims are about.", ["figure", "value", "95% interval"], others),
            Table(
                "The best of N by reward, expected over all choices of N; n counts questions.",
                ["N", "win rate", "95% interval", "n"],
                [[count(n), *figure(one), count(one.n)] for n, one in best.items()],
            ),
        ],
    )
