"""What was measured, as tables: one function for each, from the metrics files to rows of text.

Nothing is computed here: every figure comes from a file in metrics/, which a command of this repository rewrites.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synthalign.core.statistics import Interval
from synthalign.reporting import method_table
from synthalign.reporting.seeds import all_figures, rule, verdict
from synthalign.reporting.text_tables import Rows

MOST_ROWS = 8
"""The rows of README's table."""

RULE = (
    "The table is chosen by a rule: of every paper the claim that was measured on the most questions (the first of "
    "equals), whatever came out; then the first claims that do not hold, up to eight rows."
)
"""What `chosen_claims` does, in words that stand above its table."""


def paper(claim: Mapping[str, Any]) -> str:
    """The paper that makes a claim: the first word of its source."""
    return claim["source"].split()[0]


def chosen_claims(recorded: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most eight claims by `RULE`, in the order of `recorded`; the last place is one's that does not hold."""
    of_paper: dict[str, Mapping[str, Any]] = {}
    for claim in recorded:
        if claim["n"] > of_paper.get(paper(claim), {"n": -1})["n"]:
            of_paper[paper(claim)] = claim
    taken = {claim["id"] for claim in list(of_paper.values())[: MOST_ROWS - 1]}
    others = [claim["id"] for claim in recorded if not claim["holds"] and claim["id"] not in taken]
    taken |= set(others[: MOST_ROWS - len(taken)])
    return [claim for claim in recorded if claim["id"] in taken]


def chosen_rows(recorded: Sequence[Mapping[str, Any]]) -> Rows:
    """The claims of README."""
    rows: Rows = [("claim", "figure (95% interval)", "n", "seeds", "holds", "Holm", "paper")]
    for claim, cells in zip(chosen := chosen_claims(recorded), claim_rows(chosen)[1:], strict=True):
        said, figure, n, seeds, _, holds, holm, source = cells
        rows.append((said, figure, n, seeds, holds if claim["holds"] else f"**{holds}**", holm, source))
    return rows


def claim_rows(recorded: Sequence[Mapping[str, Any]]) -> Rows:
    """The claims of metrics/claims.json."""
    rows: Rows = [("claim", "figure (95% interval)", "n", "seeds", "has to be", "holds", "Holm", "source")]
    for claim in recorded:
        counts = f"{claim['n']:,}", str(claim["seeds"])
        holm = "" if claim["p_holm"] is None else "yes" if claim["holds_holm"] else "no"
        source = claim["source"].split(";")[0]
        rows.append((claim["claim"], all_figures(claim), *counts, rule(claim), verdict(claim), holm, source))
    return rows


def ends(figure: Mapping[str, Any], digits: int = 3) -> str:
    """The ends of a figure's interval, or why it has none."""
    return Interval.of(figure).ends(digits)


def real_rows(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """What metrics/real_claims.json has measured, question by question; a question stands once."""
    found: Rows = [("question", "row", "figure (95% interval)", "n", "seeds", "shown", "Holm")]
    asked = ""
    for row in rows:
        if row["value"] is not None:
            question = "" if row["question"] == asked else row["question"]
            said = row["decision"], "" if row["p_holm"] is None else row["decision_holm"]
            found.append((question, row["claim"], all_figures(row), f"{row['n']:,}", str(row["seeds"]), *said))
            asked = row["question"]
    return found


def win_rows(metrics: Mapping[str, Any]) -> Rows:
    """Which policy wins against which, for each judge."""
    rows: Rows = [("policies", "judge", "wins", "95% interval", "at equal lengths", "ties", "characters", "n")]
    for pair, judges in sorted(metrics.get("judge_answers", {}).items()):
        for judge, figures in sorted(judges.items()):
            rate = figures.get("win_rate")
            if rate is not None:
                lengths = f"{figures['characters_a']:.0f} / {figures['characters_b']:.0f}"
                equal = figures.get("length_controlled")
                fair = f"{equal['value']:.3f} ({ends(equal)})" if equal else ""
                ties, n = f"{figures['tie']:.3f}", f"{rate['n']:,}"
                named = pair.replace("_vs_", " against ")
                rows.append((named, judge, f"{rate['value']:.3f}", ends(rate), fair, ties, lengths, n))
    return rows


def reward_rows(metrics: Mapping[str, Any]) -> Rows:
    """How often each reward model is right about held-out pairs, and how far it goes by length."""
    rows: Rows = [("reward model", "accuracy", "95% interval", "better is longer", "better is shorter", "of gold", "n")]
    for name, figures in metrics.get("score_rewards", {}).get("rewards", {}).items():
        accuracy = figures["accuracy"]
        share = figures.get("ratio_to_upper_bound")
        cells = [f"{accuracy['value']:.3f}", ends(accuracy)]
        cells += [f"{figures[part]['value']:.3f}" if figures.get(part) else "" for part in
                  ("better_is_longer", "better_is_shorter")]  # fmt: skip
        name = "always the longer" if name == "longer" else name
        rows.append((name, *cells, f"{share['value']:.3f}" if share else "", f"{accuracy['n']:,}"))
    return rows


def policy_rows(metrics: Mapping[str, Any]) -> Rows:
    """The oracle's points for each policy, how long its answers are, and what it forgot."""
    rows: Rows = [("policy", "oracle", "95% interval", "characters", "cut off", "loss on held-out text", "cloze", "n")]
    for name, figures in metrics.get("score_policies", {}).get("policies", {}).items():
        tax = metrics.get(f"score_benchmarks/{name}", {})
        loss, cloze = (tax.get(test, {}).get(metric, {}).get("value") for test, metric in
                       (("heldout_text", "loss_per_token"), ("cloze", "accuracy")))  # fmt: skip
        cells = [f"{figures['value']:.3f}", ends(figures)]
        cells += [f"{figures['characters']:.0f}", f"{figures['cut_off']:.3f}"]
        cells += [f"{value:.3f}" if value is not None else "" for value in (loss, cloze)]
        rows.append((name, *cells, f"{figures['n']:,}"))
    return rows


def label_rows(metrics: Mapping[str, Any]) -> Rows:
    """How often the labels are right that each filter leaves, and how many it leaves."""
    rows: Rows = [("labels", "right", "95% interval", "kept", "chosen is longer", "pairs")]
    scored = metrics.get("score_comparisons", {})
    for name, figures in {**scored.get("labels", {}), **scored.get("other_labels", {})}.items():
        right = figures["agreement"]
        cells = [f"{right['value']:.3f}", ends(right)]
        cells += [f"{figures['coverage']:.3f}" if "coverage" in figures else ""]
        cells += [f"{figures['chosen_longer']:.3f}", f"{figures['pairs']:,}"]
        rows.append((name, *cells))
    return rows


def configuration_rows(metrics: Mapping[str, Any]) -> Rows:
    """The oracle's points for each vanilla configuration."""
    rows: Rows = [("configuration", "oracle", "95% interval", "characters", "n")]
    for name, figures in metrics.get("score_comparisons", {}).get("configurations", {}).items():
        rows.append(
            (name, f"{figures['value']:.3f}", ends(figures), f"{figures['characters']:.0f}", f"{figures['n']:,}")
        )
    return rows


def benchmark_rows(metrics: Mapping[str, Any]) -> Rows:
    """The public tests that were run."""
    rows: Rows = [("subject", "test", "figure", "95% interval", "n")]
    for stage, figures in metrics.items():
        subject = stage.removeprefix("score_benchmarks/")
        for test in ("hhh", "truthfulqa") if subject != stage else ():
            for metric, figure in figures.get(test, {}).items():
                rows.append((subject, f"{test} {metric}", f"{figure['value']:.3f}", ends(figure), f"{figure['n']:,}"))
    return rows


def method_rows(metrics: Mapping[str, Any]) -> Rows:
    """All methods on the same questions: those of `make claims` where `metrics` has them, else those of this run."""
    rows: Rows = [("policy", "oracle", "95% interval", "harmless", "helpful", "honest",
                   "wins against base", "95% interval", "wins against SFT", "95% interval", "Elo", "95% interval",
                   "reward", "KL", "flagged", "tokens", "seconds", "n", "seeds")]  # fmt: skip
    for name, found in (metrics.get("methods") or method_table.table([metrics])).items():
        cells = list(_with_interval(found["oracle"]))
        cells += [f"{found[trait]:.3f}" for trait in method_table.TRAITS]
        for measure in ("wins_against_base", "wins_against_sft"):
            cells += _with_interval(found[measure])
        cells += _with_interval(found.get("elo"), 0)
        cells += [f"{found['reward']['value']:.3f}" if found["reward"] else "", _number(found["kl"], 2)]
        cells += [_number(found["flagged"], 0), _number(found["tokens"], 0), _number(found["seconds"], 0)]
        rows.append((name, *cells, f"{found['oracle']['n']:,}", str(found["seeds"])))
    return rows


def _with_interval(figure: Mapping[str, float] | None, digits: int = 3) -> tuple[str, str]:
    return (f"{figure['value']:.{digits}f}", ends(figure, digits)) if figure else ("", "")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


SECTIONS = (
    ("Which policy wins (ties are half a win)", win_rows),
    ("Policies", policy_rows),
    ("All methods on the same questions, by the oracle (reward and KL at temperature 1)", method_rows),
    ("Reward models, on held-out pairs that the oracle decided", reward_rows),
    ("Labels, on pairs that the oracle decided", label_rows),
    ("Vanilla configurations", configuration_rows),
    ("Public tests", benchmark_rows),
)
