"""Texts of a given and a chosen part as padded tensors, rows of like length together."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from synthalign.core import hardware


class Batch(NamedTuple):
    """Texts of a given and a chosen part, padded on the right: S tokens in all, T chosen, N chosen over all rows."""

    input_ids: Tensor  # (B, S)
    states: Tensor  # (B, S) True at the position before each chosen token
    chosen: Tensor  # (N,) token ids, row after row
    mask: Tensor  # (B, T) True at chosen tokens


def collate(given: Sequence[list[int]], chosen: Sequence[list[int]], *, pad: int, device: torch.device) -> Batch:
    """Texts `given[b] + chosen[b]` as one batch; neither part may be empty."""
    assert all(given) and all(chosen), "a text has an empty part"
    rows = [[*before, *after] for before, after in zip(given, chosen, strict=True)]
    longest = max(map(len, rows))
    starts = torch.tensor([[len(before)] for before in given])
    lengths = torch.tensor([[len(after)] for after in chosen])
    positions = torch.arange(longest)
    return Batch(
        input_ids=torch.tensor([row + [pad] * (longest - len(row)) for row in rows]).to(device),
        states=((positions >= starts - 1) & (positions < starts + lengths - 1)).to(device),
        chosen=torch.tensor([token for after in chosen for token in after]).to(device),
        mask=(torch.arange(int(lengths.max())) < lengths).to(device),
    )


def by_answer(values: Tensor, mask: Tensor) -> Tensor:
    """Values (N,) of the chosen tokens, row after row, as (B, T) with 0 at padding."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


def state_logits(model: nn.Module, batch: Batch) -> Tensor:
    """(N, V) float32: what the model makes of each position before a chosen token.

    It is told of no padding: that stands on the right, where no token that counts looks.
    """
    return model(input_ids=batch.input_ids, logits_to_keep=batch.states, use_cache=False).logits.float()


def pieces(count: int, size: int) -> list[slice]:
    """range(count) in slices of at most `size`."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def alike(lengths: Sequence[int], size: int) -> list[list[int]]:
    """The places of `lengths` in groups of at most `size` of like length, so that little is padded."""
    order = sorted(range(len(lengths)), key=lambda place: (lengths[place], place))
    return [order[piece] for piece in pieces(len(order), size)]


def bounded(places: Sequence[int], sizes: Sequence[int], most: int) -> list[list[int]]:
    """The places, in their order, in parts whose sizes add up to at most `most`; one that is larger is alone.

    >>> bounded([2, 0, 1], [3, 9, 1], 4)      # sizes 1 and 3, then 9
    [[2, 0], [1]]
    """
    found: list[list[int]] = []
    held = 0
    for place in places:
        if not found or held + sizes[place] > most:
            found.append([])
            held = 0
        found[-1].append(place)
        held += sizes[place]
    return found


def read_together(
    given: Sequence[Sequence[int]], chosen: Sequence[Sequence[int]], *, rows: int, vocabulary: int
) -> list[list[int]]:
    """The places of texts `given[b] + chosen[b]` in groups of like length.

    rows, vocabulary  a group has at most so many texts, and logits of chosen tokens no more than hardware.LOGITS
    """
    lengths = [len(before) + len(after) for before, after in zip(given, chosen, strict=True)]
    sizes, most = [len(after) for after in chosen], max(1, hardware.LOGITS // vocabulary)
    return [part for group in alike(lengths, rows) for part in bounded(group, sizes, most)]
