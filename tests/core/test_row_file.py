import json

import pandas as pd
import pytest

from synthalign.core import row_file
from synthalign.core.errors import UserError

ROWS = [{"a": "one"}, {"a": "two"}]


def rows(file):
    return row_file.rows(file, "row", step="fetch it")


def test_lines_a_list_and_parquet_are_the_same_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "lines.json").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "list.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS, indent=1).encode())
    pd.DataFrame(ROWS).to_parquet(tmp_path / "a.parquet")

    for name, place in [("a.jsonl", "line"), ("lines.json", "line"), ("list.json", "item"), ("a.parquet", "row")]:
        assert rows(tmp_path / name) == [(f"{tmp_path / name}, {place} {at}", row) for at, row in enumerate(ROWS, 1)]


def test_ends_of_lines_within_texts_are_line_feeds_whoever_wrote_them(tmp_path):
    said = [{"a": "One.\r\n\r\nTwo.", "b": [{"c": "x\r\ny"}], "n": 3}, {"a": "A lone \r stays.", "b": [], "n": 4}]
    meant = [{"a": "One.\n\nTwo.", "b": [{"c": "x\ny"}], "n": 3}, said[1]]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, said)))
    (tmp_path / "list.json").write_text(json.dumps(said).replace("\\r", "\\u000D"))
    pd.DataFrame(said).to_parquet(tmp_path / "a.parquet")

    for name in ("a.jsonl", "list.json", "a.parquet"):
        assert [row for _, row in rows(tmp_path / name)] == meant, name


def test_the_index_that_pandas_leaves_is_no_column(tmp_path):
    pd.DataFrame(ROWS, index=[7, 3]).to_parquet(tmp_path / "a.parquet")

    assert [row for _, row in rows(tmp_path / "a.parquet")] == ROWS


def test_half_a_character_in_a_list_is_named_with_its_line(tmp_path):
    (tmp_path / "a.json").write_text('[{"a": "\\ud83e\\udd8a"},\n {"a": "\\ud83e"}]')

    with pytest.raises(UserError, match=r"a.json, line 2: \\ud83e is half a character"):
        rows(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.csv.gz", "pairs.txt", "pairs"])
def test_a_file_of_another_form_is_told_which_forms_are_read(tmp_path, name):
    (tmp_path / name).write_text("prompt,chosen,rejected\nWhy?,So.,No.\nWho?,I.,You.\n")

    with pytest.raises(UserError) as error:
        rows(tmp_path / name)

    assert str(error.value) == f"{tmp_path / name}: no rows are read of it; write .jsonl, .json, .parquet or .jsonl.gz"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", "[1,", "a.json: not JSON"),
        ("a.json", "{1", "a.json, line 1: not JSON"),
        ("a.parquet", "x", "a.parquet: cannot be read .*; fetch it"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)

    with pytest.raises(UserError, match=told):
        rows(tmp_path / name)
