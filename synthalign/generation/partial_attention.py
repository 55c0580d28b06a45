"""Attention to a part of a text, with the log-sum-exp of its scores: what several parts are put together by.

With o and l the output and the log-sum-exp of each part, the attention over both is exact:

    o = w o_one + (1 - w) o_other,    w = sigmoid(l_one - l_other)

Scores that have no part of the text, a model's sinks, take their share in the same way.
"""

import torch
from torch import Tensor


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores.

    query    (N, H, q, D)
    key      (N, H, k, D)
    value    (N, H, k, E)
    mask     broadcasts to (N, H, q, k), added to the scores; None is all seen
    returns  (N, H, q, E) and (N, H, q) float32
    """
    if query.device.type == "cpu" and key.shape[-1] == value.shape[-1] and softcap is None:
        if mask is not None:
            mask = mask.expand(query.shape[0], 1, query.shape[2], key.shape[2])
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=mask, scale=scale
        )
    scores = products(query, key) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores + mask
    total = scores.logsumexp(-1, keepdim=True)
    return (scores - total).exp().to(value.dtype) @ value, total[..., 0]


def products(query: Tensor, key: Tensor) -> Tensor:
    """query · key in float32, whatever they are in: (N, H, q, D), (N, H, k, D) → (N, H, q, k).

    Rounded to bfloat16 before the softmax, a product is off by its size / 512, which for the large keys of Qwen2 is
    another distribution.
    """
    if query.dtype == torch.float32:
        return query @ key.mT
    if query.device.type == "cuda":
        flat = torch.bmm(query.flatten(0, 1), key.flatten(0, 1).mT, out_dtype=torch.float32)
        return flat.unflatten(0, query.shape[:2])
    return query.float() @ key.float().mT


def past_sinks(out: Tensor, total: Tensor, sinks: Tensor | None) -> Tensor:
    """What is left of an output, (N, key heads, n, E), with its log-sum-exp when the sinks have had their share."""
    if sinks is None:
        return out
    rows, key_heads, width = total.shape
    groups = len(sinks) // key_heads
    each = sinks.view(key_heads, groups, 1).expand(-1, -1, width // groups).reshape(1, key_heads, width)
    return out * torch.sigmoid(total - each)[..., None].to(out.dtype)
