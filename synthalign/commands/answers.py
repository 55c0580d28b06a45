"""The rows of an answer as a table for a terminal, as CSV, as JSON or as Parquet, a batch in memory at a time."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from synthalign.reporting import text_tables

ROWS, WIDTH = 50, 60
"""Of a table on a terminal: rows, and characters in a cell."""

BATCH = 10_000
"""Rows that are held at once where an answer is written to a file."""


def columns_of(answer: DuckDBPyConnection) -> list[str]:
    return [column[0] for column in answer.description or []]


def rows_of(answer: DuckDBPyConnection, limit: int | None = None) -> Iterator[tuple[Any, ...]]:
    """The rows of an answer, a batch in memory at a time."""

    def every() -> Iterator[tuple[Any, ...]]:
        while batch := answer.fetchmany(BATCH):
            yield from batch

    return islice(every(), limit)


def cell(value: Any) -> str:
    """A value on one line of a terminal: what would move its cursor or colour it is written out."""
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in as_text(value))
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def as_text(value: Any) -> str:
    """A value as a cell has it: NULL is empty, lists and structures are JSON."""
    if isinstance(value, Decimal):
        return str(value)
    found = plain(value)
    return "" if found is None else found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def plain(value: Any) -> Any:
    """A value as JSON has it: a number of any type is a number, a date or a time is text in ISO 8601, and NaN and
    infinity, which JSON does not have, are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | None) else str(value)


def as_table(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    """The rows for a terminal."""
    return text_tables.plain([tuple(map(cell, columns)), *(tuple(map(cell, row)) for row in rows)])


def write_table(answer: DuckDBPyConnection, stream: IO[str], limit: int | None) -> None:
    """The answer for a terminal, ROWS rows where no limit is given, and whether there are more."""
    most = ROWS if limit is None else limit
    columns, rows = columns_of(answer), list(rows_of(answer, most + 1))
    print(as_table(columns, rows[:most]), file=stream)
    if len(rows) > most:
        print(f"(the first {most} rows; --limit N shows more, --format csv all)", file=stream)


def write_csv(answer: DuckDBPyConnection, stream: IO[str], limit: int | None) -> None:
    """CSV with a heading."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns_of(answer))
    for row in rows_of(answer, limit):
        writer.writerow(map(as_text, row))


def write_json(answer: DuckDBPyConnection, stream: IO[str], limit: int | None) -> None:
    """A list of objects, one a line."""
    columns, separator = columns_of(answer), "[\n"
    for row in rows_of(answer, limit):
        stream.write(separator + json.dumps(dict(zip(columns, map(plain, row), strict=True)), ensure_ascii=False))
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def write_parquet(connection: DuckDBPyConnection, statement: duckdb.Statement, file: Path, limit: int | None) -> None:
    """The answer to a statement as a Parquet file."""
    asked = connection.sql(statement.query)
    batches = (asked if limit is None else asked.limit(limit)).to_arrow_reader(BATCH)
    with pq.ParquetWriter(file, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


WRITERS = {"table": write_table, "csv": write_csv, "json": write_json}
