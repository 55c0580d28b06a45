"""Put language models and reward models to the questions of `benchmarks`."""

from collections.abc import Sequence
from math import exp

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core import hardware, measures
from synthalign.dialogue import encoding
from synthalign.generation import models
from synthalign.judging import benchmarks
from synthalign.judging.benchmarks import Choice, Preference
from synthalign.policies import reading
from synthalign.reward import packing, scoring

Option = tuple[str, str]
"""A prefix, and the continuation whose log-probability is an option's score."""


def options_right(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[tuple[Choice, Sequence[Option]]],
    *,
    batch_size: int,
) -> list[float]:
    """For each question, 1 when its right option's continuation is strictly the most probable of all, else 0.

    items  the question, and for each of its options, in order, the text that is scored
    """
    pairs = [option for _, options in items for option in options]
    scores = iter(continuation_log_probs(model, tokenizer, pairs, batch_size=batch_size))
    return [float(benchmarks.strictly_highest([next(scores) for _ in options], item.right)) for item, options in items]


def letters_right(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[Preference], *, batch_size: int
) -> list[float]:
    """For each item of HHH, 1 when a language model names the preferred reply's letter, counted over both orders."""
    pairs = [
        (benchmarks.letter_prompt(item, chosen_first=chosen_first), letter)
        for item in items
        for chosen_first in (item.order == 0, item.order == 1)
        for letter in (" A", " B")
    ]
    found = [exp(value) for value in continuation_log_probs(model, tokenizer, pairs, batch_size=batch_size)]
    right = []
    for place, item in enumerate(items):
        a, b, other_a, other_b = found[4 * place : 4 * place + 4]
        shown = [(a, b), (other_a, other_b)]
        right.append(float(benchmarks.both_orders_right(shown[item.order], shown[1 - item.order])))
    return right


def preferences_right(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[Preference], *, batch_size: int
) -> list[float]:
    """For each item of HHH, 1 when a reward model gives the preferred reply strictly the higher reward, else 0."""
    dialogues = [
        [*item.context, {"role": "assistant", "content": reply}]
        for item in items
        for reply in (item.chosen, item.rejected)
    ]
    rewards = scoring.score(model, tokenizer, dialogues, batch_size=batch_size)
    return [float(chosen > rejected) for chosen, rejected in zip(rewards[::2], rewards[1::2], strict=True)]


def rewards_right(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[Choice], *, batch_size: int
) -> list[float]:
    """For each question, 1 when a reward model gives its right option strictly the highest reward, else 0."""
    dialogues = [
        [{"role": "user", "content": item.question}, {"role": "assistant", "content": option}]
        for item in items
        for option in item.options
    ]
    rewards = iter(scoring.score(model, tokenizer, dialogues, batch_size=batch_size))
    return [float(benchmarks.strictly_highest([next(rewards) for _ in item.options], item.right)) for item in items]


@torch.inference_mode()
def continuation_log_probs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    batch_size: int,
    ends: bool = False,
) -> list[float]:
    """The summed log-probability (nats) of each continuation's tokens after its prefix, from (prefix, continuation).

    ends  whether the end of sequence behind it counts

    The two are tokenized as one text; the continuation begins where the prefix's own tokens end or differ. A text
    longer than the model's context loses its beginning, but for its BOS. Continuations of one prefix are read behind
    one copy of it, where the model then says what it says of each alone. UserError names a continuation whose
    log-probability is none.
    """
    context, keep = _context(model), len(encoding.opening(tokenizer))
    keys = []
    for prefix, continuation in pairs:
        before, whole = encoding.tokenize(tokenizer, [prefix, prefix + continuation])
        same = 0
        while same < min(len(before), len(whole)) and before[same] == whole[same]:
            same += 1
        whole = [*whole, tokenizer.eos_token_id] if ends else whole
        row = encoding.cut(whole, context, keep)
        start = max(same - (len(whole) - len(row)), keep, 1)  # the first token of all has no probability
        keys.append((tuple(row[:start]), tuple(row[start:])))
    found = reading.answer_logprobs(model, keys, pad=tokenizer.pad_token_id, batch_size=batch_size)
    for key, (prefix, continuation) in zip(keys, pairs, strict=True):
        measures.check_score(model.name_or_path, found[key], f"{continuation!r} after {prefix[-80:]!r}")
    return [found[key] for key in keys]


@torch.inference_mode()
def text_log_probs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, batch_size: int
) -> list[tuple[float, int]]:
    """The log-probability (nats) of each text and the number of its tokens, so that -sum / tokens is its loss.

    A text follows what the tokenizer begins every text with, or its BOS or EOS, which has no probability itself; of a
    text longer than the model's context the beginning counts. UserError names a text whose log-probability is none.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    begin = [] if encoding.opening(tokenizer) else [start]
    rows = [(begin + tokens)[: _context(model)] for tokens in encoding.tokenize(tokenizer, texts)]
    scored = token_log_probs(model, rows, pad_token_id=tokenizer.pad_token_id, batch_size=batch_size)
    sums = [float(values.sum()) for values in scored]
    for value, text in zip(sums, texts, strict=True):
        measures.check_score(model.name_or_path, value, repr(text[:80]))
    return [(value, len(values)) for value, values in zip(sums, scored, strict=True)]


@torch.inference_mode()
def token_log_probs(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], *, pad_token_id: int, batch_size: int
) -> list[Tensor]:
    """The log-probability (nats, fp32) of every token but the first, (T - 1,) for each row of T tokens.

    batch_size  rows that are read at once; fewer where their logits would be more than hardware.LOGITS
    """
    batch_size = hardware.read().device_rows.scoring or batch_size
    scored: dict[int, Tensor] = {}

    def read(places: Sequence[int]) -> None:
        input_ids, attention_mask = packing.pad([rows[place] for place in places], pad_token_id)
        input_ids, attention_mask = input_ids.to(model.device), attention_mask.to(model.device)
        with torch.inference_mode():  # which belongs to a thread
            logits = (
                model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1].float()
            )  # (B, T-1, V)
            targets = input_ids[:, 1:, None]
            logprobs = (logits.gather(-1, targets).squeeze(-1) - logits.logsumexp(-1)).cpu()  # (B, T-1)
        for place, values in zip(places, logprobs, strict=True):
            scored[place] = values[: len(rows[place]) - 1]

    cells = max(1, hardware.LOGITS // models.vocabulary_of(model))
    packed = batches([len(row) for row in rows], most=batch_size, cells=cells)
    with models.beside(models.free_cores(model.device)) as threads:
        list(threads.map(read, reversed(packed)))  # the longest first: all end together
    return [scored[place] for place in range(len(rows))]


def batches(lengths: Sequence[int], *, most: int, cells: int) -> list[list[int]]:
    """The places of rows, the shortest first, so many together that neither are there more than `most` nor, as long as
    the longest among them, have they more than `cells` tokens; a longer row is alone."""
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if found and len(found[-1]) < most and (len(found[-1]) + 1) * lengths[place] <= cells:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def _context(model: PreTrainedModel) -> int:
    return models.context_of(model) or 1_000_000
