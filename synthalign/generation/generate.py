"""Continue one long prefix with many short suffixes, as in few-shot prompting.

General engines see thousands of long prompts.  Here the prefix is what it is: its keys and values are computed once and
kept once per layer, and every token attends to prefix and suffix separately (`shared_prefix`).

Sequences live in slots; a slot is given to the next sequence as soon as enough of them are free, so finished
sequences do not decode.  All shapes are multiples of 16, in sequences and in tokens: operations on at least so much
round a row in the same way whatever its neighbours are, and so the batch size does not change what a row says.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock, Thread

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core import hardware
from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.generation import (
    attention,
    models,
    sampling,
)
from synthalign.generation.attention_interface import attention_of
from synthalign.generation.shared_prefix import BLOCK, Memory, blocks


@dataclass(frozen=True)
class Generation:
    text: str
    """Decoded, cut before the first stop string, not stripped."""

    token_ids: list[int]
    """The sampled tokens, with the final end-of-sequence token or those of the stop string."""

    finish_reason: str
    """`eos`, `stop` (a stop string), `length`, or `error`: the logits were not finite, so there is no text."""

    logprobs: list[float] | None
    """Of the sampled tokens, under temperature 1 and without top-p, when asked for."""


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    prefix: str,
    suffixes: Sequence[str],
    row_ids: Sequence[str],
    samples: int = 1,
    seed: int,
    max_new_tokens: int,
    temperature: float | Sequence[float],
    top_p: float,
    stops: Sequence[str] = (),
    batch_size: int = 256,
    workers: int | None = None,
    logprobs: bool = False,
    error_rate: float = 0.0,
    progress: Callable[[int], None] | None = None,
    on_finished: Callable[[int, list[Generation]], None] | None = None,
) -> list[list[Generation]]:
    """`samples` continuations of prefix + suffix for every suffix.

    row_ids      name the rows for the random numbers: the same id, seed and text give the same continuations
    temperature  0 is greedy; a sequence gives every row its own
    stops        strings that end a sequence; they are looked for in what was generated only
    batch_size   sequences that a worker decodes together, unless hardware.yaml says; it does not change what a row says
    workers      threads that decode beside each other; None is one on a GPU, and one for every free core without
    error_rate   share of the continuations whose logits may be not finite before all is given up
    progress     told how many rows were finished since it was last called
    on_finished  told the index and the continuations of every row as soon as it is finished
    returns      a list for every row, with a Generation for every sample

    Raises UserError when a prompt and `max_new_tokens` do not fit the model's context, when the model cannot share a
    prefix or does not say behind one what it says without, or when its logits are not finite more often than
    `error_rate` allows.
    """
    assert len(suffixes) == len(row_ids), f"{len(suffixes)} suffixes but {len(row_ids)} row ids"
    heat = temperature if isinstance(temperature, Sequence) else [temperature]
    assert samples >= 1 and max_new_tokens >= 1 and min(heat, default=0.0) >= 0 and 0 < top_p <= 1
    assert len(heat) in (1, len(suffixes)), f"{len(suffixes)} suffixes but {len(heat)} temperatures"
    if not suffixes:
        return []
    batch_size = hardware.read().device_rows.sampling or batch_size
    shared, own = tokenize(tokenizer, prefix, suffixes)
    check_fits(model, len(shared), own, max_new_tokens)
    attention.check_served(model, tokenizer)
    stopping = Stopping.of(model, tokenizer, stops)
    results: list[list[Generation | None]] = [[None] * samples for _ in suffixes]
    missing = [samples] * len(suffixes)
    broken = 0
    lock = Lock()

    def collect(row: int, sample: int, token_ids: list[int], reason: str, values: list[float] | None) -> None:
        nonlocal broken
        made = Generation(stopping.text(token_ids), token_ids, reason, values)
        with lock:
            broken += reason == "error"
            if broken > error_rate * len(suffixes) * samples:
                raise UserError(
                    f"the model's logits are not finite in {broken} of {len(suffixes) * samples} continuations: its "
                    "weights are damaged or its precision is too low; retrain it with a smaller learning rate, or load "
                    "it in float32"
                )
            results[row][sample] = made
            missing[row] -= 1
            if not missing[row]:
                if on_finished:
                    on_finished(row, [one for one in results[row] if one is not None])
                if progress:
                    progress(1)

    streams = sampling.streams(seed, row_ids, samples).to(model.device)
    with torch.inference_mode(), attention_of(model):
        first = Memory()
        if shared:
            first.read_prefix(model, shared)
        for rows in by_length([len(tokens) for tokens in own]):
            waiting = [(row, sample) for row in reversed(rows) for sample in reversed(range(samples))]  # from the end
            count = min(workers or models.free_cores(model.device), -(-len(waiting) // BLOCK))

            def work(
                memory: Memory,
                cancelled: Callable[[], bool],
                waiting: list[tuple[int, int]] = waiting,
                room: int = len(own[rows[-1]]) + max_new_tokens,
                size: int = blocks(min(batch_size, -(-len(waiting) // count))),
            ) -> None:
                memory.reserve(size, room)
                _decode(
                    model,
                    memory,
                    own,
                    waiting,
                    streams,
                    stopping,
                    collect,
                    cancelled,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    top_p=top_p,
                    logprobs=logprobs,
                )

            _side_by_side(work, first, count)
    return [[one for one in row if one is not None] for row in results]


def by_length(lengths: Sequence[int]) -> list[list[int]]:
    """The places of `lengths`, shortest first, in groups that share slots of one size: a few very long prompts must not
    make the slots of all others long.

    A group ends where the next is more than four times its median, and more than 64 longer.
    """
    places = sorted(range(len(lengths)), key=lambda place: lengths[place])
    groups: list[list[int]] = []
    while places:
        median = lengths[places[(len(places) - 1) // 2]]
        most = max(4 * median, median + 64)
        fits = bisect_right(places, most, key=lambda place: lengths[place])
        groups.append(places[:fits])
        places = places[fits:]
    return groups


def _side_by_side(work: Callable[[Memory, Callable[[], bool]], None], first: Memory, workers: int) -> None:
    """Run `work` in threads, each with slots of its own beside the same prefix; the first error ends them all.

    PyTorch's operations run beside each other when several threads call them, and each of them by itself rounds as it
    always does, so what a row says does not depend on the number of workers.
    """
    if workers == 1:
        work(first, lambda: False)
        return
    errors: list[BaseException] = []

    def run(memory: Memory) -> None:
        torch.set_num_threads(1)  # of this thread: the others have the other cores
        try:
            with torch.inference_mode():  # which belongs to a thread
                work(memory, lambda: bool(errors))
        except BaseException as error:  # raised below, in the thread that asked
            errors.append(error)

    threads = [Thread(target=run, args=[first.beside()], daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt as error:
        errors.append(error)
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def tokenize(
    tokenizer: PreTrainedTokenizerBase, prefix: str, suffixes: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """The tokens that all prompts begin with, and the rest of each; together exactly the tokens of prefix + suffix.

    A tokenizer may join the last characters of the prefix with the first of a suffix, so prompts are
    tokenized whole and cut afterwards.  Every rest has at least one token.
    """
    prompts = encoding.continued(tokenizer, prefix, suffixes)
    shared = encoding.tokenize(tokenizer, [prefix])[0] if prefix else []
    for row, prompt in enumerate(prompts):
        if not prompt:
            raise UserError(f"row {row} of {len(suffixes)} has an empty prompt; the model has nothing to continue")
        length = min(len(shared), len(prompt) - 1)
        while prompt[:length] != shared[:length]:
            length -= 1
        shared = shared[:length]
    return shared, [prompt[len(shared) :] for prompt in prompts]


def check_fits(model: PreTrainedModel, shared: int, own: list[list[int]], max_new_tokens: int) -> None:
    """UserError when the longest prompt and its continuation are longer than the model's context."""
    context = models.context_of(model)
    longest = max(len(tokens) for tokens in own)
    if context is not None and shared + longest + max_new_tokens > context:
        raise UserError(
            f"a shared prefix of {shared} tokens, a longest prompt of {longest} and max_new_tokens = {max_new_tokens} "
            f"make {shared + longest + max_new_tokens} tokens, but {model.config.name_or_path or 'the model'} has a "
            f"context of {context}; use fewer shots, shorter demonstrations or fewer new tokens"
        )
    attention.check_length(model, shared + longest + max_new_tokens)


@dataclass(frozen=True)
class Stopping:
    """When a sequence ends, and what of it is text."""

    tokenizer: PreTrainedTokenizerBase
    stops: tuple[str, ...]
    eos: Tensor
    """(V,) bool: an end-of-sequence token."""

    suspects: Tensor
    """(V,) bool: a token that can complete a stop string, so that the text has to be looked at."""

    tail: int
    """How many tokens from the end certainly hold a stop string that the last one completed."""

    @classmethod
    def of(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> "Stopping":
        size = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
        eos = torch.zeros(size, dtype=torch.bool)
        eos[[end for end in models.end_tokens(model, tokenizer) if end < size]] = True
        suspects = torch.zeros(size, dtype=torch.bool)
        if stops:
            words = min(size, len(tokenizer))
            suspects[:words] = _completing(tokenizer, words, tuple(stops))
        tail = 2 + max((len(stop.encode()) for stop in stops), default=0)
        return cls(tokenizer, tuple(stops), eos.to(model.device), suspects.to(model.device), tail)

    def reached(self, token_ids: list[int]) -> bool:
        """Whether the last tokens hold a stop string."""
        text = self.tokenizer.decode(token_ids[-self.tail :], skip_special_tokens=True)
        return any(stop in text for stop in self.stops)

    def text(self, token_ids: list[int]) -> str:
        """All before the first stop string."""
        text = self.tokenizer.decode(token_ids, skip_special_tokens=True)
        ends = [text.find(stop) for stop in self.stops if stop in text]
        return text[: min(ends, default=len(text))]


@lru_cache(maxsize=4)
def _completing(tokenizer: PreTrainedTokenizerBase, words: int, stops: tuple[str, ...]) -> Tensor:
    """Which of the first words of the vocabulary can complete a stop string; looking at all takes seconds."""
    endings = tuple({stop[start:] for stop in stops for start in range(len(stop))})
    pieces = tokenizer.batch_decode([[token] for token in range(words)])
    return torch.tensor([piece.startswith(endings) or any(stop in piece for stop in stops) for piece in pieces])


# ------------------------------------------------------------------------------------------------ the decoding loop


def _decode(
    model: PreTrainedModel,
    memory: Memory,
    own: list[list[int]],
    waiting: list[tuple[int, int]],
    streams: Tensor,
    stopping: Stopping,
    collect: Callable[[int, int, list[int], str, list[float] | None], None],
    cancelled: Callable[[], bool],
    *,
    max_new_tokens: int,
    temperature: float | Sequence[float],
    top_p: float,
    logprobs: bool,
) -> None:
    """Decode in the memory's slots until nothing is waiting; other workers may take from the same list."""
    device, size = model.device, memory.size[0]
    holds: list[tuple[int, int] | None] = [None] * size
    token = torch.zeros(size, dtype=torch.int64, device=device)  # the last token, not yet read by the model
    place = torch.zeros(size, dtype=torch.int64, device=device)  # where it goes among the suffix's tokens
    drawn = torch.zeros(size, dtype=torch.int64, device=device)  # how many tokens were sampled
    stream = torch.zeros(size, dtype=torch.int64, device=device)
    alive = torch.zeros(size, dtype=torch.bool, device=device)
    written = torch.zeros(size, max_new_tokens, dtype=torch.int64, device=device)
    values = torch.zeros(size, max_new_tokens, dtype=torch.float32, device=device)
    index = torch.arange(size, device=device)

    while not cancelled():
        free = [slot for slot, held in enumerate(holds) if held is None]
        busy = len(holds) - len(free)
        units = _take(waiting, len(free) // BLOCK * BLOCK) if len(free) >= BLOCK else []
        if units or (busy and len(free) >= BLOCK):
            moved, free = make_room([held is not None for held in holds], place.tolist(), keep=not units)
            if moved:
                source, target = torch.tensor(moved, device=device).T
                memory.move(source, target, blocks(int(place[source].max())))
                for kept in (token, place, drawn, stream, alive, written, values):
                    kept[target] = kept[source]
                    kept[source] = 0
                for start, end in moved:
                    holds[end], holds[start] = holds[start], None
        if units:
            slots = free[: len(units)]
            memory.read_suffixes(model, slots, units, own)
            for slot, unit in zip(slots, units, strict=True):
                holds[slot] = unit
            at = torch.tensor(slots, device=device)
            entering = torch.tensor(units, device=device)
            token[at] = torch.tensor([own[row][-1] for row, _ in units], device=device)
            place[at] = torch.tensor([len(own[row]) - 1 for row, _ in units], device=device)
            stream[at] = streams[entering[:, 0], entering[:, 1]]
            drawn[at] = 0
            alive[at] = True
        elif not busy:
            return
        elif blocks(busy) < len(holds):
            size = blocks(busy)
            memory.shrink(size)
            holds, index = holds[:size], index[:size]
            token, place, drawn, stream, alive = (one[:size] for one in (token, place, drawn, stream, alive))
            written, values = written[:size], values[:size]

        logits = memory.next_logits(model, token, place)
        uniform = sampling.uniforms(stream, drawn)
        heat: float | Tensor
        if isinstance(temperature, Sequence):
            heat = torch.tensor([temperature[held[0]] if held else 1.0 for held in holds], device=device)
        else:
            heat = temperature
        token = sampling.choose(logits, uniform, temperature=heat, top_p=top_p)
        written[index, drawn] = token
        if logprobs:
            values[index, drawn] = logits.log_softmax(-1).gather(-1, token[:, None])[:, 0]
        drawn += alive
        place += alive
        ended = stopping.eos[token] & alive
        full = (drawn >= max_new_tokens) & alive & ~ended
        stopped: set[int] = set()
        if stopping.stops:
            for slot in (stopping.suspects[token] & alive & ~ended).nonzero()[:, 0].tolist():
                tail = written[slot, : int(drawn[slot])][-stopping.tail :].tolist()
                if stopping.reached(tail):
                    stopped.add(slot)
        done = set((ended | full).nonzero()[:, 0].tolist()) | stopped
        if not done:
            continue
        at = torch.tensor(sorted(done), device=device)
        finite = logits[at].logsumexp(-1).isfinite()
        memory.clear(at[~finite])
        columns = [column[at].tolist() for column in (written, values, drawn, ended)]
        for slot, is_finite, tokens, numbers, count, is_eos in zip(at.tolist(), finite.tolist(), *columns, strict=True):
            held = holds[slot]
            assert held is not None
            reason = "error" if not is_finite else "eos" if is_eos else "stop" if slot in stopped else "length"
            said = count if is_finite else 0
            collect(*held, tokens[:said], reason, numbers[:said] if logprobs else None)
            holds[slot] = None
        alive[at] = False
        place[at] = 0
        drawn[at] = 0


def make_room(held: Sequence[bool], places: Sequence[int], *, keep: bool) -> tuple[list[tuple[int, int]], list[int]]:
    """Which slots to move where, (from, to), so that all free ones but BLOCK - 1 make up whole blocks; and these slots.

    The keys of a block's slots are read as far as its fullest slot's, so sequences that begin together stand together,
    and one that is moved goes, the longest first, to the block with the fullest slot.

    held    whether there is a sequence in the slot
    places  how many tokens of it are there
    keep    the last blocks are emptied, otherwise those with the fewest sequences
    """
    parts = [range(start, start + BLOCK) for start in range(0, len(held), BLOCK)]
    count = (len(held) - sum(held)) // BLOCK
    order = reversed(parts) if keep else sorted(parts, key=lambda part: sum(held[slot] for slot in part))
    emptied = [slot for part in list(order)[:count] for slot in part]
    others = sorted(set(range(len(held))) - set(emptied))
    fullest = {slot: max(places[one] for one in part) for part in parts for slot in part}
    leaving = sorted((slot for slot in emptied if held[slot]), key=lambda slot: -places[slot])
    room = sorted((slot for slot in others if not held[slot]), key=lambda slot: -fullest[slot])
    return list(zip(leaving, room, strict=False)), sorted(emptied)


def _take(waiting: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Up to `most` from the end of a list from which other threads take too."""
    units: list[tuple[int, int]] = []
    while waiting and len(units) < most:
        try:
            units.append(waiting.pop())
        except IndexError:  # another worker was quicker
            break
    return units
