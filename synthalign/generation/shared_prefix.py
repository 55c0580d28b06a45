"""The attention of a shared prefix: its keys and values are kept once, every suffix has its own in a slot.

Both parts are attended to by themselves and put together (`partial_attention`), in whatever decoder asks through
transformers' attention interface (`attention_interface`).  A layer may see a sliding window or a chunk only: the model
says so, layer by layer, in the rule that it makes its mask of, and here the rule says which keys at the end of the
prefix are seen.  `attention` says which models this serves, and compares every one of them with a plain forward pass.
"""

from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.masking_utils import causal_mask_function

from synthalign.generation.attention_interface import RUNNING, Seen
from synthalign.generation.partial_attention import attention, past_sinks

BLOCK = 16
"""Sequences, or tokens: operations on at least so many round a row in the same way whatever its neighbours are."""

PIECE = 1024
"""Tokens of suffixes that are read together; what the model makes of more does not fit into a core's cache."""


def blocks(count: int) -> int:
    """The count rounded up to whole blocks."""
    return -(-count // BLOCK) * BLOCK


@dataclass(frozen=True)
class Masks:
    """What is added to the scores in one pass, for the layers that see alike."""

    own: Tensor
    """(q, k) for the suffix's own tokens, or (slots, 1, k)."""

    start: int
    """The first token of the prefix that is seen by any query."""

    tail: Tensor | None
    """(q, P - start) for the prefix from there, or (slots, 1, P - start); None is all seen."""


@dataclass
class Memory:
    """Keys and values: the prefix's once, the suffixes' in slots; and which of both the running pass uses."""

    prefix: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By layer, two of (1, key heads, P, D)."""

    sizes: dict[int, int | None] = field(default_factory=dict)
    """By layer, what is seen of a long text: `Seen.size`."""

    store: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By layer, two of (slots, key heads, S, D); a slot's tokens stand at 0, 1, ..., and what follows is not read."""

    length: int = 0
    """P, the tokens of the prefix."""

    size: tuple[int, int] = (0, 0)
    """(slots, S)."""

    task: str = ""
    """What the running pass is: `prefix`, `suffixes` or `next`."""

    lines: Tensor | None = None
    """(rows, k): where the row's tokens are among those of a pass of suffixes; what is behind its last is not read."""

    cells: tuple[Tensor, ...] = ()
    """Two of (q,): in which of these rows the pass's tokens are, and where in it."""

    copies: tuple[Tensor, ...] = ()
    """Three of (n,): which of the pass's tokens goes into which slot, and where in it."""

    place: Tensor | None = None
    parts: list[tuple[int, int, int]] = field(default_factory=list)
    """Of a step: from which slot to which so many of their tokens are looked at."""

    queries: Tensor | None = None
    """(q,) or (slots, 1): where the running pass's tokens stand in the text."""

    own: int = 0
    """k, the tokens of a slot that the running pass looks at."""

    masks: dict[Seen, Masks] = field(default_factory=dict)
    """What the running pass has made already."""

    def beside(self) -> "Memory":
        """Another one with the same prefix."""
        return Memory(prefix=self.prefix, sizes=self.sizes, length=self.length)

    def begin(self, task: str) -> None:
        """The next pass in this thread is this one's."""
        self.task = task
        self.masks = {}
        RUNNING.set(self)

    def reserve(self, slots: int, tokens: int) -> None:
        """Have so many slots of so many tokens from now on, with nothing in them."""
        self.size = (slots, blocks(tokens))
        self.store = {}

    def move(self, source: Tensor, target: Tensor, tokens: int) -> None:
        """Put what is in some slots, so many tokens of each, into others, and forget it there as `clear` does."""
        for kept in (one for both in self.store.values() for one in both):
            kept[target, :, :tokens] = kept[source, :, :tokens]
            kept[source, :, :tokens] = 0

    def shrink(self, slots: int) -> None:
        """Keep the first slots only."""
        self.store = {layer: (keys[:slots], values[:slots]) for layer, (keys, values) in self.store.items()}
        self.size = (slots, self.size[1])

    def clear(self, slots: Tensor) -> None:
        """Forget what is in these slots: what is masked out must still be a number."""
        if len(slots):
            for keys, values in self.store.values():
                keys[slots] = 0
                values[slots] = 0

    def read_prefix(self, model: PreTrainedModel, tokens: list[int]) -> None:
        self.begin("prefix")
        self.own, self.queries = len(tokens), torch.arange(len(tokens), device=model.device)
        _body(model, torch.tensor([tokens], device=model.device), self.queries[None])
        self.length = len(tokens)

    def read_suffixes(
        self, model: PreTrainedModel, slots: list[int], units: list[tuple[int, int]], own: list[list[int]]
    ) -> None:
        """Put all but the last token of the units' prompts into their slots; samples of a row share the work.

        The prompts are read one behind the other as one row, at most PIECE tokens of them at a time.
        """
        placed: dict[int, list[int]] = {}
        for slot, (row, _) in zip(slots, units, strict=True):
            if len(own[row]) > 1:
                placed.setdefault(row, []).append(slot)
        rows = list(placed)
        step = max(1, PIECE // max((len(own[row]) for row in rows), default=1))
        for start in range(0, len(rows), step):
            self._read_together(model, {row: placed[row] for row in rows[start : start + step]}, own)

    def _read_together(self, model: PreTrainedModel, placed: dict[int, list[int]], own: list[list[int]]) -> None:
        """The same of rows, each with its slots, in one pass."""
        texts = [own[row][:-1] for row in placed]
        lengths = torch.tensor([len(text) for text in texts])
        starts = lengths.cumsum(0) - lengths
        count, width = int(lengths.sum()), blocks(int(lengths.max()))
        ids, line, place = torch.zeros(3, blocks(count), dtype=torch.int64)
        ids[:count] = torch.tensor([token for text in texts for token in text])
        line[:count] = torch.arange(len(texts)).repeat_interleave(lengths)
        place[:count] = torch.arange(count) - starts[line[:count]]

        pairs = [(number, slot) for number, slots in enumerate(placed.values()) for slot in slots]
        numbers, targets = torch.tensor(pairs).T
        each = lengths[numbers]
        among = torch.arange(int(each.sum())) - (each.cumsum(0) - each).repeat_interleave(each)
        source, target = among + starts[numbers].repeat_interleave(each), targets.repeat_interleave(each)

        device = model.device
        self.begin("suffixes")
        self.lines = (starts[:, None] + torch.arange(width)).clamp(max=count - 1).to(device)
        self.cells = (line.to(device), place.to(device))
        self.copies = (source.to(device), target.to(device), among.to(device))
        self.own, self.queries = width, self.length + place.to(device)
        _body(model, ids[None].to(device), self.queries[None])

    def next_logits(self, model: PreTrainedModel, token: Tensor, place: Tensor) -> Tensor:
        """Read one token a slot and return the logits after it: (slots,), (slots,) → (slots, V) float32."""
        self.begin("next")
        self.place = place
        self.queries = (self.length + place)[:, None]
        step = BLOCK if place.device.type == "cpu" else len(place)
        ends = [min(blocks(most + 1), self.size[1]) for most in place.view(-1, step).amax(-1).tolist()]
        self.parts, start = [], 0
        for own, alike in groupby(ends):
            end = start + step * len(list(alike))
            self.parts.append((start, end, own))
            start = end
        self.own = max(own for *_, own in self.parts)
        return model(input_ids=token[:, None], position_ids=self.queries, use_cache=False).logits[:, -1].float()

    def masks_of(self, seen: Seen, dtype: torch.dtype) -> Masks:
        if seen not in self.masks:
            self.masks[seen] = self._make_masks(seen, dtype)
        return self.masks[seen]

    def _make_masks(self, seen: Seen, dtype: torch.dtype) -> Masks:
        assert self.queries is not None
        queries, device = self.queries, self.queries.device
        if seen.size is not None and self.length + max(self.own, self.size[1]) <= seen.size:
            seen = Seen()
        keys = self.length + torch.arange(self.own, device=device)
        visible = seen.at(keys if self.task == "suffixes" else queries, keys)
        own = torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill_(~visible, -torch.inf)
        if seen.rule is causal_mask_function:
            return Masks(own, 0, None)
        first = torch.tensor([self.length], device=device)  # what it does not see, no later token sees
        found = seen.at(first, torch.arange(self.length, device=device))[0].nonzero()
        start = int(found[0]) if len(found) else self.length
        visible = seen.at(queries, torch.arange(start, self.length, device=device))
        hidden = torch.finfo(dtype).min  # not -inf: a query may see nothing of the prefix
        return Masks(own, start, torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill_(~visible, hidden))

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        seen: Seen,
        *,
        scale: float,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Attention of one layer; (N, heads, q, D), 2 × (N, key heads, q, D) → (N, heads, q, D).

        softcap  c of c tanh(score / c), where the model bounds its scores so (Gemma 2)
        sinks    (heads,) scores of a key without a value, which take their share of the softmax (GPT-OSS)
        """
        rows, heads, width, depth = query.shape
        groups = heads // key.shape[1]
        query = query.reshape(rows, key.shape[1], groups * width, depth)
        masks = self.masks_of(seen, query.dtype)

        if self.task == "prefix":
            self.prefix[layer] = (key.contiguous(), value.contiguous())
            self.sizes[layer] = seen.size
            out, total = attention(query, key, value, masks.own.repeat(groups, 1), scale, softcap)
            return past_sinks(out, total, sinks).view(rows, heads, width, -1)

        if layer not in self.store:
            shape = (self.size[0], key.shape[1], self.size[1])
            self.store[layer] = (key.new_zeros(*shape, key.shape[-1]), value.new_zeros(*shape, value.shape[-1]))
        read = self._of_suffixes if self.task == "suffixes" else self._of_slots
        out, total = read(layer, query, key, value, masks, scale, softcap)
        if masks.start < self.length:
            more, more_total = self._of_prefix(layer, query, masks, groups, scale, softcap)
            weight = torch.sigmoid(more_total - total)[..., None].to(out.dtype)
            out = torch.lerp(out, more, weight)
            total = total if sinks is None else torch.logaddexp(total, more_total)
        return past_sinks(out, total, sinks).reshape(rows, heads, width, -1)

    def _of_suffixes(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, masks: Masks, scale: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Attention of suffixes that are read one behind the other, each to itself, and what goes into the slots.

        query    (1, key heads, groups × q, D)
        key      (1, key heads, q, D), value likewise
        returns  (1, key heads, groups × q, E) and its log-sum-exp
        """
        assert self.lines is not None
        for kept, new in zip(self.store[layer], (key, value), strict=True):
            source, slot, place = self.copies
            kept[slot, :, place] = new[0].transpose(0, 1)[source]
        key_heads, count = key.shape[1], key.shape[2]
        groups = query.shape[2] // count
        apart = query.view(key_heads * groups, count, -1)[:, self.lines].transpose(0, 1)
        rows, _, width, depth = apart.shape
        apart = apart.reshape(rows, key_heads, groups * width, depth)
        key, value = (one[0][:, self.lines].transpose(0, 1) for one in (key, value))
        out, total = attention(apart, key, value, masks.own.repeat(groups, 1), scale, softcap)
        line, place = self.cells
        out = out.view(rows, key_heads, groups, width, -1)[line, :, :, place].permute(1, 2, 0, 3)
        total = total.view(rows, key_heads, groups, width)[line, :, :, place].permute(1, 2, 0)
        return out.reshape(1, key_heads, groups * count, -1), total.reshape(1, key_heads, -1)

    def _of_slots(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, masks: Masks, scale: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Attention of a step, whose tokens go into the slots, to what is in them; (slots, key heads, groups, D)."""
        slots = torch.arange(len(query), device=key.device)
        for kept, new in zip(self.store[layer], (key, value), strict=True):
            kept[slots, :, self.place] = new[:, :, 0]
        keys, values = self.store[layer]
        found = [
            attention(
                query[start:end],
                keys[start:end, :, :own],
                values[start:end, :, :own],
                masks.own[start:end, None, :, :own],
                scale,
                softcap,
            )
            for start, end, own in self.parts
        ]
        return torch.cat([out for out, _ in found]), torch.cat([total for _, total in found])

    def _of_prefix(
        self, layer: int, query: Tensor, masks: Masks, groups: int, scale: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Attention to the prefix alone, and its log-sum-exp; (N, key heads, groups × q, D)."""
        rows, key_heads, width, depth = query.shape
        key, value = (kept[:, :, masks.start :] for kept in self.prefix[layer])
        mask = masks.tail
        if mask is not None:
            alike = mask.repeat(groups, 1) if self.task == "suffixes" else mask.expand(-1, groups, -1)
            mask = alike.reshape(rows * width, -1)
        together = query.transpose(0, 1).reshape(1, key_heads, -1, depth)
        more, total = attention(together, key, value, mask, scale, softcap)
        more = more.view(key_heads, rows, width, -1).transpose(0, 1)
        return more, total.reshape(key_heads, rows, width).transpose(0, 1)


def _body(model: PreTrainedModel, ids: Tensor, positions: Tensor) -> None:
    """Run the model without its output layer: only keys and values are wanted.

    With a mask of ones it takes the positions for what they are: without, a step of 0 would begin another text.
    """
    model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=positions, use_cache=False)
