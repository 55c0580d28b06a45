"""Why contrast makes better labels than scoring, in closed form and by simulation (RLCD section 3.2 and appendix).

An answer's attribute is normal with deviation `spread`; a scorer adds normal noise of deviation `noise` to each answer.
RLAIF draws two answers from one distribution and believes the scorer; RLCD draws them from two whose means are `gap`
apart and believes the prompts.
"""

from math import atan, exp, pi
from statistics import NormalDist

import numpy as np

_PHI = NormalDist().cdf


def scored_accuracy(spread: float, noise: float) -> float:
    """P(label right) of RLAIF: 1/2 + arctan(spread / noise) / pi."""
    return 0.5 + atan(spread / noise) / pi


def scored_near_tie(difference: float, noise: float) -> float:
    """The same for two answers that differ by this much: Phi(difference / (sqrt(2) noise))."""
    return _PHI(difference / (2**0.5 * noise))


def contrast_accuracy(gap: float, spread: float) -> float:
    """P(label right) of RLCD: Phi(gap / (sqrt(2) spread)); 1/2 for prompts that make no difference."""
    return _PHI(gap / (2**0.5 * spread))


def contrast_near_tie(difference: float, gap: float, spread: float) -> float:
    """The same for two answers that differ by this much: sigmoid(gap difference / spread^2)."""
    return 1 / (1 + exp(-gap * difference / spread**2))


def simulate(draws: int, *, gap: float, spread: float, noise: float, near: float, seed: int) -> dict[str, float]:
    """The four figures counted over random pairs; a near tie has attributes at most `near` apart."""
    rng = np.random.default_rng(seed)
    one, other = rng.normal(0, spread, (2, draws))
    seen = rng.normal(0, noise, (2, draws))
    scored = ((one + seen[0]) > (other + seen[1])) == (one > other)
    contrasted = one + gap > other
    return {
        "scored": float(scored.mean()),
        "scored_near_tie": float(scored[np.abs(one - other) <= near].mean()),
        "contrast": float(contrasted.mean()),
        "contrast_near_tie": float(contrasted[np.abs(one + gap - other) <= near].mean()),
    }
