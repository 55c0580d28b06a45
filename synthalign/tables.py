"""The only reader and writer of tables: Parquet files under data/ that are sorted by key and byte-stable."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthalign.errors import UserError

Row = dict[str, Any]

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
"""The type of a dialogue: the conversational list that TRL and `datasets` read."""


def path(name: str) -> Path:
    """Where the table `name` ("queries", "responses/a") is kept."""
    return Path("data") / f"{name}.parquet"


def read(name: str) -> pa.Table:
    """The table `name`; UserError when it was not made yet."""
    if not path(name).is_file():
        raise UserError(f"{path(name)} does not exist; `dvc repro` makes it (see dvc.yaml for its stage)")
    return pq.read_table(path(name))


def rows(name: str) -> list[Row]:
    """The rows of the table `name`, in the order of its key."""
    return read(name).to_pylist()


def write(rows: Sequence[Row], name: str, *, key: str | tuple[str, ...], schema: pa.Schema) -> int:
    """Write the rows in the order of their key and return their number.

    The order makes the file's bytes a function of its rows, whatever order they were computed in.
    Raises UserError when a key repeats or is missing, or a value does not fit the schema; the file
    appears whole or not at all.
    """
    columns = (key,) if isinstance(key, str) else key
    ordered = sorted(rows, key=lambda row: tuple(row[column] for column in columns))
    keys = [tuple(row[column] for column in columns) for row in ordered]
    for one, other in zip(keys, keys[1:], strict=False):
        if one == other:
            raise UserError(f"{path(name)}: two rows have the key {dict(zip(columns, one, strict=True))}")
    if any(value is None for values in keys for value in values):
        raise UserError(f"{path(name)}: a row has no value for its key {columns}")
    unknown = {column for row in ordered for column in row} - set(schema.names)
    if unknown:
        raise UserError(f"{path(name)}: columns {sorted(unknown)} are not in the table's schema {schema.names}")
    try:
        table = pa.Table.from_pylist(ordered, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"{path(name)}: a value does not fit its column: {error}") from error
    path(name).parent.mkdir(parents=True, exist_ok=True)
    partial = path(name).with_suffix(".partial")
    pq.write_table(table, partial, compression="zstd", row_group_size=65_536, store_schema=True)
    partial.replace(path(name))
    print(f"{path(name)}: {len(ordered):,} rows", flush=True)
    return len(ordered)
