"""The token that a number falls on, without sorting the vocabulary; on the CPU, where a sort of it costs the most.

Sorting 262,144 probabilities takes a hundred times as long as computing them.  But only those near the border of the
nucleus have to be ranked, and only those near the drawn token have to be added one by one.  Sums are taken in another
order here than in `sampling`, so they may differ in their last bits: where that could change which token it is, -1 is
returned, and the whole vocabulary has to be sorted for this row.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import threshold

Array = npt.NDArray[Any]

BLOCK = 512
"""Tokens of the vocabulary that are added up together before the drawn one is looked for among them."""

MARKS, NEAR = 512, 8
"""Of so many tokens the probabilities are marks; the border of the nucleus is sought between marks so near."""

LIKELY = 2e-3
"""Where tokens of this probability hold the nucleus, only they are looked at, a handful of the vocabulary."""

MARGIN = 1e-4
"""More than the rounding of a sum of probabilities."""


def draw(probabilities: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """The tokens of `sampling.choose`, or -1 where rounding could decide.

    probabilities  (B, V) float32
    uniform        (B,)  in [0, 1)
    returns        (B,) int64
    """
    size = probabilities.shape[-1]
    blocks = torch.zeros(-(-size // BLOCK), BLOCK, dtype=torch.float64)
    rows = zip(probabilities, uniform.tolist(), strict=True)
    return torch.tensor([_draw_one(row, number, top_p, blocks) for row, number in rows], dtype=torch.int64)


def slack(size: int) -> float:
    """More than two sums of `size` numbers that make 1 can be apart, each rounded in its own order, twice over.

    A sum of n positive doubles in any order is off by less than n 2^-53 of it (Higham 2002, section 4.2).
    """
    return 4 * size * 2.0**-53


def _draw_one(row: Tensor, uniform: float, top_p: float, blocks: Tensor) -> int:
    if top_p < 1:
        values = row.numpy()
        tokens = np.flatnonzero(values > np.float32(LIKELY))
        if values[tokens].sum(dtype=np.float64) >= top_p + MARGIN:
            return _draw_likely(values, tokens, uniform, top_p)
    sums = _nucleus(row, top_p, blocks) if top_p < 1 else _sums(row, blocks)
    return -1 if sums is None else _invert(sums, uniform, blocks, slack(len(row)))


def _draw_likely(weights: Array, tokens: Array, uniform: float, top_p: float) -> int:
    """The token of a row whose likely tokens hold the nucleus: every sum is taken in the order of `sampling`."""
    likely = weights[tokens].astype(np.float64)
    order = np.argsort(-likely, kind="stable")
    ranked = likely[order]
    likely[order[ranked.cumsum() - ranked >= top_p]] = 0.0
    running = likely.cumsum()
    return int(tokens[running.searchsorted(uniform * running[-1], side="right")])


def _nucleus(weights: Tensor, top_p: float, blocks: Tensor) -> Tensor | None:
    """`_sums` of the weights of one row, zero outside the nucleus; None where rounding could decide.

    The border lies between two marks: what is above one has less than `top_p`, what is above the other has it.  What
    is between them is sorted.
    """
    values = weights.numpy()
    sample = np.sort(values[:: -(-len(values) // MARKS)])[::-1]
    marks = [math.inf, *sample.tolist(), 0.0]
    above, reaching, passed = 0, len(marks) - 1, 0.0
    middle = 1 + int(sample.cumsum().searchsorted(top_p * sample.sum()))  # a guess, then near it, then further away
    step = NEAR
    while reaching - above > NEAR:
        if not above < middle < reaching:
            middle = (above + reaching) // 2
        mass = _mass(weights, marks[middle])
        if mass < top_p:
            above, middle, passed = middle, middle + step, mass
        else:
            reaching, middle = middle, middle - step
        step *= 2
    between = np.sort(values[(values > marks[reaching]) & (values <= marks[above])])[::-1]
    ranked = between.cumsum(dtype=np.float64)
    for _ in range(2):  # `passed` is a float32 sum; the second time it is not
        kept = 1 + int(ranked.searchsorted(top_p - passed))
        if kept > len(between):
            return None
        sums = _sums(_greatest(weights, between, kept), blocks)
        total = sums.sum().item()
        before = total - float(between[kept - 1])
        if before < top_p <= total:
            break
        passed = total - float(ranked[kept - 1])
    allowed = slack(len(values))
    return sums if before < top_p - allowed and top_p + allowed < total else None


def _greatest(weights: Tensor, ranked: Array, kept: int) -> Tensor:
    """The weights, zero below the ranked ones that are kept; of equal tokens the first are kept."""
    least = ranked[kept - 1]
    greatest = threshold(weights, float(np.nextafter(least, np.float32(0))), 0.0)
    ties = int((ranked[kept:] == least).sum())
    if ties:
        greatest[torch.from_numpy(np.flatnonzero(weights.numpy() == least)[-ties:])] = 0.0
    return greatest


def _invert(sums: Tensor, uniform: float, blocks: Tensor, allowed: float) -> int:
    """The first place where the running sum passes `uniform` of the whole; -1 where rounding could decide."""
    running = sums.cumsum(0).numpy()
    target = uniform * running[-1]
    block = int(running.searchsorted(target, side="right"))
    if block == len(running):
        return -1
    inside = np.concatenate(([running[block - 1] if block else 0.0], blocks[block].numpy())).cumsum()
    place = int(inside.searchsorted(target, side="right"))
    if place > BLOCK or not inside[place - 1] + allowed < target < inside[place] - allowed:
        return -1
    return block * BLOCK + place - 1


def _mass(weights: Tensor, least: float) -> float:
    """What the weights above `least` have together, to float32."""
    return threshold(weights, least, 0.0).sum().item()


def _sums(weights: Tensor, blocks: Tensor) -> Tensor:
    """Of every block of the weights, which are left in `blocks`: (V,) → (V / BLOCK,) float64."""
    blocks.view(-1)[: len(weights)] = weights
    return blocks.sum(-1)
