"""The token is the one that a sort of the whole vocabulary gives, bit for bit."""

import pytest
import torch
from torch import Tensor

from synthalign.generation import large_vocabulary, sampling

V = sampling.LARGE + 5  # no multiple of a block


def by_sorting(logits: Tensor, uniform: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """The same as `sampling.choose`, in six lines that sort and add up everything."""
    weights = (logits.float() / temperature).softmax(-1)
    if top_p < 1:
        ranked, order = weights.sort(dim=-1, descending=True, stable=True)
        before = ranked.double().cumsum(-1) - ranked
        weights = torch.zeros_like(weights).scatter_(-1, order, torch.where(before < top_p, ranked, 0.0))
    running = weights.double().cumsum(-1)
    return torch.searchsorted(running, uniform[:, None] * running[:, -1:], right=True)[:, 0].clamp_(max=V - 1)


def some(kind: str, rows: int, generator: torch.Generator) -> Tensor:
    logits = torch.randn(rows, V, generator=generator)
    if kind == "flat":
        return logits / 10
    if kind == "equal":
        return torch.zeros(rows, V)
    if kind == "bf16, so with many ties":
        return (3 * logits).bfloat16().float()
    if kind == "two values":
        return (logits > 0).float()
    if kind == "half of it masked out":
        return logits.masked_fill(torch.randn(rows, V, generator=generator) > 0, -torch.inf)
    if kind == "peaked":
        return 6 * logits
    if kind == "one token and the rest":
        logits[:, 77] += torch.linspace(5, 15, rows)
        return logits
    if kind == "falling with the rank":
        return -torch.arange(1.0, V + 1).log()[torch.randperm(V, generator=generator)].expand(rows, V)
    return logits


KINDS = (
    "normal",
    "flat",
    "equal",
    "bf16, so with many ties",
    "two values",
    "half of it masked out",
    "peaked",
    "one token and the rest",
    "falling with the rank",
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_token_is_that_of_a_sorted_vocabulary(kind: str) -> None:
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    for top_p in (0.05, 0.5, 0.9, 0.99, 1.0):
        for temperature in (0.7, 1.2):
            logits = some(kind, 24, generator)
            uniform = torch.rand(24, generator=generator, dtype=torch.float64)
            uniform[:2] = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
            expected = by_sorting(logits, uniform, temperature=temperature, top_p=top_p)

            assert torch.equal(sampling.choose(logits, uniform, temperature=temperature, top_p=top_p), expected)


def test_the_vocabulary_is_hardly_ever_sorted() -> None:
    generator = torch.Generator().manual_seed(0)
    for kind in ("normal", "flat", "bf16, so with many ties", "peaked"):
        probabilities = some(kind, 64, generator).softmax(-1)
        uniform = torch.rand(64, generator=generator, dtype=torch.float64)
        for top_p in (0.9, 1.0):
            assert (large_vocabulary.draw(probabilities, uniform, top_p) < 0).sum() <= 1


def test_a_border_within_rounding_is_left_to_the_sort() -> None:
    probabilities = torch.full((1, 2**13), 2.0**-13)  # the first half has exactly .5, and a quarter of it exactly .125

    def token(uniform: float, top_p: float) -> int:
        return int(large_vocabulary.draw(probabilities, torch.tensor([uniform], dtype=torch.float64), top_p))

    assert token(0.25, 0.5) == -1  # .5 itself is the border
    assert token(0.25, 1.0) == -1  # the number stands where one token ends and the next begins
    assert token(0.25 + 2.0**-14, 1.0) == 2048
    assert token(0.25, 0.5 + 2.0**-14) == 1024  # 4,097 are kept; a quarter of them is in the middle of the 1,025th


def test_a_border_is_found_to_a_thousandth_of_a_millionth() -> None:
    probabilities = torch.zeros(1, V).softmax(-1)
    each = float(probabilities[0, 0])
    almost_one = torch.tensor([1 - 1e-6], dtype=torch.float64)

    for count in range(3000, 7000, 100):  # of equal tokens the first are kept, and here the last of them is drawn
        assert large_vocabulary.draw(probabilities, almost_one, count * each - 1e-9) == count - 1
        assert large_vocabulary.draw(probabilities, almost_one, count * each + 1e-9) == count


def test_broken_logits_give_what_they_gave() -> None:
    logits = torch.zeros(3, V)
    logits[0, 5], logits[1], logits[2, 3] = torch.inf, -torch.inf, torch.nan
    uniform = torch.full((3,), 0.5, dtype=torch.float64)

    for top_p in (0.9, 1.0):
        expected = by_sorting(logits, uniform, temperature=1, top_p=top_p)
        assert torch.equal(sampling.choose(logits, uniform, temperature=1, top_p=top_p), expected)
