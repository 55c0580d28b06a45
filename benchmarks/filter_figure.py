"""The figure and the table of `benchmarks.filter_sweep`, from its metrics alone.

python -m benchmarks.filter_figure      # metrics/filter_sweep.json -> docs/figures/filter_sweep.svg, the page's table
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from synthalign.reporting import generated_part, text_tables

BEGIN, END = "<!-- gains: written by python -m benchmarks.filter_figure -->", "<!-- /gains -->"

GOLD = "gold"
COLOURS = {"none": "#666666", "keyword": "#0072b2", "length": "#d55e00", "both": "#009e73", GOLD: "#cc79a7"}
MARKS = {"none": "o", "keyword": "s", "length": "^", "both": "D", GOLD: "*"}
NAMES = {
    "none": "no filter",
    "keyword": "keyword part",
    "length": "length part",
    "both": "both parts",
    GOLD: "oracle labels",
}
TITLES = {
    "short": "strongest configuration writes shorter",
    "as it is": "lengths as in the world",
    "long": "strongest configuration writes longer",
}


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Draw the figure: a column for each length gap; above what a filter changes, below the accuracies themselves.

    figures  the content of metrics/filter_sweep.json
    """
    cells, settings = figures["cells"], figures["settings"]
    shipped_rate = figures["shipped_accident_rate"]
    gaps = [gap for gap in TITLES if gap in settings["gaps"]]
    style: Any = {
        "svg.hashsalt": "filter sweep", "svg.fonttype": "none", "font.size": 11, "font.family": "sans-serif",
        "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(
            2,
            len(gaps),
            figsize=(4.3 * len(gaps), 7.6),
            sharex=True,
            sharey="row",
            squeeze=False,
        )
        for column, gap in enumerate(gaps):
            row = [found for found in cells if found["gap"] == gap]
            rates = [100 * found["accident_rate"] for found in row]
            above, below = axes[0][column], axes[1][column]
            above.axhline(0, color="black", linewidth=0.8)
            for place, name in enumerate(("keyword", "length", "both")):
                gains = [found["reward_models"][name]["gain"] for found in row]
                _line(above, [rate + (place - 1) * 0.7 for rate in rates], gains, name)
            for place, name in enumerate(("none", "keyword", "length", "both")):
                accuracies = [found["reward_models"][name]["accuracy"] for found in row]
                _line(below, [rate + (place - 1.5) * 0.7 for rate in rates], accuracies, name)
            gold = [100 * found["reward_models"][GOLD]["accuracy"]["value"] for found in row]
            below.plot(rates, gold, color=COLOURS[GOLD], linewidth=1.2, linestyle="-.", label=NAMES[GOLD])
            always = [100 * found["always_longer"]["value"] for found in row]
            below.plot(rates, always, color="black", linewidth=1.2, linestyle=":", label="always the longer")
            if gap == "as it is":
                for axis in (above, below):
                    axis.axvline(100 * shipped_rate, color="#bbbbbb", linewidth=6, alpha=0.5, zorder=0)
                above.annotate(
                    "rate in the\nworld's corpus", (100 * shipped_rate, 0.02), xycoords=("data", "axes fraction"),
                    xytext=(6, 0), textcoords="offset points", color="#555555", fontsize=9,
                )  # fmt: skip
            wide = fmean(_gap_characters(found) for found in row)
            above.set_title(f"{TITLES[gap]}\n({wide:+.0f} characters)", fontsize=11)
            below.set_xlabel("accidents, % of answers")
            below.set_xticks([100 * rate for rate in settings["accident_rates"]])
            for axis in (above, below):
                axis.grid(axis="y", color="#eeeeee")
        axes[0][0].set_ylabel("accuracy gained over no filter,\npercentage points")
        axes[1][0].set_ylabel("accuracy of the reward model\non held-out oracle pairs, %")
        handles, labels = axes[1][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
        figure.tight_layout(rect=(0, 0.05, 1, 1))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def _line(axis: Any, x: Sequence[float], intervals: Sequence[Mapping[str, float]], name: str) -> None:
    """One line with its 95% intervals, in per cent; a figure that has none gets no bar."""
    values = [100 * interval["value"] for interval in intervals]
    ends = [
        [100 * abs(interval["value"] - interval[end]) if interval[end] is not None else nan for interval in intervals]
        for end in ("low", "high")
    ]
    axis.errorbar(
        x, values, yerr=ends, color=COLOURS[name], marker=MARKS[name], markersize=5, linewidth=1.5, elinewidth=1.2,
        capsize=2.5, label=NAMES[name],
    )  # fmt: skip


def _gap_characters(found: Mapping[str, Any]) -> float:
    """By how many characters the strongest configuration's answers are longer than the mean of the others'."""
    first, *others = [figures["characters"] for figures in found["configurations"].values()]
    return first - fmean(others)


def gains(cells: Sequence[Mapping[str, Any]]) -> str:
    """The gain of each part of the filter over no filter in each cell, in points, as a table in Markdown."""
    parts = ("length", "keyword", "both")
    rows: text_tables.Rows = [("accidents", "gap", *(NAMES[part] for part in parts))]
    for found in cells:
        intervals = [found["reward_models"][part]["gain"] for part in parts]
        cell = [f"{100 * one['value']:+.1f} [{_ends(one)}]" for one in intervals]
        rows.append((f"{100 * found['accident_rate']:.0f}%", TITLES[found["gap"]], *cell))
    return text_tables.markdown(rows)


def _ends(interval: Mapping[str, Any]) -> str:
    """The ends of an interval in points, or why it has none."""
    return interval.get("why") or f"{100 * interval['low']:+.1f}, {100 * interval['high']:+.1f}"


def with_gains(text: str, cells: Sequence[Mapping[str, Any]]) -> str:
    """A page with the table between its markers replaced."""
    return generated_part.replaced(text, BEGIN, END, gains(cells), name="docs/filter_sweep.md")


def print_table(cells: Sequence[Mapping[str, Any]]) -> None:
    """What each filter does in each cell, in percentage points."""
    for found in cells:
        print(f"{found['gap']}, {100 * found['accident_rate']:.0f}% accidents, "
              f"always the longer {100 * found['always_longer']['value']:.1f}")  # fmt: skip
        for name, figures in found["reward_models"].items():
            accuracy = figures["accuracy"]
            labels = found["filters"].get(name)
            line = f"  {NAMES[name]:14} accuracy {100 * accuracy['value']:.1f}"
            if labels:
                line += (f"  kept {100 * labels['kept']:3.0f}%  agreement {100 * labels['agreement']['value']:.1f}"
                         f"  chosen longer {100 * labels['chosen_longer']:.0f}%")  # fmt: skip
            if "gain" in figures:
                gain = figures["gain"]
                line += f"  gain {100 * gain['value']:+.1f} [{_ends(gain)}] {figures['verdict']}"
            print(line)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filter_figure", description=__doc__.splitlines()[0])
    parser.parse_args(arguments)
    figures = json.loads(Path("metrics/filter_sweep.json").read_text(encoding="utf-8"))
    draw(figures, Path("docs/figures/filter_sweep.svg"))
    page = Path("docs/filter_sweep.md")
    page.write_text(with_gains(page.read_text(encoding="utf-8"), figures["cells"]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
