"""Many runs of an experiment beside each other, in processes that have a core each and end with the one that asked."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import psutil

from synthalign.core import stage, yaml_file
from synthalign.core.errors import UserError
from synthalign.generation.journal import Journal
from synthalign.reporting import recorded

K = TypeVar("K")
R = TypeVar("R")

Ended = Callable[[Mapping[K, Callable[[], R]]], Iterator[tuple[K, R]]]


def parser(experiment: str, purpose: str, *, seeds: int = 5) -> argparse.ArgumentParser:
    """The command line of an experiment over seeds, whose runs are beside each other."""
    given = argparse.ArgumentParser(prog=f"python -m benchmarks.{experiment}", description=purpose)
    given.add_argument("--seeds", type=positive, default=seeds, help="how many, from 0 (default %(default)s)")
    cores = min(8, len(os.sched_getaffinity(0)))
    given.add_argument(
        "--jobs", type=positive, default=cores, help="runs beside each other, a core each (here %(default)s)"
    )
    return given


def positive(text: str) -> int:
    """A count of the command line that is at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def of_settings(*sections: str) -> dict[str, dict[str, str]]:
    """For an experiment's metrics file: which settings of params.yaml it is of, so that under others it is none."""
    settings = yaml_file.load(Path("params.yaml").read_text(encoding="utf-8"))
    return {"of_settings": recorded.of_settings(settings, sections)}


@contextmanager
def command(experiment: str) -> Iterator[None]:
    """End with status 1 and the message of a UserError, or 130 and a word on going on after an interruption."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        yield
    except UserError as error:
        print(f"{experiment}: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        print(f"\n{experiment}: interrupted; run it again to go on from here", file=sys.stderr)
        raise SystemExit(130) from error


def kept(
    work: Path, runs: Mapping[str, Callable[[], dict[str, Any]]], *, processes: int, desc: str, only: int | None = None
) -> dict[str, dict[str, Any]]:
    """The records by name of all runs that are finished in the end: what runs.jsonl of the folder has is not run again.

    only  run so many of those that are missing, and leave the others
    """
    journal = Journal(work / "runs.jsonl")
    missing = [name for name in runs if name not in journal.done][:only]
    try:
        with started(work, processes) as ended:
            todo = {name: runs[name] for name in missing}
            for name, record in stage.progress(ended(todo), total=len(todo), desc=desc, unit="run"):
                journal.append(name, record)
    finally:
        journal.close()
    return {name: journal.done[name] for name in runs if name in journal.done}


@contextmanager
def started(work: Path, processes: int) -> Iterator[Ended[Any, Any]]:
    """A function from runs by name to (name, result) as they end: here one after the other where `processes` is 1, else
    in so many processes, whose output goes to workers.log of the folder.

    A run is called without arguments, and goes to another process by pickle: a partial of a module's function.
    """
    if processes == 1:
        yield lambda todo: ((name, run()) for name, run in todo.items())
        return
    context = get_context("spawn")
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // processes)
    places = context.Queue()
    for place in range(processes):
        places.put([cores[(place * share + step) % len(cores)] for step in range(share)])
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_alone, initargs=(places, str(work / "workers.log"))
    )
    try:

        def ended(todo: Mapping[K, Callable[[], R]]) -> Iterator[tuple[K, R]]:
            running = {pool.submit(run): name for name, run in todo.items()}
            return ((running[one], one.result()) for one in as_completed(running))

        yield ended
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(places: Any, log: str) -> None:
    """Give this process cores of its own, its output, bars of trainers among it, to the log, and an end with that of
    the process that started it."""
    stage.end_with([psutil.Process(os.getppid())])
    os.sched_setaffinity(0, places.get())
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for of_process in (1, 2):
        os.dup2(stream, of_process)
