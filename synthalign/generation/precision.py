"""How hardware.yaml has models loaded: the type of their weights and the attention kernel, as `from_pretrained` takes
them; refused, with the file's key, where the device cannot."""

from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from synthalign.core.errors import UserError
from synthalign.core.hardware import FILE, Hardware, Use

DTYPES: dict[str, torch.dtype | str] = {"auto": "auto", "bf16": torch.bfloat16, "fp32": torch.float32}


def loading(hardware: Hardware, use: Use, *, adapted: bool = False) -> dict[str, Any]:
    """The settings of `from_pretrained`: dtype, and attn_implementation where the file names one.

    adapted  adapters are merged into what is loaded, which is float32 then: 16 bits would round small updates away

    UserError when the device computes no bf16, or the kernel needs a GPU, a package or another type of weights.
    """
    if use == "copying":
        return {"dtype": torch.float32 if adapted else "auto"}
    dtype, kernel = "fp32" if adapted else getattr(hardware.weights, use), hardware.attention
    if dtype == "bf16" and not has_bf16():
        raise UserError(
            f"{FILE}: weights.{use} = 'bf16': this GPU ({torch.cuda.get_device_name()}) does not compute in bf16; take "
            "fp32, or a GPU of compute capability 8.0 or later"
        )
    if kernel in ("flash_attention_2", "flash_attention_3"):
        available = is_flash_attn_2_available if kernel == "flash_attention_2" else is_flash_attn_3_available
        if on_cpu() or not available():
            raise UserError(
                f"{FILE}: attention = {kernel!r} needs a GPU and its package (flash-attn, flash_attn_3); take sdpa, "
                "which has a flash kernel of its own"
            )
        if dtype == "fp32":
            why = "adapters are merged in fp32" if adapted else f"weights.{use} = 'fp32'"
            instead = "train them with `merge: true`" if adapted else "write bf16"
            raise UserError(f"{FILE}: attention = {kernel!r} reads no fp32, and {why}; {instead}, or take sdpa")
    return {"dtype": DTYPES[dtype]} | ({"attn_implementation": kernel} if kernel else {})


def has_bf16() -> bool:
    """Whether the device of the stages computes in bf16 itself; every CPU does, one without AMX slowly."""
    return on_cpu() or not torch.cuda.is_available() or torch.cuda.is_bf16_supported(False)


def on_cpu() -> bool:
    """Whether the stages work on the CPU; accelerate's states take several processes there for one each if not told."""
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
