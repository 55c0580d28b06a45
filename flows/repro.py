"""make repro: bring stages and what they need up to date as `dvc repro` does, several beside each other.

    python -m flows.repro report            # as many at once as the machine bears
    python -m flows.repro --jobs 1          # all stages, one after the other

Every line of output has its stage in front; the whole of it is in logs/<stage>.log. When a stage fails, what does not
need it is still made. A second run goes on from there, as it does after Ctrl-C or a kill.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from threading import Event, Lock
from typing import Any

from flows import graph, machine
from flows.beside import StageFailed, known_seconds, run_all, run_stage
from flows.failures import is_busy
from flows.lock import written_together
from flows.process import uninterrupted
from flows.slots import Stopped, nvidia_devices
from warm import start

MOST = 4
"""Stages at once where nobody says how many: the longest way through ALMoST is no shorter with more, and each has its
models in memory."""


def at_once(
    cores: int, devices: int, launch: Mapping[str, Any], hardware: Mapping[str, Any], asked: int | None = None
) -> tuple[int, int | None]:
    """How many stages the machine bears beside each other, and how many of these are GPU tasks; None: all may be.

    cores     that this process may use
    devices   accelerators that are there; each stage has one of its own
    launch    accelerate.yaml: several processes find each other at one port, so one stage has them
    hardware  hardware.yaml: where a trainer has several threads, its model is a large one, and one is in memory
    asked     stages at once that somebody wants in their place; GPU tasks are no more than there is room for
    """
    several = machine.has_several_processes(launch)
    alone = several or hardware.get("threads", 1) != 1
    if launch.get("use_cpu", True):
        jobs = asked or (1 if alone else min(max(cores, 1), MOST))
        return jobs, 1 if several and jobs > 1 else None
    jobs = asked or (1 if alone else max(devices, 1))
    return jobs, 1 if several else min(jobs, max(devices, 1))


def this_machine(asked: int | None) -> tuple[int, int | None]:
    return at_once(len(os.sched_getaffinity(0)), len(nvidia_devices()), *machine.both(), asked)


class Terminal:
    """What is said of stages that work beside each other, each line with its stage in front."""

    def __init__(self, stages: Sequence[str]) -> None:
        self._width, self._of = max(map(len, stages)), len(stages)
        self._ended, self._begun, self._lock = 0, time.monotonic(), Lock()

    def say(self, stage: str, text: str) -> None:
        with self._lock:
            for line in text.splitlines():
                print(f"{stage:{self._width}} | {line}", flush=True)

    def tell_end(self, stage: str, how: str) -> None:
        with self._lock:
            self._ended += 1
            since = time.monotonic() - self._begun
            print(f"{stage:{self._width}} = {how}; {self._ended} of {self._of} after {since:.0f} s", flush=True)


def bring_up_to_date(targets: Sequence[str], jobs: int, on_gpus: int | None) -> tuple[list[str], list[str]]:
    """Run what has changed of the targets; returns the stages that failed, and those that could not be begun for it.

    KeyboardInterrupt is passed on when no process of any stage is left.
    """
    try:
        wanted, asked = graph.look(targets)
    except RuntimeError as error:
        if not is_busy(str(error)):
            raise
        print(f"repro: {str(error).splitlines()[0]}\nrepro: so DVC is asked about every stage", file=sys.stderr)
        wanted = graph.select(graph.read(), targets)
        asked = set(wanted)
    stages = {name: stage for name, stage in wanted.items() if name in asked}
    if not stages:
        return [], []
    terminal, stop = Terminal(list(stages)), Event()
    begun: dict[str, Future[bool]] = {}

    def work(stage: graph.Stage) -> bool:
        since = time.monotonic()
        try:
            say = partial(terminal.say, stage.name)
            how = run_stage(stage, say, entries=entries, stop=stop, gpu_tasks=on_gpus)
        except StageFailed as error:
            with suppress(Exception):  # who is told to free the disk may take for garbage what dvc.lock does not name
                entries.write()
            terminal.tell_end(stage.name, str(error).split("\n")[0])
            return False
        except Stopped:
            return False
        terminal.tell_end(stage.name, f"{how}, {time.monotonic() - since:.0f} s")
        return True

    def begin(stage: graph.Stage) -> Future[bool]:
        begun[stage.name] = pool.submit(work, stage)
        return begun[stage.name]

    warm = start.beside() if any(stage.gpu for stage in stages.values()) else nullcontext()
    with warm, written_together() as entries, ThreadPoolExecutor(jobs) as pool:
        try:
            run_all(stages, begin, Future.result, at_once=jobs, gpu_tasks=on_gpus or jobs, seconds=known_seconds())
        except BaseException:
            stop.set()
            with uninterrupted():
                pool.shutdown()
            raise
    failed = [name for name, future in begun.items() if not future.result()]
    return failed, [name for name in stages if name not in begun]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="stages or families; without, all")
    parser.add_argument("--jobs", type=int, help="stages at once; without, as many as the machine bears")
    given = parser.parse_args()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, interrupt)
    if given.jobs is not None and given.jobs < 1:
        parser.error(f"--jobs {given.jobs}: at least one stage at once")
    begun = time.monotonic()
    try:
        failed, waiting = bring_up_to_date(given.targets or [graph.ALL], *this_machine(given.jobs))
    except KeyboardInterrupt:
        print("\nrepro: stopped; the next run goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f"repro: {error}") from error
    if failed:
        names = ", ".join(waiting[:4]) + f" and {len(waiting) - 4} more" * (len(waiting) > 4)
        behind = f"; not begun, as they need it: {names}" if waiting else ""
        raise SystemExit(
            f"repro: failed: {', '.join(failed)}{behind}; all else is made, and the next run goes on from here"
        )
    print(f"All is up to date, after {time.monotonic() - begun:.0f} s.")


if __name__ == "__main__":
    main()
