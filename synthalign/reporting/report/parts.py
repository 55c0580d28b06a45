"""What the report is made of: sections of paragraphs, tables, figures and folded text; no HTML here.

Every cell is text and, in a column of numbers, the number to sort by.  What is not there is said in words, never left
to an empty chart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from synthalign.core.statistics import Interval


class Cell(NamedTuple):
    """A cell of a table: what it says, the number behind it, and whether it is good or bad news."""

    text: str
    sort: float | None = None
    mark: str = ""


NOTHING = Cell("–")
"""Where a figure does not apply or was not measured."""


@dataclass(frozen=True)
class Table:
    """A table with its caption; every row has as many cells as there are columns."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        assert not wrong, f"{self.caption!r}: {len(self.columns)} columns, but a row has {len(wrong[0])} cells"

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers, and are set flush right."""
        return [any(row[place].sort is not None for row in self.rows) for place in range(len(self.columns))]


@dataclass(frozen=True)
class Figure:
    """One or several charts (SVG) under one caption, and what their marks and colours stand for: (name, style)."""

    caption: str
    charts: Sequence[str]
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Folded:
    """Something long that opens when it is asked for: preformatted text or a table."""

    title: str
    text: str = ""
    table: Table | None = None


@dataclass(frozen=True)
class Answers:
    """The place of the browser of answers, and what it says without JavaScript."""

    without_script: str


Block = str | Table | Figure | Folded | Answers
"""A string is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A heading, its blocks, and the sections below it; the anchor is its place in a link."""

    title: str
    anchor: str
    blocks: Sequence[Block]
    within: Sequence["Section"] = field(default=())


# -- cells ------------------------------------------------------------------------------------------------------------


def word(value: Any) -> Cell:
    """Text; None becomes a dash."""
    return NOTHING if value is None else Cell(str(value))


def number(value: float | None, digits: int = 3) -> Cell:
    """A number with so many digits behind the point."""
    return NOTHING if value is None else Cell(f"{value:,.{digits}f}".replace("-", "−"), float(value))


def signed(value: float) -> str:
    """A change, with its sign, within a sentence."""
    return f"{value:+.3f}".replace("-", "−")


def count(value: int | None) -> Cell:
    """A whole number."""
    return number(value, 0)


def both(one: float | None, other: float | None, digits: int = 0) -> Cell:
    """A figure of two sides; sorted by the first."""
    if one is None or other is None:
        return NOTHING
    return Cell(f"{one:,.{digits}f} / {other:,.{digits}f}", float(one))


def share(part: float, whole: float) -> Cell:
    """A part of a whole in per cent."""
    return Cell(f"{100 * part / whole:.1f}%", part / whole) if whole else NOTHING


def figure(found: Interval | None, digits: int = 3) -> tuple[Cell, Cell]:
    """A figure and its 95% interval, as two cells."""
    if found is None:
        return NOTHING, NOTHING
    return number(found.value, digits), Cell(ends(found, digits), found.value if found.low is None else found.low)


def ends(found: Interval, digits: int = 3) -> str:
    """The ends of an interval in words, or why it has none."""
    return found.ends(digits).replace("-", "−")


def counted(found: Interval | None) -> tuple[Cell, Cell, Cell]:
    """A figure, its 95% interval, and n."""
    return *figure(found), count(None if found is None else found.n)


# -- metrics ----------------------------------------------------------------------------------------------------------


def at(values: Any, *path: str) -> Any:
    """What stands at the path of a metrics file, None where nothing does."""
    for key in path:
        if not isinstance(values, Mapping):
            return None
        values = values.get(key)
    return values


def ordered(found: Mapping[str, Any], names: Iterable[str] | None) -> dict[str, Any]:
    """The same in the order of the names, the others after them: metrics files have their keys sorted."""
    first = [name for name in names or () if name in found]
    return {name: found[name] for name in dict.fromkeys([*first, *found])}


def interval(values: Any, *path: str) -> Interval | None:
    """The figure with its interval at the path of a metrics file, None where there is none."""
    found = at(values, *path)
    if not isinstance(found, Mapping) or not {"value", "low", "high", "n"} <= set(found):
        return None
    return Interval.of(found)
