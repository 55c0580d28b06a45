"""Several examples in one row of tokens, so that little is padded, and none of them sees another.

Each example's positions begin at 0, and the attention mask is causal within an example and closed between examples
(Raffel et al. 2020, section 3.1.5; Chung et al. 2022 mask across packed examples too). So an example's logits are those
it has alone, up to the rounding of sums. Where they would not be (a window shorter than a row, a state, a convolution),
every example has a row of its own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from synthalign.dialogue.encoding import Encoded
from synthalign.generation import attention

IGNORED = -100
"""The label of a token that is no target."""


def packs(model: PreTrainedModel, size: int) -> bool:
    """Whether examples may share a row of `size` tokens: the model takes a boolean mask of four dimensions and says
    behind it what it says of an example alone."""
    return model.config._attn_implementation == "sdpa" and attention.shares_rows(model, size)


def pack(lengths: Sequence[int], *, size: int) -> list[list[int]]:
    """Which examples share a row, by their places: each goes into the first row with room, in the order given.

    lengths  of each example, in tokens, none above `size`
    size     the room of a row, in tokens
    """
    assert max(lengths, default=0) <= size, f"an example has {max(lengths)} tokens; a row has room for {size}"
    rows: list[list[int]] = []
    room: list[int] = []
    for place, length in enumerate(lengths):
        row = next((row for row, left in enumerate(room) if length <= left), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(size)
        rows[row].append(place)
        room[row] -= length
    return rows


def join(examples: Sequence[Encoded]) -> dict[str, list[int]]:
    """Examples one after the other as a row.

    input_ids  (T,)  prompt and target of each
    labels     (T,)  the target's tokens and its end of sequence; IGNORED on every prompt, so that no example's last
                     token is asked to predict the next example's first
    positions  (T,)  from 0 in every example
    example    (T,)  1, 2, …: which example a token belongs to
    """
    row: dict[str, list[int]] = {"input_ids": [], "labels": [], "positions": [], "example": []}
    for number, (prompt, target) in enumerate(examples, start=1):
        assert prompt, "an example without a prompt would be predicted from the one before it"
        row["input_ids"] += prompt + target
        row["labels"] += [IGNORED] * len(prompt) + target
        row["positions"] += range(len(prompt) + len(target))
        row["example"] += [number] * (len(prompt) + len(target))
    return row


def mask(example: Tensor) -> Tensor:
    """Who may look at whom, padding being at the end.

    example  (B, T)        which example a token belongs to; 0 for padding
    returns  (B, 1, T, T)  True where the query's example is the key's and the key is not later

    Padding looks at padding, so that no row of the softmax is empty.
    """
    return attention.visible(example)[:, None]


def collate(rows: Sequence[dict[str, list[int]]], pad_token_id: int, *, packed: bool = True) -> dict[str, Any]:
    """Rows of `join` as what a model takes: input_ids, labels, position_ids (B, T) and attention_mask, which is
    (B, 1, T, T) where examples share rows, and (B, T) where every row is one example."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, value: int) -> Tensor:
        return torch.tensor([row[key] + [value] * (width - len(row[key])) for row in rows])

    example = padded("example", 0)
    return {
        "input_ids": padded("input_ids", pad_token_id),
        "labels": padded("labels", IGNORED),
        "position_ids": padded("positions", 0),
        "attention_mask": mask(example) if packed else (example > 0).long(),
    }
