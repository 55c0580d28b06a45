"""Continue one long prefix with many short suffixes, as in few-shot prompting.

General engines see thousands of long prompts.  Here the prefix is what it is: its keys and values are computed once and
kept once per layer, and every token attends to prefix and suffix separately.  With o and l the output and the
log-sum-exp of the scores of each part, the attention over both is exact:

    o = w o_prefix + (1 - w) o_suffix,    w = sigmoid(l_prefix - l_suffix)

The attention is a function registered with transformers' attention interface, so any decoder that uses the interface
runs unchanged.  What it does not reproduce (sliding windows shorter than the text, attention sinks, ...) it refuses.

Sequences live in slots; a slot is given to the next sequence as soon as enough of them are free, so finished
sequences do not decode.  All shapes are multiples of 16, in sequences and in tokens: operations on at least so much
round a row in the same way whatever its neighbours are, and so the batch size does not change what a row says.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from synthalign import models, sampling
from synthalign.errors import UserError

BLOCK = 16
ATTENTION = "shared_prefix"


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
    temperature: float,
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
    temperature  0 is greedy
    stops        strings that end a sequence; they are looked for in what was generated only
    batch_size   sequences that a worker decodes together; hardware, it does not change what a row says
    workers      threads that decode beside each other; None is one on a GPU, and one for every free core without
    error_rate   share of the continuations whose logits may be not finite before all is given up
    progress     told how many rows were finished since it was last called
    on_finished  told the index and the continuations of every row as soon as it is finished
    returns      a list for every row, with a Generation for every sample

    Raises UserError when a prompt and `max_new_tokens` do not fit the model's context, when the model's attention is
    not one that can be split, or when its logits are not finite more often than `error_rate` allows.
    """
    assert len(suffixes) == len(row_ids), f"{len(suffixes)} suffixes but {len(row_ids)} row ids"
    assert samples >= 1 and max_new_tokens >= 1 and temperature >= 0 and 0 < top_p <= 1
    if not suffixes:
        return []
    shared, own = tokenize(tokenizer, prefix, suffixes)
    check_fits(model, len(shared), own, max_new_tokens)
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
    with torch.inference_mode(), _attention_of(model):
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
                size: int = _blocks(min(batch_size, -(-len(waiting) // count))),
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


def _side_by_side(work: Callable[["Memory", Callable[[], bool]], None], first: "Memory", workers: int) -> None:
    """Run `work` in threads, each with slots of its own beside the same prefix; the first error ends them all.

    PyTorch's operations run beside each other when several threads call them, and each of them by itself rounds as it
    always does, so what a row says does not depend on the number of workers.
    """
    if workers == 1:
        work(first, lambda: False)
        return
    errors: list[BaseException] = []

    def run(memory: "Memory") -> None:
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
    prompts = tokenizer([prefix + suffix for suffix in suffixes])["input_ids"]
    shared = tokenizer(prefix)["input_ids"] if prefix else []
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
    context = getattr(model.config, "max_position_embeddings", None)
    longest = max(len(tokens) for tokens in own)
    if context is not None and shared + longest + max_new_tokens > context:
        raise UserError(
            f"a shared prefix of {shared} tokens, a longest prompt of {longest} and max_new_tokens = {max_new_tokens} "
            f"make {shared + longest + max_new_tokens} tokens, but {model.config.name_or_path or 'the model'} has a "
            f"context of {context}; use fewer shots, shorter demonstrations or fewer new tokens"
        )


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
        size = model.get_input_embeddings().num_embeddings
        ends = {tokenizer.eos_token_id}
        for given in (model.config.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
            ends |= set(given) if isinstance(given, list) else {given}
        eos = torch.zeros(size, dtype=torch.bool)
        eos[[end for end in ends if end is not None and end < size]] = True
        suspects = torch.zeros(size, dtype=torch.bool)
        if stops:
            endings = tuple({stop[start:] for stop in stops for start in range(len(stop))})
            pieces = tokenizer.batch_decode([[token] for token in range(min(size, len(tokenizer)))])
            for token, piece in enumerate(pieces):
                suspects[token] = piece.startswith(endings) or any(stop in piece for stop in stops)
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


# ------------------------------------------------------------------------------------------------ the decoding loop


def _decode(
    model: PreTrainedModel,
    memory: "Memory",
    own: list[list[int]],
    waiting: list[tuple[int, int]],
    streams: Tensor,
    stopping: Stopping,
    collect: Callable[[int, int, list[int], str, list[float] | None], None],
    cancelled: Callable[[], bool],
    *,
    max_new_tokens: int,
    temperature: float,
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
        units: list[tuple[int, int]] = []
        if waiting and (len(free) >= max(BLOCK, len(holds) // 4) or not busy):
            units = _take(waiting, len(free))
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
        elif not waiting and _blocks(busy) <= len(holds) // 2:
            stay = [slot for slot, held in enumerate(holds) if held is not None]
            stay += free[: _blocks(busy) - busy]
            at = torch.tensor(stay, device=device)
            memory.keep(at)
            holds = [holds[slot] for slot in stay]
            token, place, drawn, stream, alive = (old[at] for old in (token, place, drawn, stream, alive))
            written, values, index = written[at], values[at], index[: len(stay)]

        logits = memory.next_logits(model, token, place)
        uniform = sampling.uniforms(stream, drawn)
        token = sampling.choose(logits, uniform, temperature=temperature, top_p=top_p)
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


def _take(waiting: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Up to `most` from the end of a list from which other threads take too."""
    units: list[tuple[int, int]] = []
    while waiting and len(units) < most:
        try:
            units.append(waiting.pop())
        except IndexError:  # another worker was quicker
            break
    return units


def _blocks(count: int) -> int:
    """The count rounded up to whole blocks."""
    return -(-count // BLOCK) * BLOCK


# ------------------------------------------------------------------------------------------------ keys and values


@dataclass
class Memory:
    """Keys and values: the prefix's once, the suffixes' in slots; and which of both the running pass uses."""

    prefix: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By layer, two of (1, key heads, P, D)."""

    store: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By layer, two of (slots, key heads, S, D); a slot's tokens stand at 0, 1, ..., and what follows is not read."""

    length: int = 0
    """P, the tokens of the prefix."""

    size: tuple[int, int] = (0, 0)
    """(slots, S)."""

    task: str = ""
    """What the running pass is: `prefix`, `suffixes` or `next`."""

    slots: Tensor | None = None
    source: Tensor | None = None
    place: Tensor | None = None
    mask: Tensor | None = None

    def beside(self) -> "Memory":
        """Another one with the same prefix."""
        return Memory(prefix=self.prefix, length=self.length)

    def begin(self, task: str) -> None:
        """The next pass in this thread is this one's."""
        self.task = task
        _MEMORY.set(self)

    def reserve(self, slots: int, tokens: int) -> None:
        self.size = (slots, _blocks(tokens))

    def keep(self, slots: Tensor) -> None:
        """Keep these slots only, in this order."""
        self.store = {layer: (keys[slots], values[slots]) for layer, (keys, values) in self.store.items()}
        self.size = (len(slots), self.size[1])

    def clear(self, slots: Tensor) -> None:
        """Forget what is in these slots: what is masked out must still be a number."""
        if len(slots):
            for keys, values in self.store.values():
                keys[slots] = 0
                values[slots] = 0

    def read_prefix(self, model: PreTrainedModel, tokens: list[int]) -> None:
        self.begin("prefix")
        ids = torch.tensor([tokens], device=model.device)
        _body(model, ids, torch.arange(len(tokens), device=model.device)[None])
        self.length = len(tokens)

    def read_suffixes(
        self, model: PreTrainedModel, slots: list[int], units: list[tuple[int, int]], own: list[list[int]]
    ) -> None:
        """Put all but the last token of the units' prompts into their slots; samples of a row share the work."""
        rows = list(dict.fromkeys(row for row, _ in units))
        longest = max(len(own[row]) for row in rows) - 1
        if not longest:
            return
        height, width = _blocks(len(rows)), _blocks(longest)
        ids = torch.zeros(height, width, dtype=torch.int64)
        for line, row in enumerate(rows):
            ids[line, : len(own[row]) - 1] = torch.tensor(own[row][:-1], dtype=torch.int64)
        line_of = {row: line for line, row in enumerate(rows)}
        self.begin("suffixes")
        self.slots = torch.tensor(slots, device=model.device)
        self.source = torch.tensor([line_of[row] for row, _ in units], device=model.device)
        self.mask = torch.full((width, width), -torch.inf, dtype=model.dtype, device=model.device).triu_(1)
        positions = self.length + torch.arange(width, device=model.device).clamp(max=longest)
        _body(model, ids.to(model.device), positions.expand(height, width))

    def next_logits(self, model: PreTrainedModel, token: Tensor, place: Tensor) -> Tensor:
        """Read one token a slot and return the logits after it: (slots,), (slots,) → (slots, V) float32."""
        self.begin("next")
        self.place = place
        width = min(_blocks(int(place.max()) + 1), self.size[1])
        unseen = torch.arange(width, device=place.device) > place[:, None]
        self.mask = torch.zeros(unseen.shape, dtype=model.dtype, device=place.device).masked_fill_(unseen, -torch.inf)
        positions = (self.length + place)[:, None]
        return model(input_ids=token[:, None], position_ids=positions, use_cache=False).logits[:, -1].float()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attention of one layer; (N, heads, q, D), 2 × (N, key heads, q, D) → (N, heads, q, D)."""
        rows, heads, width, depth = query.shape
        groups = heads // key.shape[1]
        query = query.reshape(rows, key.shape[1], groups * width, depth)

        if self.task == "prefix":
            mask = torch.full((width, width), -torch.inf, dtype=query.dtype, device=query.device).triu_(1)
            self.prefix[layer] = (key.contiguous(), value.contiguous())
            out, _ = attention(query, key, value, mask.repeat(groups, 1), scale)
            return out.view(rows, heads, width, -1)

        if layer not in self.store:
            shape = (self.size[0], key.shape[1], self.size[1])
            self.store[layer] = (key.new_zeros(*shape, key.shape[-1]), value.new_zeros(*shape, value.shape[-1]))
        keys, values = self.store[layer]
        if self.task == "suffixes":
            assert self.slots is not None and self.mask is not None
            keys[self.slots, :, :width] = key[self.source]
            values[self.slots, :, :width] = value[self.source]
            mask = self.mask.repeat(groups, 1)
        else:
            assert self.place is not None and self.mask is not None
            index = torch.arange(rows, device=key.device)
            keys[index, :, self.place] = key[:, :, 0]
            values[index, :, self.place] = value[:, :, 0]
            seen = self.mask.shape[-1]
            key, value = keys[:, :, :seen], values[:, :, :seen]
            mask = self.mask[:, None, None]
        out, total = attention(query, key, value, mask, scale)

        if self.length:
            prefix_key, prefix_value = self.prefix[layer]
            together = query.transpose(0, 1).reshape(1, query.shape[1], -1, depth)
            more, more_total = attention(together, prefix_key, prefix_value, None, scale)
            more = more.view(query.shape[1], rows, groups * width, -1).transpose(0, 1)
            more_total = more_total.reshape(query.shape[1], rows, groups * width).transpose(0, 1)
            weight = torch.sigmoid(more_total - total)[..., None].to(out.dtype)
            out = torch.lerp(out, more, weight)
        return out.reshape(rows, heads, width, -1)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores.

    query    (N, H, q, D)
    key      (N, H, k, D)
    value    (N, H, k, E)
    mask     broadcasts to (N, H, q, k), added to the scores; None is all seen
    returns  (N, H, q, E) and (N, H, q) float32
    """
    if query.device.type == "cpu" and key.shape[-1] == value.shape[-1]:
        if mask is not None:
            mask = mask.expand(query.shape[0], 1, query.shape[2], key.shape[2])
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=mask, scale=scale
        )
    scores = (query @ key.mT).float() * scale
    if mask is not None:
        scores = scores + mask
    total = scores.logsumexp(-1, keepdim=True)
    return (scores - total).exp().to(value.dtype) @ value, total[..., 0]


_MEMORY: ContextVar[Memory | None] = ContextVar("memory")
_REFUSED = {"s_aux": "attention sinks", "position_bias": "a position bias", "softcap": "soft-capped scores"}


def _shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    memory = _MEMORY.get()
    assert memory is not None, "a pass without `Memory.begin`"
    name = type(module).__name__
    layer = getattr(module, "layer_idx", None)
    if layer is None:
        raise UserError(f"{name} does not know its layer, so its prefix cannot be shared; use another model")
    for key_word, what in _REFUSED.items():
        if kwargs.get(key_word) is not None:
            raise UserError(f"{name} uses {what}, which a shared prefix does not reproduce; use another model")
    if sliding_window is not None and memory.length + memory.size[1] > sliding_window:
        raise UserError(
            f"{name} sees only {sliding_window} tokens back, but prefix, prompt and answer take up to "
            f"{memory.length + memory.size[1]}; use fewer shots or another model"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return memory.attend(layer, query, key, value, scale).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _shared_prefix_attention)


@contextmanager
def _attention_of(model: PreTrainedModel) -> Iterator[None]:
    """Our attention in the model for the time of the block."""
    if not getattr(model, "_supports_attention_backend", False):
        raise UserError(
            f"{type(model).__name__} does not use transformers' attention interface; use a model that does "
            "(Llama, Qwen, Mistral, OLMo, GPT-NeoX, ...)"
        )
    before, training = model.config._attn_implementation, model.training
    model.eval()
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        model.train(training)
        _MEMORY.set(None)


def _body(model: PreTrainedModel, ids: Tensor, positions: Tensor) -> None:
    """Run the model without its output layer: only keys and values are wanted."""
    model.base_model(input_ids=ids, position_ids=positions, use_cache=False)
