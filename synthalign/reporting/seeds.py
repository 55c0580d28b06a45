"""Figures of several seeds put together, what is claimed of them, and how that is decided.

A claim has one part or several; a part is a figure whose whole 95% interval has to lie on one side of a bound.

- A claim of several parts holds when each of them does, each at its own 5%: that is a test of the whole at 5%
  (intersection-union; Berger 1982, Theorem 1). Its p-value is the largest of theirs.
- "Not worse" is shown above minus a margin, "level" on both sides of one (two one-sided tests; Schuirmann 1987). The
  margin stands in the claim with the reason for its size, so that a wide interval shows nothing.
- A figure without an interval (`Interval.why`) shows nothing, and the claim says why.
- What no seed changes is one run (`Figure.runs`), in the figure, its p-value and the number of seeds.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthalign.core.statistics import Interval, combine_seeds, holm, p_value

Metrics = Mapping[str, Any]
"""The metrics of one run, by stage: {"score_rewards": {…}, "train_sft/rmsp": {…}, …}."""

Claim = dict[str, Any]
"""A row of metrics/claims.json; `Seeds.claim` says what its keys are."""

EVEN = 0.5

LEVEL = 0.05
"""What a p-value is below where the 95% interval leaves the bound out."""

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Margin:
    """How much worse still counts as not worse, and why that much."""

    size: float
    why: str


SHARE_MARGIN = Margin(0.05, "of a share: one verdict in twenty, a tenth of the way from a coin to always")
ORACLE_MARGIN = Margin(0.15, "of a point: one answer in twenty that is wrong (-1) in place of right (2)")
SCORE_MARGIN = Margin(0.05, "of a score with 0 for guessing and 1 for all right: one item in twenty above guessing")


@dataclass(frozen=True)
class Figure:
    """One measurement under every seed.

    each    an interval for every seed, or a single one that several were put together to already
    seeds   how many those were; None where each has its own
    beside  for every seed what was measured along with it, as text, where that is known: two runs may well come to the
            same share
    """

    each: tuple[Interval, ...]
    seeds: int | None = None
    beside: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[Interval, ...]:
        """Those that differ: what no seed changes is one run, however many seeds there are."""
        beside = self.beside or [""] * len(self.each)
        return tuple(one for one, _ in dict.fromkeys(zip(self.each, beside, strict=True)))

    @property
    def count(self) -> int:
        """How many runs it is of."""
        return len(self.runs) if self.seeds is None else self.seeds

    @property
    def whole(self) -> Interval:
        """All runs together."""
        return combine_seeds(self.runs)

    def minus(self, other: "Figure") -> "Figure":
        """The difference to another figure, seed by seed, where the two were not measured as a pair.

        The half widths add up: that holds however the two depend on each other, and is too wide for most.
        """
        found = []
        for a, b in zip(self.each, other.each, strict=True):
            value, n, why = a.value - b.value, min(a.n, b.n), a.why or b.why
            if a.low is None or a.high is None or b.low is None or b.high is None:
                found.append(Interval(value, None, None, n, why))
            else:
                found.append(Interval(value, a.low - b.high, a.high - b.low, n))
        beside = tuple(map("".join, zip(self.beside, other.beside, strict=False)))
        return Figure(tuple(found), beside=beside)


@dataclass(frozen=True)
class Part:
    """What has to be shown of a figure: that its whole interval lies above the bound, or below it.

    of  which figure, in words; "" for the one that the claim itself speaks of
    """

    figure: Figure | None
    bound: float
    of: str = ""
    must: str = "above"

    @property
    def lead(self) -> float:
        """How far the interval's nearer end is on the right side of the bound; of none, minus infinity."""
        whole = self.figure.whole if self.figure else None
        if whole is None or whole.low is None or whole.high is None:
            return float("-inf")
        return whole.low - self.bound if self.must == "above" else self.bound - whole.high

    def row(self) -> dict[str, Any]:
        """For a metrics file; p is 1 where the figure is on the wrong side, None where it has no interval."""
        shown: dict[str, Any] = {"of": self.of, **nothing(), "seeds": 0, "must": self.must, "bound": self.bound}
        if self.figure is None:
            return shown | {"p": None, "holds": False, "why": NOT_MEASURED, "each": None}
        whole = self.figure.whole
        p = p_value(self.figure.runs, self.bound, seeds=self.figure.seeds)
        if p is not None and (whole.value <= self.bound if self.must == "above" else whole.value >= self.bound):
            p = 1.0
        each = [one.metrics() for one in self.figure.runs]
        found = {"p": rounded(p), "holds": self.lead > 0, "why": whole.why, "each": each}
        return shown | whole.metrics() | {"seeds": self.figure.count} | found


def nothing() -> dict[str, Any]:
    """What stands in the place of a figure that is not there."""
    return {"value": None, "low": None, "high": None, "n": 0}


def rounded(p: float | None) -> float | None:
    """A p-value to three digits, however small."""
    return None if p is None else float(f"{p:.3g}")


def above(figure: Figure | None, bound: float, of: str = "") -> Part:
    return Part(figure, bound, of)


def below(figure: Figure | None, bound: float, of: str = "") -> Part:
    return Part(figure, bound, of, "below")


def not_worse(figure: Figure | None, margin: Margin) -> list[Part]:
    """Of a difference: above minus the margin."""
    return [above(figure, -margin.size)]


def level(figure: Figure | None, at: float, margin: Margin) -> list[Part]:
    """Within the margin of a value, on both sides."""
    return [above(figure, at - margin.size), below(figure, at + margin.size)]


def weakest_first(parts: Sequence[Part]) -> list[Part]:
    """The parts in the order of how little they are shown: the claim is as good as the first."""
    return sorted(parts, key=lambda part: part.lead)


@dataclass(frozen=True)
class Seeds:
    """The metrics of every seed, read by path."""

    metrics: Sequence[Metrics]

    @property
    def first(self) -> "Seeds":
        """The first seed alone: of what comes before all training, which the others have made again at most on another
        make of processor."""
        return Seeds(self.metrics[:1])

    def get(self, *path: str | int) -> list[Any] | None:
        """What stands at the path in every seed's metrics; None when a seed has nothing there."""
        found = []
        for values in self.metrics:
            at: Any = values
            for key in path:
                try:
                    at = at[key]
                except (KeyError, IndexError, TypeError):
                    return None
            if at is None:
                return None
            found.append(at)
        return found

    def figure(self, *path: str | int) -> Figure | None:
        """The figure at the path, under every seed."""
        found, around = self.get(*path), self.get(*path[:-1])
        if not found or not around or not all(isinstance(one, Mapping) for one in found):  # a number without interval
            return None
        each = tuple(map(Interval.of, found))
        beside = found if any(one.keys() - vars(each[0]).keys() for one in found) else around
        return Figure(each, beside=tuple(json.dumps(one, sort_keys=True) for one in beside))

    def interval(self, *path: str | int) -> Interval | None:
        """The figure at the path, all seeds together."""
        found = self.figure(*path)
        return None if found is None else found.whole

    def wins(self, *path: str | int) -> list[Part]:
        """That one policy beats another in the comparison at the path, and at equal lengths too where any seed has that
        (`win_rates.length_controlled`); where another has not, it is not measured."""
        parts = [above(self.figure(*path, "win_rate"), EVEN)]
        if any(Seeds([one]).get(*path, "length_controlled") for one in self.metrics):
            parts.append(above(self.figure(*path, "length_controlled"), EVEN, "at equal lengths"))
        return parts

    def claim(
        self,
        name: str,
        text: str,
        paper: str,
        file: str,
        parts: Part | Sequence[Part],
        *,
        margin: Margin | None = None,
        also: tuple[str, bool] | None = None,
    ) -> Claim:
        """A row of metrics/claims.json.

        id, claim, source      what is claimed, by whom, and where the figures are from
        value, low, high, n    of the first part; low and high null where it has no interval, all where no figure
        seeds                  runs that differ, of the part that has the fewest: what no seed changes is of one
        parts                  each: of, value, low, high, n, seeds, must (above or below), bound, p, holds, why not,
                               and the figure of each run that differs
        margin                 size and why, where something is claimed to be not worse or level; else null
        also                   what has to be the case besides: of, holds; else null
        p                      the largest of the parts'; null where it could not be decided
        holds                  by the rule above, at 5% by itself
        why                    "too few", "all equal" or "not measured" where it could not be decided: a part has no
                               interval, and no other one fails; else null

        A figure that was not measured has no value, and the claim does not hold.
        """
        rows = [part.row() for part in ([parts] if isinstance(parts, Part) else parts)]
        fails = any(row["p"] is not None and not row["holds"] for row in rows)
        why = None if fails else next((row["why"] for row in rows if row["why"]), None)
        return {
            "id": name,
            "claim": text,
            "source": f"{paper}; {file}",
            **{key: rows[0][key] for key in nothing()},
            "seeds": min((row["seeds"] for row in rows if row["seeds"]), default=0),
            "holds": all(row["holds"] for row in rows) and (also is None or also[1]),
            "why": why,
            "p": None if why else max(row["p"] for row in rows if row["p"] is not None),
            "margin": None if margin is None else {"size": margin.size, "why": margin.why},
            "also": None if also is None else {"of": also[0], "holds": also[1]},
            "parts": rows,
        }


def corrected(claims: Sequence[Claim]) -> list[Claim]:
    """The claims of one file with what they come to when all are decided at once (`statistics.holm`).

    p_holm      the adjusted p-value; null where there is none. Only claims with a p-value are counted.
    holds_holm  whether it holds with the error of all of them together held at 5%
    """
    decided = [claim for claim in claims if claim["p"] is not None]
    adjusted = dict(zip([claim["id"] for claim in decided], holm([claim["p"] for claim in decided]), strict=True))
    return [
        claim
        | {
            "p_holm": rounded(adjusted.get(claim["id"])),
            "holds_holm": claim["holds"] and adjusted.get(claim["id"], 1.0) < LEVEL,
        }
        for claim in claims
    ]


# -- in words ---------------------------------------------------------------------------------------------------------


def outcome(recorded: Sequence[Mapping[str, Any]]) -> str:
    """How many claims hold, how many with all decided at once, how many could not be decided, and how many are of one
    run."""
    held, together = (sum(claim[key] for claim in recorded) for key in ("holds", "holds_holm"))
    said = f"{held} hold, {together} of them with all decided at once (Holm)"
    reasons = Counter(claim["why"] for claim in recorded if claim["why"])
    said += "".join(f"; {count} {why}" for why, count in sorted(reasons.items()))
    of_one = sum(claim["seeds"] == 1 for claim in recorded)
    return said + (f"; {of_one} of one run" if of_one else "")


def all_figures(claim: Mapping[str, Any], after: int = 0) -> str:
    """The figures of a claim: those of all parts, each once, "0.640 (0.598 to 0.683); at equal lengths 0.518 (…)".

    after  how many of them are left out
    """
    found = []
    for part in claim["parts"]:
        figure = part["why"] if part["value"] is None else f"{part['value']:.3f} ({Interval.of(part).ends()})"
        found.append(f"{part['of']} {figure}".strip())
    return "; ".join([*dict.fromkeys(found)][after:])


def rule(claim: Mapping[str, Any]) -> str:
    """What the intervals of a claim have to be: "above 0.5"."""
    found = [f"{part['must']} {part['bound']:g}" for part in claim["parts"]]
    return " and ".join(dict.fromkeys(found + ([claim["also"]["of"]] if claim["also"] else [])))


def verdict(claim: Mapping[str, Any]) -> str:
    """yes, no, or why it could not be decided; where some parts hold, with those that do not."""
    if claim["holds"]:
        return "yes"
    parts, also = claim["parts"], claim["also"]
    said = claim["why"] or "no"
    failed = [part["of"] for part in parts if not part["holds"]]
    if also and not also["holds"] and not failed:
        return f"{said}: {also['of']}"
    return f"{said}: {', '.join(failed)}" if len(failed) < len(parts) and all(failed) else said
