"""From a labeller's option probabilities to soft labels: both orders, clamping, and how much the order matters.

Bai et al. 2022 (Constitutional AI, section 4) use the normalised probability of the two options as the label; Lee et
al. 2023 (RLAIF, section 2.1) show every pair in both orders and take the mean; RLCD's own baseline shows one order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Orders = Literal["both", "first"]
"""both: the mean over the two orders.  first: the first answer is always shown first, as in RLCD's released code."""


@dataclass(frozen=True)
class Verdict:
    """What a labeller says of a pair, the first and the second answer.

    first_shown_first   its probability that the first answer is better, when that is option A
    first_shown_second  the same when the first answer is option B; None where one order was asked alone
    """

    first_shown_first: float
    first_shown_second: float | None

    @property
    def p_first(self) -> float:
        """The label: the probability that the first answer is better. With both orders, 1 - that of the turned pair."""
        if self.first_shown_second is None:
            return self.first_shown_first
        return (self.first_shown_first + self.first_shown_second) / 2


def clamped(p: float, bounds: Sequence[float] | None) -> float:
    """A probability held within bounds, such as 0.4 to 0.6 for a labeller that is too sure (CAI section 4.1)."""
    return p if bounds is None else min(max(p, bounds[0]), bounds[1])


def summary(verdicts: Sequence[Verdict]) -> dict[str, float | int]:
    """How sure a labeller is, and how far the order decides.

    swap_consistency  share of pairs where the same answer is preferred in both orders
    first_position    share of pairs where option A is preferred in both orders; what is left prefers option B in both
    p_first_position  the mean probability of option A over both orders; 1/2 for a labeller that does not mind the order
    confidence        the mean distance of the label from 1/2

    A probability of exactly 1/2 prefers neither, and counts half for each.
    """
    both = [(one.first_shown_first, one.first_shown_second) for one in verdicts if one.first_shown_second is not None]
    values: dict[str, float | int] = {
        "pairs": len(verdicts),
        "confidence": round(fmean(abs(one.p_first - 0.5) for one in verdicts), 6),
    }
    if both:
        preferred = [(_preferred(one), _preferred(other)) for one, other in both]
        values["swap_consistency"] = round(fmean(a * b + (1 - a) * (1 - b) for a, b in preferred), 6)
        values["first_position"] = round(fmean(a * (1 - b) for a, b in preferred), 6)
        values["p_first_position"] = round(fmean((one + 1 - other) / 2 for one, other in both), 6)
    return values


def _preferred(p: float) -> float:
    """1 for a probability above 1/2, 0 for one below."""
    return (p > 0.5) + 0.5 * (p == 0.5)
