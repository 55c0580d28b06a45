"""What a long stage has finished, kept line by line so that a crash loses nothing but the row it was writing.

    {"id": "5f0c…", "record": {…}, "check": "9d1e…"}

A line counts when it is whole and its checksum is right.  A torn last line is normal after a crash; it is dropped and
its row done again.  The same holds for a damaged line anywhere.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

Record = Any
"""Anything that JSON can hold."""


def read(path: Path) -> tuple[dict[str, Record], int]:
    """The finished rows of a journal by id (of an id written twice the last), and how many lines were damaged."""
    done: dict[str, Record] = {}
    damaged = 0
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        entry = _parse(line)
        if entry is not None:
            done[entry[0]] = entry[1]
        elif line:
            damaged += 1
    return done, damaged


class Journal:
    """An append-only file of finished rows by id."""

    def __init__(self, path: Path) -> None:
        self.done, self.damaged = read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+")
        if self._file.tell() and not _ends_a_line(self._file):
            self._file.write(b"\n")  # the next line must not continue the torn one

    def append(self, id: str, record: Record) -> None:
        """Write a finished row; it survives the process once this returns, and the machine after `sync` or `close`."""
        body = json.dumps([id, record], ensure_ascii=False)
        line = json.dumps({"id": id, "record": record, "check": _checksum(body)}, ensure_ascii=False)
        self._file.write(line.encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()
        self.done[id] = record

    def sync(self) -> None:
        """Have all rows on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _checksum(body: str) -> str:
    return hashlib.blake2b(body.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _parse(line: bytes) -> tuple[str, Record] | None:
    try:
        entry = json.loads(line)
        body = json.dumps([entry["id"], entry["record"]], ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        return None
    return (entry["id"], entry["record"]) if entry.get("check") == _checksum(body) else None
