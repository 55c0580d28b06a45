"""Figures of several seeds put together, and what is claimed of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthalign.core.statistics import Interval, combine_seeds

Metrics = Mapping[str, Any]
"""The metrics of one run, by stage: {"score_rewards": {…}, "train_sft/rmsp": {…}, …}."""

Claim = dict[str, Any]

EVEN = 0.5


@dataclass(frozen=True)
class Seeds:
    """The metrics of every seed, read by path."""

    metrics: Sequence[Metrics]

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

    def interval(self, *path: str | int) -> Interval | None:
        """The figure at the path, all seeds together."""
        found = self.get(*path)
        if found is None:
            return None
        return combine_seeds([Interval(f["value"], f["low"], f["high"], f["n"]) for f in found])

    def win_rate(self, a: str, b: str) -> Interval | None:
        """How often policy a beats policy b in the oracle's eyes."""
        return self.interval("judge_answers", f"{a}_vs_{b}", "oracle", "win_rate")

    def difference(self, name: str) -> Interval | None:
        """A difference between two vanilla configurations."""
        return self.interval("score_comparisons", "differences", name)

    def label(self, part: str, figure: str) -> Interval | None:
        """A figure about the labels that a filter leaves."""
        return self.interval("score_comparisons", "labels", part, figure)

    def reward(self, name: str, figure: str) -> Interval | None:
        """A figure about a reward model."""
        return self.interval("score_rewards", "rewards", name, figure)

    def claim(
        self, name: str, text: str, paper: str, figure: Interval | None, file: str, rule: Callable[[Interval], bool]
    ) -> Claim:
        """What is claimed, the figure for it, and whether it holds by the rule; one that was not measured does not."""
        return {
            "id": name,
            "claim": text,
            "source": f"{paper}; {file}",
            "value": None if figure is None else round(figure.value, 6),
            "low": None if figure is None else round(figure.low, 6),
            "high": None if figure is None else round(figure.high, 6),
            "n": 0 if figure is None else figure.n,
            "seeds": len(self.metrics),
            "holds": figure is not None and bool(rule(figure)),
        }


def above(bound: float) -> Callable[[Interval], bool]:
    """The rule that the whole interval lies above a bound."""
    return lambda figure: figure.low > bound
