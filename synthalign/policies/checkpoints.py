"""Checkpoints of our own training loops: weights, optimizer and what else a run has come to, written whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from safetensors.torch import load_model, save_model
from torch import nn

from synthalign.core.errors import UserError


def take_over(accelerator: Accelerator) -> None:
    """Make accelerate ready for a loop of ours, which divides a batch by itself: no loss is divided for accumulation.

    UserError where accelerate would shard models: a loop of ours samples from whole ones, and saves them.
    """
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise UserError(
            f"accelerate.yaml: distributed_type {accelerator.distributed_type.value} shards models; DITTO, PPO and "
            "RRHF keep whole models on every device; use accelerate/cpu.yaml or accelerate/gpu.yaml"
        )
    accelerator.gradient_accumulation_steps = 1


def save(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write everything needed to go on after `step`; it appears whole, and then the older ones go.

    state  what JSON can hold
    """
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_model(model, str(partial / "models.safetensors"))
    torch.save(optimizer.state_dict(), partial / "optimizer.pt")
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    older = sorted(folder.glob("step-*"))
    partial.rename(folder / f"step-{step:08d}")
    for checkpoint in older:
        shutil.rmtree(checkpoint)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Put model and optimizer where the newest checkpoint left them, and return its state; None when there is none.

    UserError when not every process sees the same checkpoint.
    """
    checkpoints = sorted(folder.glob("step-*"))
    newest = checkpoints[-1] if checkpoints else None
    if len(set(gather_object([newest.name if newest else None]))) > 1:
        raise UserError(
            f"{folder}: not every process sees the checkpoint that the others go on from; on several hosts this folder "
            "must be on a file system that they share, or be removed on all of them to begin anew"
        )
    if newest is None:
        return None
    load_model(model, str(newest / "models.safetensors"))
    optimizer.load_state_dict(torch.load(newest / "optimizer.pt", weights_only=True))
    state: dict[str, Any] = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    return state
