"""Print what the last run measured, and keep the README's numbers the same as those in metrics/.

    python -m synthalign.reporting.results             this run, and whether it lies within the recorded results
    python -m synthalign.reporting.results --readme    write the tables between the markers of README.md
    python -m synthalign.reporting.results --check     exit 1 when README.md says other numbers than metrics/

Nothing is computed here: every figure comes from a file in metrics/, which a command of this repository rewrites.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.reporting import claims, method_table

BEGIN, END = "<!-- results -->", "<!-- /results -->"

Rows = list[tuple[str, ...]]
"""A table: the heading row and the others, all cells as text."""


# -- tables -----------------------------------------------------------------------------------------------------------


def claim_rows(recorded: Sequence[Mapping[str, Any]]) -> Rows:
    """The claims of metrics/claims.json."""
    rows: Rows = [("claim", "figure", "95% interval", "n", "seeds", "holds", "source")]
    for claim in recorded:
        low_high = "" if claim["value"] is None else f"{claim['low']:.3f} to {claim['high']:.3f}"
        value = "not measured" if claim["value"] is None else f"{claim['value']:.3f}"
        holds = "yes" if claim["holds"] else "no"
        counts = f"{claim['n']:,}", str(claim["seeds"])
        rows.append((claim["claim"], value, low_high, *counts, holds, f"{claim['source'].split(';')[0]}"))
    return rows


def win_rows(metrics: Mapping[str, Any]) -> Rows:
    """Which policy wins against which, for each judge."""
    rows: Rows = [("policies", "judge", "wins", "95% interval", "at equal lengths", "ties", "characters", "n")]
    for pair, judges in sorted(metrics.get("judge_answers", {}).items()):
        for judge, figures in sorted(judges.items()):
            rate = figures.get("win_rate")
            if rate is not None:
                lengths = f"{figures['characters_a']:.0f} / {figures['characters_b']:.0f}"
                interval = f"{rate['low']:.3f} to {rate['high']:.3f}"
                equal = figures.get("length_controlled")
                fair = f"{equal['value']:.3f} ({equal['low']:.3f} to {equal['high']:.3f})" if equal else ""
                ties, n = f"{figures['tie']:.3f}", f"{rate['n']:,}"
                named = pair.replace("_vs_", " against ")
                rows.append((named, judge, f"{rate['value']:.3f}", interval, fair, ties, lengths, n))
    return rows


def reward_rows(metrics: Mapping[str, Any]) -> Rows:
    """How often each reward model is right about held-out pairs, and how far it goes by length."""
    rows: Rows = [("reward model", "accuracy", "95% interval", "better is longer", "better is shorter", "of gold", "n")]
    for name, figures in metrics.get("score_rewards", {}).get("rewards", {}).items():
        accuracy = figures["accuracy"]
        share = figures.get("ratio_to_upper_bound")
        cells = [f"{accuracy['value']:.3f}", f"{accuracy['low']:.3f} to {accuracy['high']:.3f}"]
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
        cells = [f"{figures['value']:.3f}", f"{figures['low']:.3f} to {figures['high']:.3f}"]
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
        cells = [f"{right['value']:.3f}", f"{right['low']:.3f} to {right['high']:.3f}"]
        cells += [f"{figures['coverage']:.3f}" if "coverage" in figures else ""]
        cells += [f"{figures['chosen_longer']:.3f}", f"{figures['pairs']:,}"]
        rows.append((name, *cells))
    return rows


def configuration_rows(metrics: Mapping[str, Any]) -> Rows:
    """The oracle's points for each vanilla configuration."""
    rows: Rows = [("configuration", "oracle", "95% interval", "characters", "n")]
    for name, figures in metrics.get("score_comparisons", {}).get("configurations", {}).items():
        interval = f"{figures['low']:.3f} to {figures['high']:.3f}"
        rows.append((name, f"{figures['value']:.3f}", interval, f"{figures['characters']:.0f}", f"{figures['n']:,}"))
    return rows


def benchmark_rows(metrics: Mapping[str, Any]) -> Rows:
    """The public tests that were run."""
    rows: Rows = [("subject", "test", "figure", "95% interval", "n")]
    for stage, figures in metrics.items():
        subject = stage.removeprefix("score_benchmarks/")
        for test in ("hhh", "truthfulqa") if subject != stage else ():
            for metric, figure in figures.get(test, {}).items():
                interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
                rows.append((subject, f"{test} {metric}", f"{figure['value']:.3f}", interval, f"{figure['n']:,}"))
    return rows


def method_rows(metrics: Mapping[str, Any]) -> Rows:
    """All methods on the same questions: those of `make claims` where `metrics` has them, else those of this run."""
    rows: Rows = [("policy", "oracle", "95% interval", "harmless", "helpful", "honest", "wins against base",
                   "95% interval", "wins against SFT", "95% interval", "reward", "KL", "flagged", "tokens", "seconds",
                   "n", "seeds")]  # fmt: skip
    for name, found in (metrics.get("methods") or method_table.table([metrics])).items():
        cells = list(_with_interval(found["oracle"]))
        cells += [f"{found[trait]:.3f}" for trait in method_table.TRAITS]
        for measure in ("wins_against_base", "wins_against_sft"):
            cells += _with_interval(found[measure])
        cells += [f"{found['reward']['value']:.3f}" if found["reward"] else "", _number(found["kl"], 2)]
        cells += [_number(found["flagged"], 0), _number(found["tokens"], 0), _number(found["seconds"], 0)]
        rows.append((name, *cells, f"{found['oracle']['n']:,}", str(found["seeds"])))
    return rows


def _with_interval(figure: Mapping[str, float] | None) -> tuple[str, str]:
    return (f"{figure['value']:.3f}", f"{figure['low']:.3f} to {figure['high']:.3f}") if figure else ("", "")


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


# -- as text ----------------------------------------------------------------------------------------------------------


def plain(rows: Rows) -> str:
    """A table for the terminal, columns aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(rows: Rows) -> str:
    """A table for the README; what would end a cell or begin markup is escaped."""
    escaped = [[cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return "\n".join([lines[0], f"| {' | '.join('---' for _ in rows[0])} |", *lines[1:]])


def against_recorded(now: Sequence[Mapping[str, Any]], recorded: Sequence[Mapping[str, Any]]) -> Rows:
    """This run's figure for each claim, and whether it lies within the recorded interval."""
    intervals = {claim["id"]: claim for claim in recorded}
    rows: Rows = [("claim", "this run", "recorded interval", "within")]
    for claim in now:
        known = intervals.get(claim["id"])
        value = "not measured" if claim["value"] is None else f"{claim['value']:.3f}"
        if known is None or known["value"] is None or claim["value"] is None:
            rows.append((claim["id"], value, "", ""))
        else:
            within = known["low"] <= claim["value"] <= known["high"]
            rows.append((claim["id"], value, f"{known['low']:.3f} to {known['high']:.3f}", "yes" if within else "NO"))
    return rows


def terminal(metrics: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]) -> str:
    """Everything that `make repro` prints at its end."""
    tables = [(title, rows) for title, make in SECTIONS if len(rows := make(metrics)) > 1]
    parts = [f"{title}\n\n{plain(rows)}" for title, rows in tables]
    now = claims.claims([metrics])
    measured = sum(claim["value"] is not None for claim in now)
    if measured:
        title = "Claims, this run's seed" + (
            "" if recorded else " (metrics/claims.json is not there: run `make claims`)"
        )
        parts.append(f"{title}\n\n{plain(against_recorded(now, recorded))}")
    if not parts:
        raise UserError("metrics/ holds no results yet; run `make repro`")
    parts.append("Tables are in data/, models in models/, all figures in metrics/; `make chat` talks to the policy.")
    return "\n\n\n".join(parts)


def readme(metrics: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]) -> str:
    """The part of README.md between the markers."""
    tables = [("Claims", claim_rows(recorded))] if recorded else []
    tables += [(title, rows) for title, make in SECTIONS if len(rows := make(metrics)) > 1]
    sections = [f"**{title}**\n\n{markdown(rows)}" for title, rows in tables]
    return "\n\n".join([BEGIN, *sections, END])


def replaced(text: str, part: str) -> str:
    """README's text with the part between the markers, markers included, replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UserError(f"README.md needs one line {BEGIN} and after it one line {END}; the tables go between them")
    return text[: text.index(BEGIN)] + part + text[text.index(END) + len(END) :]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m synthalign.reporting.results", description=__doc__.splitlines()[0])
    todo = parser.add_mutually_exclusive_group()
    todo.add_argument("--readme", action="store_true", help="write the tables into README.md")
    todo.add_argument("--check", action="store_true", help="exit 1 when README.md is not up to date")
    given = parser.parse_args(arguments)

    metrics = claims.read(Path("metrics"))
    recorded, methods = (
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        for file in (Path("metrics/claims.json"), Path("metrics/methods.json"))
    )
    if not given.readme and not given.check:
        print(terminal(metrics, recorded))
        return
    old = Path("README.md").read_text(encoding="utf-8")
    new = replaced(old, readme(metrics | {"methods": methods}, recorded))
    if given.readme:
        Path("README.md").write_text(new, encoding="utf-8")
    elif new != old:
        raise UserError("README.md says other numbers than metrics/; run `make readme`")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"results: {error}", file=sys.stderr)
        raise SystemExit(1) from error
