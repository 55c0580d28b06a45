"""Checkpoints through a power cut: on the disk before they are there for others, passed over where they are not whole.

A file that was renamed into its place may be empty after a power cut, where it was not on the disk before.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from synthalign.core.stage import is_main_process


def keep(folder: Path) -> None:
    """Have a folder on the disk, with all that is in it."""
    for place in (*folder.rglob("*"), folder):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def put(partial: Path, folder: Path) -> None:
    """Have `partial`, on the disk, in the place of `folder`."""
    keep(partial)
    shutil.rmtree(folder, ignore_errors=True)  # one that could not be read
    partial.rename(folder)
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def first_whole(folders: Iterable[Path], *, last: str) -> Path | None:
    """The first of some checkpoints that can be read; a line says which are passed over.

    last  the file that is written last, without which a checkpoint is not whole
    """
    for folder in folders:
        if (told := damage(folder, last)) is None:
            return folder
        if is_main_process():
            print(f"{folder}: passed over, as {told}", flush=True)
    return None


def damage(folder: Path, last: str) -> str | None:
    """Why a checkpoint cannot be read; None where nothing of it is missing.  Of tensors the beginning is read, which
    tells how long their file is, or the end."""
    if not (folder / last).exists():
        return f"{last} is missing"
    for file in sorted(folder.rglob("*")):
        try:
            if file.suffix == ".json":
                json.loads(file.read_text(encoding="utf-8"))
            elif file.suffix == ".safetensors":
                with safe_open(file, framework="numpy"):
                    pass
            elif file.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(file):  # as `torch.save` makes them
                return f"{file.name} is cut off"
        except (OSError, ValueError, SafetensorError) as error:
            return f"{file.name} cannot be read: {error}"
    return None
