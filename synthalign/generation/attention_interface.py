"""Our attention in a model of transformers, by its attention interface, and what a layer sees in place of a mask.

Whatever decoder uses the interface runs unchanged.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from synthalign.core.errors import UserError

ATTENTION = "shared_prefix"

OTHERWISE = "use another engine for it: `engine: vllm` or an endpoint (docs/engines.md)"
"""The next step for whoever has a model that is refused."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Which keys a query sees: what a layer is given in place of a mask."""

    rule: Callable[..., Any] = causal_mask_function
    """transformers' mask function: batch, head, position of the query, position of the key → seen or not."""

    size: int | None = None
    """A text of at most so many tokens is seen whole: the size of the window or the chunk.  None is any text."""

    def at(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(..., q) and (k,) positions → (..., q, k) bool; a key that is later is not seen."""
        none = torch.zeros((), dtype=torch.int64, device=keys.device)
        queries = queries[..., None]
        seen: Tensor = self.rule(none, none, queries, keys)
        return seen & (keys <= queries)

    def __getitem__(self, index: tuple[slice, ...]) -> "Seen":
        """Gemma 4 cuts a mask to the tokens that it wants logits of; here they are all."""
        assert all(part in (slice(None), slice(0, None)) for part in index), f"a mask is cut to {index}"
        return self


class Attends(Protocol):
    """Who has the keys and values of the running pass."""

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
    ) -> Tensor: ...


RUNNING: ContextVar[Attends | None] = ContextVar("running")


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Seen | Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,  # said by the mask too
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    memory = RUNNING.get()
    assert memory is not None, "a pass without `Memory.begin`"
    name = type(module).__name__
    layer = getattr(module, "layer_idx", None)
    if layer is None:
        raise UserError(f"{name} does not know its layer, so its prefix cannot be shared; {OTHERWISE}")
    if isinstance(attention_mask, Tensor):
        raise UserError(f"{name} makes a mask of its own, which a shared prefix does not reproduce; {OTHERWISE}")
    for what, given in others.items():
        if isinstance(given, Tensor) and what != "position_ids":
            raise UserError(f"{name} attends with {what}, which a shared prefix does not reproduce; {OTHERWISE}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    seen = attention_mask or _ALL
    out = memory.attend(layer, query, key, value, seen, scale=scale, softcap=softcap, sinks=s_aux)
    return out.transpose(1, 2).contiguous(), None


_ALL = Seen()


def _seen(*, mask_function: Callable[..., Tensor], local_size: int | None = None, **others: Any) -> Seen:
    """What transformers asks for a mask, once a pass for every kind of layer."""
    return _ALL if mask_function is causal_mask_function else Seen(mask_function, local_size)


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, _seen)


@contextmanager
def attention_of(model: PreTrainedModel) -> Iterator[None]:
    """Our attention in the model for the time of the block."""
    if not getattr(model, "_supports_attention_backend", False):
        raise UserError(
            f"{type(model).__name__} does not use transformers' attention interface, so it cannot share a prefix; "
            f"{OTHERWISE}"
        )
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        with as_it_reads(model):
            yield
    finally:
        model.set_attn_implementation(before)
        RUNNING.set(None)


@contextmanager
def as_it_reads(model: PreTrainedModel) -> Iterator[None]:
    """The model in evaluation mode and in the type of its weights for the time of the block.

    For mixed precision accelerate puts another forward in the place of the whole model's, not of the body's below it,
    so keys and values of the two passes would have two types.
    """
    training = model.training
    mixed = vars(model).pop("forward", None) if "_original_forward" in vars(model) else None
    model.eval()
    try:
        yield
    finally:
        model.train(training)
        if mixed is not None:
            model.forward = mixed
