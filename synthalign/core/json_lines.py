"""Files of one JSON object a line, with errors that name the line."""

import json
import re
from pathlib import Path
from typing import Any

from synthalign.core import text_file
from synthalign.core.errors import UserError, each

ESCAPE = re.compile(r"\\(?:ud[89ab]..\\ud[c-f]..|(ud[89a-f]..)|.)", re.IGNORECASE | re.DOTALL)
"""An escape within a JSON text; the group is one that stands for half a surrogate pair, without its other half."""

SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)

STEP = "fetch it, or name another file in params.yaml"


def lines(file: Path, *, step: str = STEP) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; UserError when the file cannot be read as UTF-8.

    Only a line feed ends a line: within a text JSON allows U+2028 and others at which `str.splitlines` splits.
    """
    numbered = enumerate(text_file.read(file, step=step).split("\n"), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def loads(text: str, file: str | Path, *, line: int = 1) -> Any:
    """What a JSON text says, with line feeds alone; ValueError when it is none, UserError as `check_whole`.

    line  where in the file the text begins
    """
    value = json.loads(text)
    check_whole(text, file, line=line)
    return with_line_feeds(value)


def with_line_feeds(value: Any) -> Any:
    """The same with the ends of lines of Windows (CR and LF) in its texts as line feeds: a blank line, with a turn's
    marker behind it, is one however it was written."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n")
    if isinstance(value, list):
        return [with_line_feeds(one) for one in value]
    if isinstance(value, dict):
        return {key: with_line_feeds(one) for key, one in value.items()}
    return value


def check_whole(text: str, file: str | Path, *, line: int = 1) -> None:
    """UserError, with the line, for half a surrogate pair in a JSON text ("\\ud83d" alone): JSON allows it, and no
    table can hold it."""
    for escape in ESCAPE.finditer(text) if SURROGATE.search(text) else ():
        if escape[1]:
            number = line + text.count("\n", 0, escape.start())
            shown = text[max(0, escape.start() - 30) : escape.end()]
            raise UserError(
                f"{file}, line {number}: {escape[0]} is half a character (a surrogate without its other half): "
                f"…{shown!r}; write the whole character, or take it out"
            )


def entries(file: Path, one: str, *, step: str = STEP) -> list[tuple[int, Any]]:
    """What the lines that are not blank say, with their numbers; UserError, with what `one` is, for those that are no
    JSON."""

    def said(numbered: tuple[int, str]) -> tuple[int, Any]:
        number, line = numbered
        try:
            return number, loads(line, file, line=number)
        except ValueError as error:
            raise UserError(
                f"{file}, line {number}: not JSON ({error}): {line[:60]!r}; write one {one} a line"
            ) from error

    return each(lines(file, step=step), said)


def texts(file: Path) -> list[str]:
    """The texts of {"text"} in each line; UserError when there are none, or for those that are blank."""

    def text_of(numbered: tuple[int, Any]) -> str:
        number, entry = numbered
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise UserError(f'{file}, line {number}: {str(entry)[:80]!r} is not of the form {{"text": …}} with a text')
        return text

    found = each(entries(file, 'object {"text": …}'), text_of)
    if not found:
        raise UserError(f"{file}: no texts; put one in each line, or name another file in params.yaml")
    return found
