"""Tables: one writer, sorted by key, the same bytes for the same rows."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id

SCHEMA = pa.schema([("id", pa.string()), ("value", pa.float64()), ("said", tables.MESSAGES)])
ROWS = [
    {"id": "b", "value": 2.0, "said": [{"role": "user", "content": "B?"}]},
    {"id": "a", "value": None, "said": []},
    {"id": "c", "value": math.pi, "said": None},
]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_rows_come_back_in_the_order_of_their_key() -> None:
    assert tables.write(ROWS, "letters", key="id", schema=SCHEMA) == 3

    assert tables.rows("letters") == sorted(ROWS, key=lambda row: row["id"])


def test_the_bytes_depend_on_the_rows_and_not_on_their_order() -> None:
    tables.write(ROWS, "forwards", key="id", schema=SCHEMA)
    tables.write(ROWS[::-1], "backwards", key="id", schema=SCHEMA)

    assert tables.path("forwards").read_bytes() == tables.path("backwards").read_bytes()


def test_the_bytes_are_those_of_one_piece_however_few_rows_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": f"{place:03}", "value": place / 7, "said": ROWS[place % 3]["said"]} for place in range(10)]
    whole = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(whole, "whole.parquet", compression="zstd", row_group_size=4, store_schema=True)
    monkeypatch.setattr(tables, "ROW_GROUP", 4)

    assert tables.write_ordered(iter(rows), "streamed", key="id", schema=SCHEMA) == 10

    assert tables.path("streamed").read_bytes() == Path("whole.parquet").read_bytes()
    assert list(tables.stream("streamed")) == rows
    assert list(tables.stream("streamed", ["id"])) == [{"id": row["id"]} for row in rows]


def test_a_key_that_repeats_across_row_groups_is_refused_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 1)

    with pytest.raises(UserError, match="two rows have the key"):
        tables.write([*ROWS, ROWS[1]], "letters", key="id", schema=SCHEMA)

    assert not list(Path("data").iterdir())


def test_a_repeated_key_is_refused_and_named() -> None:
    with pytest.raises(UserError, match=r"two rows have the key \{'id': 'a'\}"):
        tables.write([*ROWS, ROWS[1]], "letters", key="id", schema=SCHEMA)


def test_a_key_of_two_columns_may_repeat_in_one_of_them() -> None:
    rows = [{"id": "a", "value": 1.0, "said": None}, {"id": "a", "value": 2.0, "said": None}]

    assert tables.write(rows, "letters", key=("id", "value"), schema=SCHEMA) == 2


def test_an_unknown_column_is_refused_and_named() -> None:
    with pytest.raises(UserError, match=r"\['colour'\] are not in the table's schema"):
        tables.write([{"id": "a", "colour": "red"}], "letters", key="id", schema=SCHEMA)


def test_a_value_of_another_type_is_refused_and_the_old_table_stays() -> None:
    tables.write(ROWS, "letters", key="id", schema=SCHEMA)
    before = tables.path("letters").read_bytes()

    with pytest.raises(UserError, match="does not fit its column"):
        tables.write([{"id": "a", "value": "red"}], "letters", key="id", schema=SCHEMA)

    assert tables.path("letters").read_bytes() == before


def test_a_table_without_rows_keeps_its_columns() -> None:
    tables.write([], "letters", key="id", schema=SCHEMA)

    assert tables.read("letters").schema.names == ["id", "value", "said"]


def test_a_table_that_was_not_made_says_how_to_make_it() -> None:
    with pytest.raises(UserError, match="data/letters.parquet does not exist; `dvc repro` makes it"):
        tables.read("letters")


def test_an_id_keeps_its_parts_apart() -> None:
    assert content_id("ab", "c") == content_id("ab", "c")
    assert content_id("ab", "c") != content_id("a", "bc")
