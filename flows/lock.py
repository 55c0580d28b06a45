"""What stages have made, until it is in dvc.lock.

DVC reads and writes the whole file for each entry: seconds for the graph of this repository. Here the entries of all
stages that ended in the last minutes are written together, to the bytes that DVC would write. What a kill takes from
them is in DVC's cache of runs: the next run restores it and runs nothing again.
"""

import os
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

PATIENCE = 60.0
"""Seconds that the last writing waits for another DVC (`dvc push` to a slow store) to give dvc.lock free."""


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

        What somebody has made anew since, with `dvc repro` for instance, is left out: dvc.lock has their entry.
        RuntimeError when another DVC holds dvc.lock for longer than `patience`, in seconds, or the disk takes nothing.
        """
        from dvc.repo import Repo
        from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

        with self._writing:
            with self._adding:
                waiting = {lock: dict(entries) for lock, entries in self._waiting.items()}
            if not waiting:
                return
            with Repo() as repo, held(repo, patience):
                for lock, made in waiting.items():
                    entries = {
                        name: entry
                        for name, entry in made.items()
                        if (lock, name) not in self._here or not made_anew(repo, lock, name, entry)
                    }
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
def held(repo: "Repo", patience: float) -> Iterator[None]:
    """DVC's lock, waited for as long as `patience`; RuntimeError where another DVC keeps it, or the disk is full."""
    from dvc.lock import LockError
    from dvc.repo import lock_repo

    until = time.monotonic() + patience
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock_repo(repo))
                break
            except LockError as error:
                if time.monotonic() >= until:
                    raise RuntimeError(f"another DVC holds dvc.lock; {KEPT}") from error
        try:
            yield
        except OSError as error:
            raise RuntimeError(f"dvc.lock cannot be written ({error}); {KEPT}") from error


KEPT = (
    "the stages that ended in the last minutes are in DVC's cache of runs, and the next run takes them from there; let "
    "no `dvc gc` come before it"
)


def made_anew(repo: "Repo", lock: str, name: str, entry: Mapping[str, Any]) -> bool:
    """Whether the outs of a stage are there and not those of its entry."""
    from dvc.exceptions import DvcException
    from dvc.stage.loader import StageLoader

    try:
        stage = repo.stage.load_one(Path(lock).with_suffix(".yaml").as_posix(), name)
    except DvcException:  # of a stage that is no more, or of a file that is being edited
        return False
    StageLoader.fill_from_lock(stage, entry)
    return any(out.exists and out.changed_checksum() for out in stage.outs)


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
    try:
        yield entries
    finally:
        with uninterrupted():
            over.set()
            thread.join()
            entries.write(PATIENCE)
