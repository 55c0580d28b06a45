"""Files of rows as people bring them: Parquet, JSON lines, or one JSON list; each row with the place it has there."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthalign.core import json_lines, text_file
from synthalign.core.errors import UserError

INDEX = re.compile(r"__index_level_\d+__")
"""The column in which pandas leaves the index of a table that it writes."""


def rows(file: Path, one: str, *, step: str) -> list[tuple[str, Any]]:
    """The rows of a file with their places, counted from 1; not the index that pandas leaves in Parquet.

    one   what a row is, for the error of a line that is no JSON
    step  what to do when the file cannot be read

    A .json file may hold a list or lines, as on the hub.  UserError when it can be read as none of them.
    """
    if not {".jsonl", ".json", ".parquet"} & {*file.suffixes}:
        raise UserError(f"{file}: no rows are read of it; write .jsonl, .json, .parquet or .jsonl.gz")
    if file.suffix == ".parquet":
        try:
            found = pq.read_table(file).to_pylist()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(f"{file}: cannot be read ({error}); {step}") from error
        kept = [
            {key: json_lines.with_line_feeds(value) for key, value in row.items() if not INDEX.fullmatch(key)}
            for row in found
        ]
        return [(f"{file}, row {number}", row) for number, row in enumerate(kept, start=1)]
    if ".json" in file.suffixes and (text := text_file.read(file, step=step)).lstrip().startswith("["):
        try:
            entries = json_lines.loads(text, file)
        except ValueError as error:
            raise UserError(f"{file}: not JSON ({error}); {step}") from error
        return [(f"{file}, item {number}", entry) for number, entry in enumerate(entries, start=1)]
    return [(f"{file}, line {number}", entry) for number, entry in json_lines.entries(file, one, step=step)]
