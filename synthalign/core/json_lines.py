"""Files of one JSON object a line, with errors that name the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError


def lines(file: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; UserError when the file cannot be read as UTF-8.

    Only a line feed ends a line: within a text JSON allows U+2028 and others at which `str.splitlines` splits.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); fetch it, or name another file in params.yaml"
        ) from error
    found = []
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{file}, line {number}, byte {error.start + 1}: 0x{raw[error.start]:02x} is not UTF-8; "
                "save the file as UTF-8"
            ) from error
        if line.strip():
            found.append((number, line))
    return found


def entries(file: Path, one: str) -> Iterator[tuple[int, Any]]:
    """What the lines that are not blank say, with their numbers; UserError, with what `one` is, when one is no JSON."""
    for number, line in lines(file):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{file}, line {number}: not JSON ({error}): {line[:60]!r}; write one {one} a line"
            ) from error
        yield number, entry


def texts(file: Path) -> list[str]:
    """The texts of {"text"} in each line; UserError when there are none or one is blank."""
    found = []
    for number, entry in entries(file, 'object {"text": …}'):
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise UserError(f'{file}, line {number}: {str(entry)[:80]!r} is not of the form {{"text": …}} with a text')
        found.append(text)
    if not found:
        raise UserError(f"{file}: no texts; put one in each line, or name another file in params.yaml")
    return found
