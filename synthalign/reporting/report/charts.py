"""Charts as SVG that a page can hold inline: text stays text, and colours are the page's variables.

Every series has a colour of Okabe and Ito's palette (Color Universal Design, 2008) and a mark of its own, so that a
chart can be read in grey and by the colour-blind.  Equal numbers are equal bytes: no date, and ids from a fixed salt.
Colours are drawn as fixed values and replaced by CSS variables, which the page sets for light, dark and print.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.ticker import MaxNLocator

from synthalign.core.statistics import Interval

INK, LINE, PAPER, TIE = "#010203", "#040506", "#060504", "#b7bdc3"
"""What stands for the page's ink, fine lines, background and grey."""


class Style(NamedTuple):
    """How one series looks: its colour, the page's variable for it, its mark, that mark as a letter, and its dashes."""

    colour: str
    variable: str
    mark: str
    letter: str
    dashes: str


STYLES = (
    Style("#0072b2", "--blue", "o", "●", "-"),
    Style("#d55e00", "--vermillion", "s", "■", "-"),
    Style("#009e73", "--green", "^", "▲", "-"),
    Style("#cc79a7", "--purple", "D", "◆", "--"),
    Style("#e69f00", "--orange", "v", "▼", "--"),
    Style("#56b4e9", "--sky", "P", "✚", "--"),
    Style("#7f7f7f", "--grey", "X", "✖", ":"),
    Style("#040203", "--ink", "*", "★", ":"),
)

OUTCOMES = (("win", "#009e73", ""), ("tie", TIE, "...."), ("loss", "#d55e00", "///"))
"""The parts of a bar of verdicts, with colour and hatching."""

VARIABLES = {INK: "currentColor", LINE: "var(--line)", PAPER: "var(--paper)", TIE: "var(--tie)"} | {
    style.colour: f"var({style.variable})" for style in STYLES
}

IDS = "chart-ids-"
"""The beginning of every id in a chart, for which the page puts one of its own for each chart."""

COLOUR = re.compile("#[0-9a-f]{6}")

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)

SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine lays out alike
    "font.size": 9,
    "text.parse_math": False,  # a name with two dollars is a name
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.8,
}

NARROW, WIDE = 4.7, 5.2
"""Widths in inches: two narrow charts stand beside each other, and a wide one still fits a telephone."""


@dataclass(frozen=True)
class Series:
    """A line: x and y (N,), optional ends of 95% intervals (N,), words beside the points, and which style; `cloud` is
    for points that no line runs through, drawn small and hollow."""

    x: Sequence[float]
    y: Sequence[float]
    style: int
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    words: Sequence[str] | None = None
    cloud: bool = False


def lines(
    series: Sequence[Series], *, title: str, x: str, y: str, whole_x: bool = True, doubling_x: bool = False
) -> str:
    """Lines over x, each with its marks; whole_x says that x counts something, doubling_x that it does so by twos."""
    with pyplot.rc_context(SETTINGS):
        drawing, axes = pyplot.subplots(figsize=(NARROW, 2.9))
        width = 1.5 if len(series) < 5 else 1.1
        for one in series:
            style = STYLES[one.style % len(STYLES)]
            if one.cloud:
                axes.plot(
                    one.x, one.y, color=style.colour, linestyle="none", marker=style.mark, markersize=3.5,
                    fillstyle="none", markeredgewidth=0.8,
                )  # fmt: skip
                continue
            axes.plot(
                one.x, one.y, color=style.colour, linestyle=style.dashes, linewidth=width, marker=style.mark,
                markersize=5, markevery=max(1, len(one.x) // 8),
            )  # fmt: skip
            if one.low is not None and one.high is not None:
                ends = [_gaps(one.y, one.low, -1), _gaps(one.y, one.high, 1)]
                axes.errorbar(one.x, one.y, yerr=ends, fmt="none", ecolor=style.colour, elinewidth=1.2, capsize=3)
            for place, word in enumerate(one.words or (), start=1):
                last = place == len(one.x)  # ends often lie close to the point before
                axes.annotate(
                    word, (one.x[place - 1], one.y[place - 1]), xytext=(-5, 5) if last else (5, 5),
                    textcoords="offset points", ha="right" if last else "left", fontsize=8,
                )  # fmt: skip
        axes.set(title=drawable(title), xlabel=x, ylabel=drawable(y))
        if doubling_x:
            axes.set_xscale("log", base=2)
            axes.set_xticks(series[0].x, [f"{one:g}" for one in series[0].x])
        elif whole_x:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        return _svg(drawing, title)


def dots(
    rows: Sequence[tuple[str, Mapping[int, Interval | None]]], *, title: str, x: str, reference: float | None = None
) -> str:
    """A row for every name, with a mark and its 95% interval for every style that the row has; the first row on top.

    reference  where there is no effect: a line from top to bottom
    """
    styles = sorted({style for _, found in rows for style in found})
    with pyplot.rc_context(SETTINGS):
        drawing, axes = pyplot.subplots(figsize=(WIDE, 0.75 + (0.2 + 0.12 * len(styles)) * len(rows)))
        if reference is not None:
            axes.axvline(reference, color=INK, linewidth=1, linestyle="--")
        for place, (_, found) in enumerate(rows):
            for step, style in enumerate(styles):
                figure = found.get(style)
                if figure is None:
                    continue
                look = STYLES[style % len(STYLES)]
                up = place + (step - (len(styles) - 1) / 2) * 0.3
                low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
                ends = [[max(0.0, figure.value - low)], [max(0.0, high - figure.value)]]
                axes.errorbar(
                    figure.value, up, xerr=ends, fmt=look.mark, color=look.colour, markersize=5.5, elinewidth=1.5,
                    capsize=3,
                )  # fmt: skip
        axes.set_yticks(range(len(rows)), [drawable(name) for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set(title=drawable(title), xlabel=x)
        return _svg(drawing, title)


def bars(rows: Sequence[tuple[str, float]], *, title: str, kept: Sequence[str] = ()) -> str:
    """A bar for every name with its number; bars of `kept` are full, the others hatched."""
    with pyplot.rc_context(SETTINGS | {"axes.spines.bottom": False, "axes.titlepad": 4}):
        drawing, axes = pyplot.subplots(figsize=(NARROW, 0.6 + 0.3 * len(rows)))
        most = max((value for _, value in rows), default=1) or 1
        for place, (name, value) in enumerate(rows):
            stays = name in kept
            look = STYLES[0 if stays else 1]
            axes.barh(
                place, value, height=0.66, edgecolor=look.colour, facecolor=look.colour if stays else "none",
                hatch=None if stays else "////", linewidth=1,
            )  # fmt: skip
            axes.text(value + 0.015 * most, place, f"{value:,.0f}", va="center", fontsize=8.5)
        axes.set_yticks(range(len(rows)), [drawable(name) for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.18 * most)
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set(title=drawable(title))
        return _svg(drawing, title)


def verdicts(rows: Sequence[tuple[str, Sequence[float]]], *, title: str) -> str:
    """A bar for every name, divided into the shares of wins, ties and losses (each row: three numbers of sum 1)."""
    with pyplot.rc_context(SETTINGS):
        drawing, axes = pyplot.subplots(figsize=(WIDE, 0.9 + 0.36 * len(rows)))
        for place, (_, shares) in enumerate(rows):
            left = 0.0
            for (_, colour, hatch), value in zip(OUTCOMES, shares, strict=True):
                axes.barh(
                    place, value, left=left, height=0.7, facecolor=colour, edgecolor=INK, hatch=hatch, linewidth=0.8
                )
                if value >= 0.06:
                    axes.text(
                        left + value / 2, place, f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5,
                        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.2},
                    )  # fmt: skip
                left += value
        axes.axvline(0.5, color=INK, linewidth=1, linestyle="--")
        axes.set_yticks(range(len(rows)), [drawable(name) for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set(title=drawable(title), xlabel="% of judged answers: wins, ties (dotted), losses (hatched)")
        return _svg(drawing, title)


def drawable(name: str) -> str:
    """The name without the characters that no SVG may hold, or that turn a line of text around."""
    return "".join(one if one.isprintable() else "\ufffd" for one in name)


def _gaps(values: Sequence[float], ends: Sequence[float | None], side: int) -> list[float]:
    """How far each end lies from its value on that side; 0 where there is no interval."""
    return [0.0 if end is None else max(0.0, side * (end - one)) for one, end in zip(values, ends, strict=True)]


def _svg(drawing: Any, title: str) -> str:
    """The drawing as an <svg> element whose colours are the page's variables, and whose ids begin with IDS.

    Only attributes are rewritten, so a name that reads like a colour stays what it is.
    """
    stream = StringIO()
    with pyplot.rc_context({"svg.hashsalt": "report"}):
        drawing.savefig(
            stream, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.05, metadata={"Date": None}
        )
    pyplot.close(drawing)
    text = stream.getvalue()
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):  # a style would reach the whole page
                parent.remove(child)
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                value = f"{IDS}{value}"
            elif name == "style":
                value = COLOUR.sub(lambda found: VARIABLES.get(found[0], found[0]), value)
                value = value.replace("'DejaVu Sans'", "var(--font)")
            value = value.replace("url(#", f"url(#{IDS}")
            element.set(name, f"#{IDS}{value[1:]}" if name == f"{{{XLINK}}}href" else value)
    root.set("role", "img")
    root.set("aria-label", drawable(title))
    return ElementTree.tostring(root, encoding="unicode")
