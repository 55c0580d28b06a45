"""Whether `accelerate launch` started as many processes as it was told to.

accelerate 1.15 starts one, and says nothing, for `distributed_type: MULTI_CPU`, for `NO` with a `num_processes` above
1, and for `--cpu --num_processes 2`.  A stage would do all the work alone, in twice the time and more.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from synthalign.core.errors import UserError

NAMES = {"accelerate", "accelerate-launch", "accelerate.commands.launch", "warm.launch"}
"""Its commands and modules, and what stands for it where a stage is forked from a warm parent."""

WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where accelerate finds the number of processes, in its order; without any there is one."""


RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
"""Where the number of this process is, likewise."""


def check(command: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """UserError when the launcher's command, or the file that it names, promises other processes than there are.

    command  the words of the command line of a process above this one; one of another program promises nothing
    """
    if not any(Path(word).name in NAMES for word in command[:3]):
        return
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config_file", "--config-file")
    parser.add_argument("--num_processes", "--num-processes", type=int)
    given, _ = parser.parse_known_args(command)
    settings = _settings(given.config_file)
    promised = given.num_processes or settings.get("num_processes")
    present = processes(environment)
    if isinstance(promised, int) and max(promised, 1) != present:
        file = given.config_file or "the command line"
        place = f"--num_processes {promised}" if given.num_processes else f"{file}: num_processes = {promised}"
        kind = settings.get("distributed_type", "NO")
        raise UserError(
            f"{place}, but accelerate launch started {present} (distributed_type: {kind} in {file}); for {promised} "
            "write distributed_type: MULTI_GPU, on CPUs too (with ACCELERATE_USE_CPU=true in the environment where "
            f"there are GPUs), and leave --cpu out; or write num_processes: {present}"
        )


def processes(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes the launcher has started."""
    return int(next((environment[name] for name in WORLD_SIZES if environment.get(name)), "1"))


def of_results(*, draws: bool = False) -> str:
    """What of accelerate.yaml changes what a trainer makes or how its checkpoints are written, for `stage.work_dir`: no
    run goes on in another precision, nor from shards with a whole model.

    draws  whether each process draws for itself, so that another number of them learns something else
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true", "yes")
    return (
        f"mixed_precision {precision}, " * (precision != "no")
        + "sharded, " * sharded
        + f"num_processes {processes()}" * draws
    )


def _settings(file: str | None) -> dict[str, Any]:
    """A launch file, which the launcher has read before us."""
    if file is None:
        return {}
    settings = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    return settings if isinstance(settings, dict) else {}
