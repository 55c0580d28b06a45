"""Checkpoints of our own training loops: what is trained, optimizer and what else a run has come to, written whole."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object, parse_flag_from_env
from safetensors.torch import load_file, save_file
from torch import nn

from synthalign.core import durable
from synthalign.core.errors import UserError


def check(*, skips_steps: bool = False) -> None:
    """UserError, before a model loads, where accelerate.yaml asks for what a stage that samples as it trains has not.

    Models that are sharded: our engine reads past the outermost module, where sharded weights are gathered, and no two
    processes as often.  And float16, but for trainers that skip the steps in which scaled losses overflow, as the first
    ones do; our loops take an infinite gradient for the end.
    """
    if not skips_steps and os.environ.get("ACCELERATE_MIXED_PRECISION", "").lower() == "fp16":
        raise UserError(
            "accelerate.yaml: mixed_precision fp16 scales losses and skips the steps that overflow, which DITTO, SPIN, "
            "PPO and RRHF do not; write bf16, or 'no' where the device has no bf16"
        )
    for kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        if parse_flag_from_env(f"ACCELERATE_USE_{kind.value}"):
            raise _shards(kind)


def take_over(accelerator: Accelerator) -> None:
    """Make accelerate ready for a loop of ours, which divides a batch by itself: no loss is divided for accumulation.

    UserError where accelerate would shard models: a loop of ours samples from whole ones, and saves them.
    """
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise _shards(accelerator.distributed_type)
    accelerator.gradient_accumulation_steps = 1


def _shards(kind: DistributedType) -> UserError:
    return UserError(
        f"accelerate.yaml: distributed_type {kind.value} shards models; DITTO, SPIN, PPO, RRHF, RLOO and GRPO sample "
        "from whole models on every device; use accelerate/cpu.yaml or accelerate/gpu.yaml, and where the models do "
        "not fit, a `lora` block: then one base is on every device, and all else are adapters and heads"
    )


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """What has a gradient, by name: all weights, or adapters and heads alone."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def adamw(parameters: Any, device: torch.device, **settings: Any) -> torch.optim.AdamW:
    """AdamW; on a GPU as one kernel, where PyTorch's own choice has another copy of all weights for a moment."""
    return torch.optim.AdamW(parameters, fused=device.type == "cuda", **settings)


def save(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write everything needed to go on after `step`; it appears whole, and then the older ones go.

    model  only what is trained of it is written; the rest is where it was loaded from
    state  what JSON can hold
    """
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: parameter.detach().contiguous() for name, parameter in trained(model).items()}
    save_file(weights, partial / "models.safetensors")
    torch.save(optimizer.state_dict(), partial / "optimizer.pt")
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    newest = folder / f"step-{step:08d}"
    durable.put(partial, newest)
    for checkpoint in folder.glob("step-*"):
        if checkpoint != newest:
            shutil.rmtree(checkpoint)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Put model and optimizer where the newest checkpoint left them, and return its state; None when there is none.
    One that cannot be read is passed over.

    UserError when not every process sees the same checkpoint.
    """
    newest = durable.first_whole(sorted(folder.glob("step-*"), reverse=True), last="state.json")
    if len(set(gather_object([newest.name if newest else None]))) > 1:
        raise UserError(
            f"{folder}: not every process sees the checkpoint that the others go on from; on several hosts this folder "
            "must be on a file system that they share, or be removed on all of them to begin anew"
        )
    if newest is None:
        return None
    weights = load_file(newest / "models.safetensors")
    with torch.no_grad():
        for name, parameter in trained(model).items():
            parameter.copy_(weights.pop(name))
    assert not weights, f"{newest} has weights that are not trained: {sorted(weights)[:3]}"
    moments = torch.load(newest / "optimizer.pt", map_location="cpu", weights_only=True)
    optimizer.load_state_dict(moments)
    state: dict[str, Any] = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    return state
