"""What a file or folder of the graph was made from, by dvc.lock, and whether it is still that one.

    A stage of the lock: {"deps": [{"path", "md5"}], "params": {"params.yaml": {key: value}}, "outs": [{"path", "md5"}]}

dvc.lock says what every output was made from and its hash, so it can be told of a folder whether it is what the lock is
about, and of a metrics file whether it measured that folder.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from synthalign.reporting.recorded import Lock, folder_md5
from synthalign.reporting.run_inputs import FILES

CODE = ("stages", "synthalign", "world")
"""Inputs below these are no data."""


def md5(path: str | Path) -> str:
    """The hash of a file or folder as dvc.lock has it: of a folder, that of the list of its files with their hashes."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest()
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    return folder_md5({name: md5(file) for name, file in files.items()})


def sha256(path: str | Path, *, recorded: str | None = None) -> str | None:
    """The SHA-256 of a file; None where there is none here, or not the one whose MD5 dvc.lock has recorded."""
    if not os.path.isfile(path) or recorded not in (None, md5(path)):
        return None
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def maker(lock: Lock, path: str) -> str | None:
    """The stage whose output is exactly this path; None where none has it."""
    return next((name for name, stage in lock.items() if any(out["path"] == path for out in outs(stage))), None)


def outs(stage: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return stage.get("outs") or []


def deps(stage: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return stage.get("deps") or []


def recorded_md5(lock: Lock, path: str) -> str | None:
    """The hash that the lock has of an output; None where it has none."""
    return next((out["md5"] for stage in lock.values() for out in outs(stage) if out["path"] == path), None)


def above(lock: Lock, path: str) -> list[str]:
    """The stages that a path was made by, each behind those that it reads from; its own maker is the last."""
    made = {out["path"]: name for name, stage in lock.items() for out in outs(stage)}
    found: list[str] = []

    def add(name: str | None) -> None:
        if name and name not in found:
            for dep in deps(lock[name]):
                if not dep["path"].startswith("metrics/"):
                    add(made.get(dep["path"]))
            found.append(name)

    add(made.get(path))
    return found


def settings(stage: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a stage last ran with, as they stand in the lock."""
    return dict((stage.get("params") or {}).get("params.yaml") or {})


def inputs(lock: Lock, stages: Sequence[str]) -> dict[str, str]:
    """What these stages read that no stage made, code and metrics aside: path and hash, in the order of the stages."""
    made = {out["path"] for stage in lock.values() for out in outs(stage)}
    given = (dep for name in stages for dep in deps(lock[name]) if dep["path"] not in made)
    return {
        dep["path"]: dep["md5"] for dep in given if dep["path"].split("/")[0] not in (*CODE, "metrics", "params.yaml")
    }


def named(lock: Lock, stages: Sequence[str]) -> dict[str, str]:
    """The files that settings of these stages name and of which the lock has no hash: path and setting.

    DVC has no dependency that may be null, so a file that a profile may leave out, as people's pairs, is in no `deps`.
    A setting of `run_inputs.FILES` names one, be it here or not; any other text does where a file of that name is here.
    """
    hashed = {out["path"] for stage in lock.values() for out in outs(stage)}
    hashed |= {dep["path"] for name in stages for dep in deps(lock[name])}
    found = (pair for name in stages for pair in _texts(settings(lock[name])))
    return {path: key for key, path in found if path not in hashed and (key.startswith(FILES) or os.path.isfile(path))}


def _texts(found: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in settings with its dotted key."""
    if isinstance(found, str):
        yield key, found
    elif isinstance(found, Mapping):
        for name, below in found.items():
            yield from _texts(below, f"{key}.{name}".lstrip("."))
    elif isinstance(found, Sequence):
        for below in found:
            yield from _texts(below, key)


def readers(lock: Lock, path: str, hashed: str, *, through: Set[str]) -> tuple[set[str], set[str]]:
    """The metrics files of the stages that read exactly this model, and those of stages that read another at its path.

    hashed   the hash of the folder at hand
    through  the tables of the policy's answers, whose readers measure it too
    """
    of_this, of_another = set(), set()
    answered = {table: maker(lock, table) for table in through}
    by_this = {table for table, name in answered.items() if name and _reads(lock[name], path) == hashed}
    for stage in lock.values():
        read = {dep["path"]: dep["md5"] for dep in deps(stage)}
        same = []
        if path in read:
            same.append(read[path] == hashed)
        same += [table in by_this and read[table] == recorded_md5(lock, table) for table in through & {*read}]
        if same:
            files = {out["path"]: out["md5"] for out in outs(stage) if out["path"].startswith("metrics/")}
            whole = {name for name, known in files.items() if all(same) and Path(name).is_file() and md5(name) == known}
            of_this |= whole
            of_another |= {*files} - whole
    return of_this, of_another


def _reads(stage: Mapping[str, Any], path: str) -> str | None:
    return next((dep["md5"] for dep in deps(stage) if dep["path"] == path), None)


def figures(content: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every figure with an interval in a metrics file, {"value", "low", "high", "n"}, and the keys that lead to it."""
    if isinstance(content, Mapping):
        if {"value", "low", "high", "n"} <= {*content}:
            yield place, content
        else:
            for key, inner in content.items():
                yield from figures(inner, (*place, key))
