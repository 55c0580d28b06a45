"""Prompts and answers, packed for a model that reads each answer by itself: in what rows, and in what batches.

Several answers to one prompt are read behind one copy of it, where the model then says what it says of each alone;
batches hold rows of like length, and every free core reads batches.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from synthalign.core import hardware
from synthalign.dialogue import encoding
from synthalign.generation import attention, models

T = TypeVar("T")

Tokens = tuple[int, ...]

Key = tuple[Tokens, Tokens]
"""A prompt and an answer: a text, of which an answer's tokens are asked for."""

Row = tuple[Tokens, tuple[Tokens, ...]]
"""A prompt, and answers that are read behind one copy of it."""

ANSWERS = 8
"""At most so many in a row: every answer is compared with the whole row, and masked out of the others."""


def by_key(
    model: PreTrainedModel,
    keys: Sequence[Key],
    read: Callable[[Sequence[Row]], Sequence[T]],
    *,
    batch_size: int,
    answers: int = ANSWERS,
) -> dict[Key, T]:
    """What is found of each distinct text.

    read        called from several threads: what is found of the answers of rows, one after the other
    batch_size  answers that are read at once, where hardware.yaml says no other number; it changes no result
    answers     of one prompt in a row, at most
    """
    longest = max((len(prompt) + len(answer) for prompt, answer in keys), default=0)
    together = attention.shares_rows(model, longest)
    alike = longest <= attention.turning(model)  # else no text may stand, or be read, beside a longer one
    batches = pack(
        keys,
        batch_size=hardware.read().device_rows.scoring or batch_size,
        answers=answers if together else 1,
        padded=alike
        and attention.shares_rows(model, 1),  # then nothing but attention looks back, and it does not read padding
    )

    def read_one(rows: Sequence[Row]) -> Sequence[T]:
        with torch.inference_mode():  # which belongs to a thread
            return read(rows)

    with models.beside(models.free_cores(model.device) if alike else 1) as threads:
        found = [one for of_rows in threads.map(read_one, batches) for one in of_rows]
    order = [(prompt, answer) for rows in batches for prompt, some in rows for answer in some]
    return dict(zip(order, found, strict=True))


def cut(prompt: list[int], answer: list[int], longest: int, keep: int) -> Key:
    """Prompt and answer, cut at the left to `longest` tokens behind the prompt's first `keep`; 0 is no limit."""
    if not longest:
        return tuple(prompt), tuple(answer)
    kept = answer[-max(longest - keep, 1) :]
    return tuple(encoding.cut(prompt, longest - len(kept), keep)), tuple(kept)


def pack(keys: Sequence[Key], *, batch_size: int, answers: int, padded: bool = True) -> list[list[Row]]:
    """The distinct keys in rows of at most `answers` to a prompt, those of one answer and of several apart, in batches
    of at most `batch_size` answers and of like length; of one length where rows must not be padded."""
    given: dict[Tokens, list[Tokens]] = {}
    for prompt, answer in dict.fromkeys(keys):
        given.setdefault(prompt, []).append(answer)
    rows = [
        (prompt, tuple(found[start : start + answers]))
        for prompt, found in given.items()
        for start in range(0, len(found), answers)
    ]
    text = {row: sum(row[1], row[0]) for row in rows}
    rows.sort(key=lambda row: (len(text[row]), text[row]))
    batches = []
    for part, size in (
        ([row for row in rows if len(row[1]) == 1], batch_size),
        ([row for row in rows if len(row[1]) > 1], max(1, batch_size // answers)),
    ):
        for _, alike in groupby(part, key=lambda row: 0 if padded else len(text[row])):
            some = list(alike)
            batches += [some[start : start + size] for start in range(0, len(some), size)]
    return batches


def layout(rows: Sequence[Row], width: int) -> tuple[Tensor, Tensor, list[list[slice]]]:
    """Where the tokens of packed rows stand.

    part       (B, T)  0 in the prompt, 1, 2, … in the answers, -1 in padding
    positions  (B, T)  in the prompt and its own answer, as if the others were not there
    spans      of each row, the places of its answers
    """
    part = torch.full((len(rows), width), -1)
    positions = torch.zeros(len(rows), width, dtype=torch.int64)
    spans = []
    for row, (prompt, answers) in enumerate(rows):
        place = len(prompt)
        part[row, :place] = 0
        positions[row, :place] = torch.arange(place)
        of_row = []
        for number, answer in enumerate(answers, start=1):
            end = place + len(answer)
            part[row, place:end] = number
            positions[row, place:end] = torch.arange(len(prompt), len(prompt) + len(answer))
            of_row.append(slice(place, end))
            place = end
        spans.append(of_row)
    return part, positions, spans


def pad(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens as one right-padded tensor and its attention mask, (B, T) each."""
    width = max(len(row) for row in rows)
    input_ids = torch.tensor([[*row, *[pad_token_id] * (width - len(row))] for row in rows])
    attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return input_ids, attention_mask
