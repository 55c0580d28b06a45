"""What stages have made, until it is in dvc.lock.

DVC reads and writes the whole file for each entry: seconds for the graph of this repository. Here the entries of all
stages that ended in the last minutes are written together, to the bytes that DVC would write. What a kill takes from
them is in DVC's cache of runs: the next run restores it and runs nothing again.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from flows.process import uninterrupted

EVERY = 300.0
"""Seconds from one writing to the next."""


class Entries:
    """Those that are not in their dvc.lock yet."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, Any]] = {}
        self._adding, self._writing = Lock(), Lock()

    def take(self, file: Path) -> None:
        """Add what `flows.dvc_stage` has written, if it has: nothing where the stage was up to date."""
        from dvc.utils.serialize import load_yaml

        if file.exists():
            self.add(load_yaml(file))

    def add(self, made: Mapping[str, Mapping[str, Any]]) -> None:
        """Add entries by the file in which they are to be, and their stages' names."""
        with self._adding:
            for lock, entries in made.items():
                self._waiting.setdefault(lock, {}).update(entries)

    def write(self) -> None:
        """Write all of them; what cannot be written now is kept for the next time."""
        from dvc.repo import Repo, lock_repo
        from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

        with self._writing:
            with self._adding:
                waiting = {lock: dict(entries) for lock, entries in self._waiting.items()}
            if not waiting:
                return
            with Repo(_wait_for_lock=True) as repo, lock_repo(repo):
                for lock, entries in waiting.items():
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
            entries.write()
