"""Stages beside each other: which is next, how many at once, and the run of one.

What depends on what, and what has changed, is DVC's to say: here each stage is brought up to date by a DVC that looks
at it alone (flows/dvc_stage.py), when those that it needs are done. `make repro` and the nightly flow both run stages
by this module.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Protocol, TypeVar

from flows.failures import hint, is_busy
from flows.graph import Stage
from flows.lock import Entries
from flows.process import run
from flows.slots import Stopped, nvidia_devices, share, slot

DURATIONS = Path(".work/durations.jsonl")
"""A line for every run of a stage on this machine: {"stage": "train_ppo", "item": "almost", "seconds": 156.8, …}."""

BUSY_DELAYS = [2.0, 5.0, 10.0, 20.0, 30.0] + [60.0] * 25
"""Seconds before a stage that another DVC holds is tried again: almost half an hour in all."""


class StageFailed(Exception):
    """A stage ended badly: how, what to do about it, and its last lines."""


class Future(Protocol):
    """What a started stage is followed by: a future of Python's, or of Prefect's."""

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None: ...


F = TypeVar("F", bound=Future)


def run_all(
    stages: Mapping[str, Stage],
    start: Callable[[Stage], F],
    ended_well: Callable[[F], bool],
    *,
    at_once: int,
    gpu_tasks: int,
    seconds: Mapping[str, float],
) -> None:
    """Start every stage when those that it needs have ended well; returns when nothing works any more.

    Of the stages that could start, the one with the longest way to the end of the graph is the next.

    at_once    stages that work beside each other
    gpu_tasks  of these, how many that `accelerate launch` starts
    seconds    how long a stage takes, where that is known
    """
    done: SimpleQueue[str] = SimpleQueue()
    ways = remaining(stages, seconds)
    needs = {name: [need for need in stage.needs if need in stages] for name, stage in stages.items()}
    order = TopologicalSorter(needs)
    order.prepare()
    ready: set[str] = set()
    working: dict[str, F] = {}

    def follow(name: str) -> None:
        working[name].add_done_callback(lambda _: done.put(name))

    while order.is_active():
        ready |= set(order.get_ready())
        for name in sorted(ready, key=lambda name: (-ways[name], name)):
            on_gpus = sum(stages[other].gpu for other in working)
            if len(working) < at_once and (on_gpus < gpu_tasks or not stages[name].gpu):
                ready.remove(name)
                working[name] = start(stages[name])
                follow(name)
        if not working:
            break  # what is left waits for a stage that failed
        name = done.get()
        if ended_well(working.pop(name)):
            order.done(name)


def remaining(stages: Mapping[str, Stage], seconds: Mapping[str, float]) -> dict[str, float]:
    """How long it takes from the start of each stage to the end of the graph if nothing has to wait.

    A stage whose time is not known counts as the median of those that are known; where none is, all count alike.
    """
    usual = median(seconds.values()) if seconds else 1.0
    found: dict[str, float] = {}
    behind = dict.fromkeys(stages, 0.0)
    for name in reversed(list(stages)):  # each before those that it needs
        found[name] = behind[name] + seconds.get(name, usual)
        for need in stages[name].needs:
            if need in behind:
                behind[need] = max(behind[need], found[name])
    return found


def known_seconds(file: Path = DURATIONS) -> dict[str, float]:
    """The median of every stage's last five runs; they are for the order alone, so a line that is none is left out."""
    runs: dict[str, list[float]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            row = json.loads(line)
            name = row["stage"] if row["item"] is None else f"{row['stage']}@{row['item']}"
            runs.setdefault(name, []).append(float(row["seconds"]))
        except (ValueError, KeyError, TypeError):
            continue
    return {name: median(times[-5:]) for name, times in runs.items()}


def run_stage(
    stage: Stage,
    say: Callable[[str], None],
    *,
    entries: Entries,
    stop: Event,
    seconds: float | None = None,
    gpu_tasks: int | None = None,
) -> str:
    """Bring one stage up to date, with its output in logs/<stage>.log; returns `ran` or `restored or unchanged`.

    say        gets the output in pieces, a progress bar as a line every few seconds
    entries    gets what is to be in dvc.lock
    stop       ends it when set: Stopped
    seconds    the longest that it may take
    gpu_tasks  so many of the stages that `accelerate launch` starts work at once on this host, whoever starts them,
               each with its share of the GPUs

    StageFailed with its last lines and what to do.
    """
    log = Path("logs") / f"{stage.name.replace('/', '_')}.log"
    for delay in (*BUSY_DELAYS, None):
        with fails_where_the_system_does(stage), ExitStack() as held:
            own = {}
            if stage.gpu and gpu_tasks:
                devices = nvidia_devices()
                own = share(held.enter_context(slot("gpu", gpu_tasks, devices, stop)), gpu_tasks, devices)
            if stop.is_set():
                raise Stopped("the run was ended before this stage began")
            made = Path(held.enter_context(TemporaryDirectory()), "entry.yaml")
            done = run(command(stage, made), log, say, given=own, stop=stop, seconds=seconds)
            if done.cut is None and done.returncode == 0:
                entries.take(made)
        if done.cut == "stopped":
            raise Stopped("the run was ended; the next one goes on from here")
        tail = "\n".join(done.tail)
        if done.cut is None and done.returncode == 0:
            return "ran" if "Running stage" in log.read_text(encoding="utf-8") else "restored or unchanged"
        if done.cut is None and is_busy(tail) and delay is not None:
            say(f"another DVC holds what {stage.name} needs; tried again in {delay:.0f} s\n{tail}")
            stop.wait(delay)
            continue
        break
    how = f"after {seconds:,.0f} s, `stage_hours`" if done.cut else f"with exit code {done.returncode}"
    known = None if done.cut else hint(tail)
    raise StageFailed(
        f"{stage.name} ended {how}; its output is in {log}" + (f"; {known}" if known else "") + f"\n{tail}"
    )


@contextmanager
def fails_where_the_system_does(stage: Stage) -> Iterator[None]:
    """A disk that is full below a log ends this stage, and no other."""
    try:
        yield
    except OSError as error:
        known = hint(str(error))
        raise StageFailed(f"{stage.name} ended: {error}" + (f"; {known}" if known else "")) from error


def command(stage: Stage, made: Path) -> list[str]:
    """It looks at this stage alone, so that it takes no lock on what others read or write."""
    return [sys.executable, "-m", "flows.dvc_stage", stage.name, str(made)]
