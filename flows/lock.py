"""What stages have made, until it is in dvc.lock.

DVC reads and writes the whole file for each entry: seconds for the graph of this repository. Here the entries of all
stages that ended in the last minutes are written together, to the bytes that DVC would write. What a kill takes from
them is in DVC's cache of runs: the next run restores it and runs nothing again.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from flows.process import uninterrupted

if TYPE_CHECKING:
    from dvc.repo import Repo

EVERY = 300.0
"""Seconds from one writing to the next."""

PATIENCE = 10.0
"""Seconds that the last writing waits for another DVC (`dvc push` to a slow store) to give dvc.lock free; a cancelled
flow has 30 of Prefect's to end."""


class Entries:
    """Those that are not in their dvc.lock yet."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, Any]] = {}
        self._here: set[tuple[str, str]] = set()
        """Lock and name of those whose outs are in this working copy, and not on the remote alone."""
        self._adding, self._writing = Lock(), Lock()

    def take(self, file: Path) -> None:
        """Add what `flows.dvc_stage` has written, if it has: nothing where the stage was up to date."""
        from dvc.utils.serialize import load_yaml

        if file.exists():
            made = load_yaml(file)
            self._here |= {(lock, name) for lock, entries in made.items() for name in entries}
            self.add(made)

    def add(self, made: Mapping[str, Mapping[str, Any]]) -> None:
        """Add entries by the file in which they are to be, and their stages' names."""
        with self._adding:
            for lock, entries in made.items():
                self._waiting.setdefault(lock, {}).update(entries)

    def write(self, patience: float = 0.0) -> None:
        """Write all of them; what cannot be written now is kept for the next time.

        Where somebody has made something else since, with `dvc repro` for instance, theirs stays: ours is left out.
        RuntimeError when another DVC holds dvc.lock for longer than `patience`, in seconds, or the disk takes nothing.
        """
        from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

        with self._writing:
            with self._adding:
                waiting = {lock: dict(entries) for lock, entries in self._waiting.items()}
            if not waiting:
                return
            with held(patience) as repo:
                for lock, made in waiting.items():
                    here = {name: entry for name, entry in made.items() if (lock, name) in self._here}
                    theirs = made_anew(repo, lock, here) if here else set()
                    entries = {name: entry for name, entry in made.items() if name not in theirs}
                    file = Path(lock)
                    content = parse_yaml_for_update(file.read_text(encoding="utf-8") if file.exists() else "", lock)
                    content.setdefault("schema", "2.0")
                    content.setdefault("stages", {}).update(entries)
                    replace(file, dumps_yaml(content))
            with self._adding:
                for lock, entries in waiting.items():
                    for name, entry in entries.items():
                        if self._waiting[lock][name] is entry:
                            del self._waiting[lock][name]
                self._waiting = {lock: entries for lock, entries in self._waiting.items() if entries}


@contextmanager
def held(patience: float) -> Iterator["Repo"]:
    """DVC's lock, waited for as long as `patience`; RuntimeError where another DVC keeps it, or the disk is full."""
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo

    until = time.monotonic() + patience
    try:
        with ExitStack() as stack:
            repo = stack.enter_context(Repo())
            while True:
                try:
                    stack.enter_context(lock_repo(repo))
                    break
                except LockError as error:
                    if time.monotonic() >= until:
                        raise RuntimeError(f"another DVC holds dvc.lock; {KEPT}") from error
            yield repo
    except (OSError, sqlite3.Error) as error:  # DVC's own databases are on that disk, too
        raise RuntimeError(f"dvc.lock cannot be written ({error}); {KEPT}") from error


KEPT = (
    "what the stages of the last minutes have made is in DVC's cache of runs or on the remote, and the next run takes "
    "it from there; let no `dvc gc` come before it"
)


def made_anew(repo: "Repo", lock: str, entries: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The stages of these entries whose outs are there and others than theirs, or are just being written."""
    from dvc.dvcfile import load_file
    from dvc.exceptions import DvcException
    from dvc.stage.loader import StageLoader

    found = set()
    stages = load_file(repo, str(Path(lock).with_suffix(".yaml"))).stages  # which is parsed once for all of them
    for name, entry in entries.items():
        try:
            stage = stages[name]
            StageLoader.fill_from_lock(stage, entry)
            if any(out.exists and out.changed_checksum() for out in stage.outs):
                found.add(name)
        except DvcException:  # of a stage that is no more
            continue
        except OSError:
            found.add(name)
    return found


def replace(file: Path, text: str) -> None:
    """Write a file so that it is the old one or the new one, on a full disk and after a kill too: DVC cuts it first."""
    making = file.with_name(f".{file.name}.making")
    try:
        with making.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        making.replace(file)
    finally:
        making.unlink(missing_ok=True)


@contextmanager
def written_together(every: float = EVERY) -> Iterator[Entries]:
    """Entries that are written every few minutes, and all of them at the end, whatever ends it."""
    entries, over = Entries(), Event()

    def write() -> None:
        while not over.wait(every):
            with suppress(Exception):  # the last time tells it
                entries.write()

    thread = Thread(target=write)
    thread.start()
    reason: BaseException | None = None
    try:
        yield entries
    except BaseException as error:
        reason = error
        raise
    finally:
        with uninterrupted():
            over.set()
            thread.join()
            try:
                entries.write(PATIENCE)
            except RuntimeError as error:
                if reason is None or isinstance(reason, Exception):
                    raise
                print(error, file=sys.stderr)  # who interrupts is told, and stays who ended it
