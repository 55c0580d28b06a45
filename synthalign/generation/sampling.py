"""Draw tokens with random numbers that belong to the row, not to the run.

The number for a token is a hash of (seed, row id, sample index, position).  So what a row says does not depend on the
batch it was in, on the order of the rows, on the number of processes, or on a restart.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from synthalign.generation import large_vocabulary

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
MIX_2 = 0x94D049BB133111EB - 2**64


def streams(seed: int, row_ids: Sequence[str], samples: int) -> Tensor:
    """One 64-bit stream key for every sample of every row.

    returns  (rows, samples) int64; the first of four samples has the key of the only one of one
    """

    def key(row_id: str, sample: int) -> int:
        name = f"{seed}\0{row_id}\0{sample}".encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little", signed=True)

    return torch.tensor([[key(row_id, sample) for sample in range(samples)] for row_id in row_ids], dtype=torch.int64)


def uniforms(stream: Tensor, position: Tensor) -> Tensor:
    """The random number of every stream at its position: SplitMix64 (Steele et al. 2014) as a counter-based generator.

    stream    (B,) int64  from `streams`
    position  (B,) int64  how many tokens the stream has drawn before
    returns   (B,) float64 in [0, 1)
    """
    z = stream + (position + 1) * GOLDEN
    z = (z ^ _shift(z, 30)) * MIX_1
    z = (z ^ _shift(z, 27)) * MIX_2
    z = z ^ _shift(z, 31)
    return _shift(z, 11).double() * 2.0**-53


def choose(logits: Tensor, uniform: Tensor, *, temperature: float | Tensor, top_p: float) -> Tensor:
    """The tokens that the numbers fall on: inverse transform sampling from the nucleus, in the vocabulary's order.

    logits       (B, V)
    uniform      (B,)  in [0, 1); not read when temperature is 0
    temperature  0 takes the most probable token; (B,) gives every row its own
    top_p        only the smallest set of most probable tokens that together have this probability is drawn from
                 (Holtzman et al. 2020); 1 is all of them
    returns      (B,) int64
    """
    if isinstance(temperature, Tensor):
        greedy = temperature == 0
        drawn = choose(logits / torch.where(greedy, 1.0, temperature)[:, None], uniform, temperature=1.0, top_p=top_p)
        return torch.where(greedy, logits.argmax(-1), drawn)
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits.float() / temperature).softmax(-1)
    if logits.device.type != "cpu" or logits.shape[-1] < LARGE:
        return _draw(probabilities, uniform, top_p)
    chosen = large_vocabulary.draw(probabilities, uniform, top_p)
    unsure = (chosen < 0).nonzero()[:, 0]
    if len(unsure):
        chosen[unsure] = _draw(probabilities[unsure], uniform[unsure], top_p)
    return chosen


LARGE = 8192
"""From so many tokens on it costs more on the CPU to sort the vocabulary than to look at every row by itself."""


def _draw(probabilities: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """The same, of probabilities: (B, V), (B,) → (B,)."""
    if top_p >= 1:
        return _invert(probabilities, uniform)
    weights, tokens = _pack(probabilities, probabilities >= large_vocabulary.LIKELY)
    narrow = weights.sum(-1) >= top_p + large_vocabulary.MARGIN
    if narrow.all():
        return _draw_packed(weights, tokens, uniform, top_p)
    chosen = torch.empty(len(probabilities), dtype=torch.int64, device=probabilities.device)
    at, others = narrow.nonzero()[:, 0], (~narrow).nonzero()[:, 0]
    chosen[at] = _draw_packed(weights[at], tokens[at], uniform[at], top_p)
    chosen[others] = _invert(_nucleus(probabilities[others], top_p), uniform[others])
    return chosen


def _draw_packed(weights: Tensor, tokens: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """The same of a part of the tokens that holds the nucleus: two of (B, K), (B,) → (B,)."""
    if not len(weights):
        return uniform.long()
    place = _invert(_nucleus(weights, top_p), uniform)
    return tokens.gather(-1, place[:, None])[:, 0]


def _pack(weights: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The wanted entries of every row moved to its left, in their order, zeros after them; and where they stood.

    weights, wanted  (B, V)
    returns          two of (B, K), K the most that a row wants
    """
    row, column = wanted.nonzero(as_tuple=True)
    count = row.bincount(minlength=len(weights))
    place = torch.arange(len(row), device=row.device) - (count.cumsum(-1) - count)[row]
    packed = weights.new_zeros(len(weights), int(count.max()))
    stood = torch.zeros(packed.shape, dtype=torch.int64, device=row.device)
    packed[row, place] = weights[row, column]
    stood[row, place] = column
    return packed, stood


def _nucleus(weights: Tensor, top_p: float) -> Tensor:
    """The weights, zero outside the smallest set of the greatest that sum to `top_p` or more: (B, K) → (B, K)."""
    ranked, order = weights.sort(dim=-1, descending=True, stable=True)
    before = ranked.double().cumsum(-1) - ranked
    return torch.zeros_like(weights).scatter_(-1, order, torch.where(before < top_p, ranked, 0.0))


def _invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """The first place where the running sum of the weights passes `uniform` of the whole: (B, V), (B,) → (B,)."""
    running = weights.double().cumsum(-1)
    target = uniform[:, None] * running[:, -1:]
    return torch.searchsorted(running, target, right=True)[:, 0].clamp_(max=weights.shape[-1] - 1)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch has only the arithmetic one."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
