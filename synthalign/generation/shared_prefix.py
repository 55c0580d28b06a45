"""The attention of a shared prefix: its keys and values are kept once, every suffix has its own in a slot.

With o and l the output and the log-sum-exp of the scores of each part, the attention over both is exact:

    o = w o_prefix + (1 - w) o_suffix,    w = sigmoid(l_prefix - l_suffix)

It is a function registered with transformers' attention interface, so any decoder that uses the interface runs
unchanged.  What it does not reproduce (sliding windows shorter than the text, attention sinks, ...) it refuses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from synthalign.core.errors import UserError

BLOCK = 16
"""Sequences, or tokens: operations on at least so many round a row in the same way whatever its neighbours are."""

ATTENTION = "shared_prefix"


def blocks(count: int) -> int:
    """The count rounded up to whole blocks."""
    return -(-count // BLOCK) * BLOCK


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
        self.size = (slots, blocks(tokens))

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
        height, width = blocks(len(rows)), blocks(longest)
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
        width = min(blocks(int(place.max()) + 1), self.size[1])
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
def attention_of(model: PreTrainedModel) -> Iterator[None]:
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
