"""The only reader and writer of tables: Parquet files under data/ that are sorted by key and byte-stable."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from synthalign.core import graph, shards
from synthalign.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
"""The type of a dialogue: the conversational list that TRL and `datasets` read."""

ROW_GROUP = 65_536
"""Rows that are held at once where a table is written or read row by row."""

KEYS = {
    "queries": ("query_id",),
    "queries_rejected": ("candidate_id",),
    "responses": ("response_id",),
    "comparisons_ranked": ("comparison_id",),
    "comparisons": ("step", "kind", "comparison_id"),  # DITTO learns from a pair more than once; others have no step
    "comparisons_dropped": ("comparison_id",),
    "candidates": ("query_id", "turn", "sample_index"),
    "demonstrations": ("demonstration_id",),
    "answers": ("question_id", "sample_index"),
    "judgements": ("question_id", "sample_index", "policy_a", "policy_b", "order", "judge"),
    **{f"{trainer}_curve": ("step", "question_id") for trainer in ("ppo", "dpo", "rrhf", "group_rl")},
    "rrhf_samples": ("round", "query_id", "sample_index"),
    "revisions": ("query_id", "step"),
    "ditto_samples": ("sample_id",),
    "ditto_answers": ("prompt_id", "method", "sample_index"),
    "mixtures": ("mixture_id",),
    "task_answers": ("item_id", "shots"),
    "benchmark_scores": ("benchmark", "category", "metric"),
}
"""The key of every table, by its name up to the `/`: those of these columns that it has."""

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


def frame(name: str, folder: str | Path = ".") -> "pd.DataFrame":
    """The table `name` for an analyst: its key is the index, in the order of the file.

    A column with NULLs has pandas' nullable type (Int64, Float64, boolean, string), every other one the plain type;
    messages are lists of dicts.

    folder  what data/ is in: the root of a checkout, or a published run

    Raises UserError when there is no such table, with the nearest names, or when it was not made yet, with its stage.
    """
    import pandas as pd  # takes half a second, and no stage needs it

    file = Path(folder) / path(name)
    if name.split("/")[0] not in KEYS or not file.is_file():
        raise UserError(f"{file} {_lacking(name, Path(folder))}")
    table = pq.read_table(file)
    nullable = {
        pa.int64(): pd.Int64Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(),
    }

    def column(values: pa.ChunkedArray) -> "pd.Series":
        if pa.types.is_nested(values.type):
            return pd.Series(values.to_pylist(), dtype=object)
        return values.to_pandas(types_mapper=nullable.get if values.null_count else None)

    columns = {column_name: column(table[column_name]) for column_name in table.column_names}
    return pd.DataFrame(columns).set_index(list(key_of(name, table.column_names)))


def key_of(name: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The key of the table `name`, which has these columns."""
    return tuple(column for column in KEYS[name.split("/")[0]] if column in columns)


def _lacking(name: str, folder: Path) -> str:
    """Why there is no file of the table `name`, and the next step."""
    stages = graph.tables(folder)
    made = {file.relative_to(folder / "data").with_suffix("") for file in (folder / "data").rglob("*.parquet")}
    known = {table.as_posix() for table in made if table.parts[0] in KEYS} | stages.keys()
    if name in stages:
        return f"does not exist yet; stage {stages[name]} makes it: dvc repro {stages[name]}"
    if not known:
        return f"does not exist, nor any other table; {folder} should be the root of a checkout or a published run"
    members = sorted(table for table in known if table.startswith(f"{name}/"))
    if members:
        return f"is no table but a family; take one of {', '.join(members)}"
    near = get_close_matches(name, sorted(known), n=3)
    return f"is no table; {'the nearest are' if near else 'there are'} {', '.join(near or KEYS)}"


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
    `RULES`; the file appears whole or not at all.  A shard of a stage writes none: shards.Ended.
    """
    if shard := shards.here():
        raise shards.Ended(f"{name}: shard {shard.number}/{shard.of} finds all rows there; run the stage without it")
    columns = (key,) if isinstance(key, str) else key
    assert name.split("/")[0] not in KEYS or columns == key_of(name, schema.names), f"{name}: {columns} is not in KEYS"
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
