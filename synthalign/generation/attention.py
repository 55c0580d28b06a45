"""How the layers of a model attend, and what follows: whether our engine serves it, whether texts may share a row.

Both want that every layer reads earlier tokens through transformers' attention interface and in no other way (a
convolution, a state, a second mask).  The configuration tells, one short pass through the interface tells, and what
they tell is verified: logits must be those of a plain forward pass.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core import hardware
from synthalign.core.errors import UserError
from synthalign.generation import models
from synthalign.generation.attention_interface import OTHERWISE, as_it_reads, attention_of
from synthalign.generation.shared_prefix import BLOCK, Memory

ATTENTION_KINDS = {"full_attention", "sliding_attention", "chunked_attention"}
"""The kinds of layers in a configuration's `layer_types` that are attention, and nothing beside it."""

OWN = 9
"""Tokens behind the prefix in the comparison with a plain pass."""

CHEAP = 1e12
"""FLOP that this comparison may take: some ten seconds of one core.  A window that would need more is not exceeded."""

_served: WeakSet[PreTrainedModel] = WeakSet()
_whole: WeakKeyDictionary[PreTrainedModel, float] = WeakKeyDictionary()


def sizes(model: PreTrainedModel) -> list[int | None]:
    """Of each layer how long a text it sees whole: the size of its window or chunk, None for full attention.

    Raises UserError, which names the architecture, when a layer reads earlier tokens in another way.
    """
    config = model.config.get_text_config()
    name = type(model).__name__
    others = sorted({*(getattr(config, "layer_types", None) or [])} - ATTENTION_KINDS)
    if others:
        raise UserError(f"{name} has layers of the kind {', '.join(others)}, which cannot share a prefix; {OTHERWISE}")
    memory = Memory()
    with _refusing(model), torch.inference_mode(), attention_of(model):
        memory.read_prefix(model, [0, 1, 2, 3])
    if {*memory.sizes} != {*range(config.num_hidden_layers)}:
        raise UserError(
            f"in {name} {len(memory.sizes)} of {config.num_hidden_layers} layers attend through transformers' "
            f"attention interface, so its prefix cannot be shared; {OTHERWISE}"
        )
    return [memory.sizes[layer] for layer in range(config.num_hidden_layers)]


@contextmanager
def _refusing(model: PreTrainedModel) -> Iterator[None]:
    """What a model does not take, a mask that is none of its own among it, is a UserError."""
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UserError(
            f"{type(model).__name__} does not run with a prefix that is shared ({type(error).__name__}: {error}); "
            f"{OTHERWISE}"
        ) from error


# ------------------------------------------------------------------------------------------ a prefix that is shared


def check_served(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """UserError unless our engine says what the model says: one greedy step of both is compared, once for every model.

    The text is made of token ids; it is longer than the model's window where that costs at most CHEAP.
    """
    if model in _served:
        return
    windows = [size for size in sizes(model) if size is not None]
    length = _comparison_length(model, max(windows, default=0))
    tokens = some_tokens(model, length)
    with _refusing(model):
        theirs, ours = plain(model, tokens), shared(model, tokens)
    if not theirs.isfinite().all():
        return  # `generate` says what is wrong with such weights
    far = (theirs - ours).abs().sum().item() / 2
    if not far <= _by_rounding(model, exact=0.01, rounded=0.25):
        said = [
            f"{tokenizer.decode([int(each.argmax())])!r} (probability {float(each.max()):.3f})"
            for each in (theirs, ours)
        ]
        raise UserError(
            f"{type(model).__name__} continues {length} tokens with {said[0]} in a plain forward pass, and with "
            f"{said[1]} behind a shared prefix; their distributions are {far:.3f} apart; {OTHERWISE}"
        )
    _served.add(model)


def _comparison_length(model: PreTrainedModel, window: int) -> int:
    context = models.context_of(model) or math.inf
    cheap = CHEAP / (4 * max(1, model.num_parameters()))  # two passes, two operations a weight and token
    long = window + 2 * BLOCK
    return int(long if long <= min(cheap, context) else min(3 * BLOCK, context))


def _by_rounding(model: PreTrainedModel, *, exact: float, rounded: float) -> float:
    """How far two ways to compute the same may be apart in float32, and in bf16; TF32 keeps three bits more than that,
    so its limit is an eighth."""
    if model.dtype != torch.float32:
        return rounded
    return rounded / 8 if hardware.read().tf32 else exact


def some_tokens(model: PreTrainedModel, length: int) -> list[int]:
    """The same ones from all over the vocabulary for every model of its size."""
    vocabulary = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    return [7919 * place % vocabulary for place in range(1, length + 1)]


def plain(model: PreTrainedModel, tokens: list[int]) -> Tensor:
    """The probabilities of the next token in one forward pass of the model as it is: (V,) float32."""
    with torch.inference_mode(), as_it_reads(model):
        logits = model(input_ids=torch.tensor([tokens], device=model.device), use_cache=False).logits[0, -1]
    return logits.float().softmax(-1)


def shared(model: PreTrainedModel, tokens: list[int]) -> Tensor:
    """The same where all but the last OWN of them are a prefix that is shared, and the last is a step of decoding."""
    own = tokens[-OWN:]
    memory = Memory()
    with torch.inference_mode(), attention_of(model):
        if len(tokens) > OWN:
            memory.read_prefix(model, tokens[:-OWN])
        memory.reserve(BLOCK, OWN)
        memory.read_suffixes(model, [0], [(0, 0)], [own])
        last, place = torch.zeros(2, BLOCK, dtype=torch.int64, device=model.device)
        last[0], place[0] = own[-1], len(own) - 1
        return memory.next_logits(model, last, place)[0].softmax(-1)


def turning(model: PreTrainedModel) -> float:
    """The longest text whose positions are turned as those of every shorter one; behind it, all of a batch are turned
    by the longest text in it."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [each for each in [rope, *rope.values()] if isinstance(each, dict)]  # one for all layers, or one a kind
    if not {each.get("rope_type") for each in kinds} & {"longrope", "dynamic"}:
        return math.inf
    own = "original_max_position_embeddings"
    said = [*(each.get(own) for each in kinds), getattr(config, own, None)]
    return min(filter(None, said), default=getattr(config, "max_position_embeddings", None) or math.inf)


def check_length(model: PreTrainedModel, tokens: int) -> None:
    """UserError when a text is so long that the model treats its positions in a way that no prefix can share."""
    config = model.config.get_text_config()
    name = model.config.name_or_path or type(model).__name__
    if tokens > turning(model):
        raise UserError(
            f"{name} turns its positions in another way in texts of more than {turning(model)} tokens, and prefix, "
            f"prompt and answer take up to {tokens}; use fewer shots, or {OTHERWISE}"
        )
    scale = getattr(config, "floor_scale", None) if getattr(config, "attn_temperature_tuning", None) else None
    if scale and tokens >= scale:
        raise UserError(
            f"{name} sharpens its attention from token {scale} on, and prefix, prompt and answer take up to {tokens}; "
            f"use fewer shots, or {OTHERWISE}"
        )


# ----------------------------------------------------------------------------------------------- texts in one row


def visible(part: Tensor) -> Tensor:
    """Who may look at whom where several texts are one row.

    part     (B, T)     which text a token belongs to; 0 is what all of them begin with
    returns  (B, T, T)  True where the key is of the query's text or of part 0, and not later
    """
    return ((part[:, :, None] == part[:, None, :]) | (part[:, None, :] == 0)).tril()


def added(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """The same as what is added to the scores: (B, T, T) bool → (B, 1, T, T)."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]


def shares_rows(model: PreTrainedModel, length: int) -> bool:
    """Whether texts of at most `length` tokens say in one row, kept apart by a mask of four dimensions, what they say
    alone.  Such a mask replaces a layer's window, and a state does not read it."""
    if model not in _whole:
        _whole[model] = _seen_whole(model)
    return length <= _whole[model]


def _seen_whole(model: PreTrainedModel) -> float:
    """The longest text that every layer sees whole, and every other way to see shut; 0 where there is none."""
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return 0
    try:
        size = min((size for size in sizes(model) if size is not None), default=math.inf)
        with _refusing(model):
            return min(size, turning(model)) if _apart(model) else 0
    except UserError:
        return 0


def _apart(model: PreTrainedModel) -> bool:
    """Whether two short texts that begin alike have the same hidden states in one row as alone."""
    part = torch.tensor([[0] * 4 + [1] * 5 + [2] * 3], device=model.device)
    places = torch.tensor([[*range(4), *range(4, 9), *range(4, 7)]], device=model.device)
    ids = torch.tensor([some_tokens(model, 12)], device=model.device)
    far = 0.0
    with torch.inference_mode(), as_it_reads(model):
        row = _hidden(model, ids, added(visible(part), model.dtype), places)
        for number in (1, 2):
            own = (part == 0) | (part == number)
            alone = _hidden(model, ids[own][None], torch.ones_like(ids[own][None]), places[own][None])
            far += float((row[own] - alone[0]).abs().max() / alone.abs().max())
    return far <= _by_rounding(model, exact=1e-4, rounded=0.05)


def _hidden(model: PreTrainedModel, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    return model.base_model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state.float()
