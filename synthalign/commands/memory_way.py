"""How a device holds a stage, for `memory_plan`: by hardware.yaml, accelerate.yaml and `lora` of params.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synthalign.commands import memory
from synthalign.commands.memory import Held
from synthalign.core import hardware


@dataclass(frozen=True)
class Way:
    """How a device holds a stage: what hardware.yaml and accelerate.yaml say, and a change of the `lora` of params."""

    hardware: hardware.Hardware
    processes: int = 1
    sharded: bool = False
    mixed: bool = False
    device: str = "gpu"
    workers: int = 1
    """Threads of a process that decode or read texts beside each other: its free cores where there is no GPU."""

    rank: int | None = None
    """In place of what params.yaml says, where that is null."""

    def held(self, section: Mapping[str, Any], member: Mapping[str, Any], *, adapted: bool) -> Held:
        """adapted  whether what is trained is loaded from a folder of adapters"""
        lora = member.get("lora") or section.get("lora")
        w = width("fp32" if adapted else self.hardware.weights.training)
        return Held(
            w=w,
            a=2 if self.mixed else w,
            recomputed=self.hardware.gradient_checkpointing,
            rank=lora["rank"] if lora else self.rank,
            device=self.device,
        )

    def decoders(self, rows: int | None, held: int) -> dict[str, int]:
        """The workers and slots of `memory.sampling` for a call that asks all processes together for so many rows.

        rows  None is any number
        held  slots of a worker at most, where hardware.yaml says nothing
        """
        mine = None if rows is None else -(-rows // self.processes)
        workers, slots = memory.dealt(mine, self.hardware.device_rows.sampling or held, self.workers)
        return {"workers": workers, "slots": slots}


def width(dtype: str) -> int:
    """Bytes of a weight; what a folder has (auto) is taken for two, as most are bf16."""
    return 4 if dtype == "fp32" else 2
