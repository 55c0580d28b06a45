"""The only reader and writer of tables: Parquet files under data/ that are sorted by key and byte-stable."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from synthalign.core.errors import UserError

Row = dict[str, Any]

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
"""The type of a dialogue: the conversational list that TRL and `datasets` read."""

ROW_GROUP = 65_536
"""Rows that are held at once where a table is written or read row by row."""

NEVER_NULL = (
    *("query_id", "question_id", "response_id", "chosen_id", "rejected_id", "text", "config", "model", "policy"),
    *("chosen_config", "rejected_config", "feedback", "policy_a", "policy_b", "judge", "is_best"),
)
"""Columns that have a value in every row of every table."""

RULES = {
    **{column: f"{column} IS NOT NULL" for column in NEVER_NULL},
    **{column: f"{column} >= 0" for column in ("tokens", "shots", "sample_index", "turn", "round")},
    "step": "step IS NULL OR step >= 0",
    **{column: f"len({column}) > 0" for column in ("prompt", "chosen", "rejected", "messages")},
    **{column: f"{column} IS NULL OR isfinite({column})" for column in ("reward", "score_a", "score_b")},
    **{column: f"{column} IS NULL OR isfinite({column})" for column in ("asis_chosen", "asis_rejected")},
    "kl": "kl IS NULL OR isfinite(kl)",
    "p_chosen": "p_chosen BETWEEN 0 AND 1",
    "nearest_rouge_l": "nearest_rouge_l IS NULL OR nearest_rouge_l BETWEEN 0 AND 1",
    "origin": "origin IN ('seed', 'mined', 'eval')",
    "split": "split IN ('train', 'eval')",
    "order": "\"order\" IN ('ab', 'ba')",
    "verdict": "verdict IN ('a', 'b', 'tie', 'unjudged')",
    **{
        column: f"{column} IS NULL OR {column} IN ('eos', 'stop', 'length', 'error')"
        for column in ("finish_reason", "chosen_finish_reason", "rejected_finish_reason")
    },
}
"""What holds in every row of every table that has the column, as SQL: a name means the same wherever it stands.

What one row cannot know (ids of other tables, keys) is in queries/checks.sql; `check-tables` asks for all of it.
"""

SHOWN = 3
"""Offending rows in a message."""


def path(name: str) -> Path:
    """Where the table `name` ("queries", "responses/a") is kept."""
    return Path("data") / f"{name}.parquet"


def read(name: str) -> pa.Table:
    """The table `name`; UserError when it was not made yet."""
    check_made(name)
    return pq.read_table(path(name))


def check_made(name: str) -> None:
    """UserError when the table `name` was not made yet."""
    if not path(name).is_file():
        raise UserError(f"{path(name)} does not exist; `dvc repro` makes it (see dvc.yaml for its stage)")


def rows(name: str) -> list[Row]:
    """The rows of the table `name`, in the order of its key."""
    return read(name).to_pylist()


def stream(name: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of the table `name` one after the other, a part of it in memory at a time; of some columns if given."""
    check_made(name)
    with pq.ParquetFile(path(name)) as file:
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()


def write(rows: Sequence[Row], name: str, *, key: str | tuple[str, ...], schema: pa.Schema) -> int:
    """Write the rows in the order of their key and return their number.

    The order makes the file's bytes a function of its rows, whatever order they were computed in.
    """
    columns = (key,) if isinstance(key, str) else key
    return write_ordered(sorted(rows, key=lambda row: _key(row, columns)), name, key=key, schema=schema)


def write_ordered(rows: Iterable[Row], name: str, *, key: str | tuple[str, ...], schema: pa.Schema) -> int:
    """Write rows that come in the order of their key, a row group in memory at a time, and return their number.

    Raises UserError when a key repeats or is missing, or a value does not fit the schema or breaks one of
    `RULES`; the file appears whole or not at all.
    """
    columns = (key,) if isinstance(key, str) else key
    path(name).parent.mkdir(parents=True, exist_ok=True)
    partial = path(name).with_suffix(".partial")
    waiting, written, last = iter(rows), 0, None
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd", store_schema=True) as writer:
            while (group := list(islice(waiting, ROW_GROUP))) or not written:
                keys = [_key(row, columns) for row in group]
                _check(name, columns, keys if last is None else [last, *keys])
                table = _table(name, group, schema)
                _check_rules(name, columns, table)
                writer.write_table(table, row_group_size=ROW_GROUP)
                if not group:
                    break
                written, last = written + len(group), keys[-1]
        partial.replace(path(name))
    finally:
        partial.unlink(missing_ok=True)
    print(f"{path(name)}: {written:,} rows", flush=True)
    return written


def _key(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[column] for column in columns)


def _check(name: str, columns: Sequence[str], keys: Sequence[tuple[Any, ...]]) -> None:
    """UserError unless the keys, which are in order, are there and differ."""
    if any(value is None for values in keys for value in values):
        raise UserError(f"{path(name)}: a row has no value for its key {columns}")
    for one, other in pairwise(keys):
        if one == other:
            raise UserError(f"{path(name)}: two rows have the key {dict(zip(columns, one, strict=True))}")
        assert one < other, f"{path(name)}: the key {other} comes after {one}"


def offending(rows: str, columns: Iterable[str]) -> str:
    """The query that selects the rows of the view `rows` that break a rule of their columns, the broken ones named."""
    rules = {column: RULES[column] for column in columns if column in RULES} or {"nothing": "true"}
    broken = ", ".join(f"if(({rule}) IS TRUE, NULL, '{_quoted(rule)}')" for rule in rules.values())
    kept = " AND ".join(f"({rule})" for rule in rules.values())
    return f"SELECT concat_ws('; ', {broken}) AS broken_rule, * FROM {rows} WHERE ({kept}) IS NOT TRUE"


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _check_rules(name: str, key: Sequence[str], table: pa.Table) -> None:
    """UserError with the first rows that break one of `RULES`."""
    with duckdb.connect() as connection:
        connection.register("written", table)
        shown = connection.sql(f"{offending('written', table.column_names)} LIMIT {SHOWN}")
        columns, rows = shown.columns, shown.fetchall()
    if rows:
        lines = "\n".join(f"  {dict(zip(columns, row, strict=True))}" for row in rows)
        raise UserError(f"{path(name)}: rows break a rule of synthalign.core.tables.RULES, by key {key}:\n{lines}")


def _table(name: str, rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    unknown = {column for row in rows for column in row} - set(schema.names)
    if unknown:
        raise UserError(f"{path(name)}: columns {sorted(unknown)} are not in the table's schema {schema.names}")
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"{path(name)}: a value does not fit its column: {error}") from error
