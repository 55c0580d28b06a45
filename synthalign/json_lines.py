"""Files of one JSON object a line, with errors that name the line."""

import json
from pathlib import Path

from synthalign.errors import UserError


def lines(file: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; UserError when the file cannot be read as UTF-8."""
    try:
        content = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}; fetch it, or set its key in params.yaml to null") from error
    return [(number, line) for number, line in enumerate(content, start=1) if line.strip()]


def texts(file: Path) -> list[str]:
    """The texts of {"text"} in each line; UserError when there are none or one is blank."""
    found = []
    for number, line in lines(file):
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{file}:{number}: not of the form {{"text": …}}: {line[:80]!r}') from error
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{file}:{number}: text is {text!r}; every line needs one")
        found.append(text)
    if not found:
        raise UserError(f"{file}: no texts; put one in each line, or set the key that names the file to null")
    return found
