"""Tables: one writer, sorted by key, the same bytes for the same rows."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthalign.core import graph, tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from tests import small_tables

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


# -- frames -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def made() -> Path:
    """A checkout with the small tables."""
    small_tables.write(Path("."), small_tables.rows())
    return small_tables.project(Path("."))


def test_every_table_of_the_graph_has_a_key_and_every_key_a_table() -> None:
    assert {name.split("/")[0] for name in graph.tables(small_tables.ROOT)} == {*tables.KEYS}


def test_a_stage_that_writes_by_another_key_is_stopped() -> None:
    with pytest.raises(AssertionError, match=r"answers/ppo: \('question_id',\) is not in KEYS"):
        schema = pa.schema([("question_id", pa.string()), ("sample_index", pa.int64())])
        tables.write([], "answers/ppo", key="question_id", schema=schema)


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("name", small_tables.rows())
def test_a_frame_has_the_rows_of_its_table_under_its_key(name: str) -> None:
    rows, frame = tables.rows(name), tables.frame(name)

    assert frame.index.is_unique
    assert {*frame.index.names, *frame.columns} == {*rows[0]}
    for row, values in zip(rows, frame.reset_index().to_dict("records"), strict=True):
        assert {column: value for column, value in values.items() if row[column] is not None} == {
            column: value for column, value in row.items() if value is not None
        }


def test_a_pair_that_ditto_learned_from_twice_is_two_rows_of_a_frame() -> None:
    pair = {"comparison_id": "a>b", "kind": "online"}
    schema = pa.schema([("step", pa.int64()), ("kind", pa.string()), ("comparison_id", pa.string())])
    key = ("step", "kind", "comparison_id")
    tables.write([pair | {"step": step} for step in (0, 1)], "comparisons/ditto_poet", key=key, schema=schema)

    assert list(tables.frame("comparisons/ditto_poet").index) == [(0, "online", "a>b"), (1, "online", "a>b")]


def test_a_frame_tells_a_null_from_nothing_and_a_whole_number_stays_one() -> None:
    columns = [("policy", pa.string()), ("seen", pa.int64()), ("reward", pa.float64()), ("best", pa.bool_())]
    schema = pa.schema([("candidate_id", pa.string()), *columns])
    whole = {"candidate_id": "1", "policy": "ppo", "seen": 2**53 + 1, "reward": 0.5, "best": True}
    tables.write([whole], "queries_rejected", key="candidate_id", schema=schema)
    plain = tables.frame("queries_rejected").dtypes
    tables.write([whole, {"candidate_id": "2", "policy": "ppo"}], "queries_rejected", key="candidate_id", schema=schema)
    frame = tables.frame("queries_rejected")

    assert [str(plain[name]) for name in ("seen", "reward", "best")] == ["int64", "float64", "bool"]
    assert [str(frame[name].dtype) for name in ("seen", "reward", "best")] == ["Int64", "Float64", "boolean"]
    assert frame.loc["1", "seen"] == 2**53 + 1  # no float64 has it
    assert frame.loc["2"].isna().to_dict() == {"policy": False, "seen": True, "reward": True, "best": True}


@pytest.mark.usefixtures("made")
def test_the_messages_of_a_frame_are_lists_of_dicts() -> None:
    assert tables.frame("comparisons/almost").loc["a>b yak", "chosen"] == [
        {"role": "assistant", "content": "yak is a fine thing."}
    ]


def test_a_frame_of_another_folder_is_that_folders() -> None:
    small_tables.write(Path("published/2026-11-21-ca95026b"), {"revisions": small_tables.rows()["revisions"]})

    assert list(tables.frame("revisions", "published/2026-11-21-ca95026b").index) == [("yak", 0)]


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "responses/c",
            "data/responses/c.parquet does not exist yet; stage sample_responses@c makes it: dvc repro sam",
        ),
        ("querys", "data/querys.parquet is no table; the nearest are queries"),
        ("demonstrations", "is no table but a family; take one of demonstrations/constitutional, "),
        ("embedded/community_qa", "is no table; there are queries, queries_rejected, responses, "),
    ],
)
def test_a_frame_that_cannot_be_made_says_what_to_ask_for(name: str, told: str) -> None:
    with pytest.raises(UserError, match=told.replace(".", r"\.")):
        tables.frame(name)


def test_a_folder_without_tables_is_named() -> None:
    with pytest.raises(UserError, match=r"^data/queries\.parquet does not exist, nor any other table; \. should be"):
        tables.frame("queries")
