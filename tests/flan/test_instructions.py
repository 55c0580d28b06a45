import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthalign.core.errors import UserError
from synthalign.flan import instructions
from synthalign.flan.instructions import Example

ROW = {"task": "animal_colour", "input": "What colour is the red fox?", "target": "red"}
LISTED = "What colour is the red fox?\n\nOptions:\n- blue\n- red"
FULL = ROW | {"family": "lookup", "rationale": "It is a red fox.", "options": ["blue", "red"]}


def lines(tmp_path, rows):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return file


def test_parquet_and_json_lines_are_the_same_data(tmp_path):
    pq.write_table(pa.Table.from_pylist([FULL, ROW]), tmp_path / "mine.parquet")

    found = instructions.load(lines(tmp_path, [FULL, ROW]))

    assert found == instructions.load(tmp_path / "mine.parquet")
    assert found == [
        Example("animal_colour", "lookup", (ROW["input"], LISTED), "red", "It is a red fox.", ("blue", "red")),
        Example("animal_colour", "animal_colour", (ROW["input"],), "red"),
    ]


def test_blanks_around_an_answer_do_not_make_it_another(tmp_path):
    [found] = instructions.load(lines(tmp_path, [ROW | {"target": " yes", "options": [" yes", " no"]}]))

    assert (found.target, found.options) == ("yes", ("yes", "no"))


def test_options_that_the_input_does_not_show_stand_in_a_second_wording_that_an_evaluation_takes():
    hidden = instructions.example(FULL, "line 1")
    seen = instructions.example(FULL | {"input": "Is the fox blue or red?"}, "line 2")
    free = instructions.example(ROW, "line 3")

    assert (hidden.asks, hidden.shown()) == ((ROW["input"], LISTED), [1])
    assert (seen.asks, seen.shown()) == (("Is the fox blue or red?",), [0])
    assert (free.asks, free.shown()) == ((ROW["input"],), [0])


def test_an_option_within_another_word_is_not_shown():
    assert instructions.shows("Is it no or yes?", ["yes", "no"])
    assert not instructions.shows("Did yesterday bring snow?", ["yes", "no"])


def test_rows_that_ask_the_same_are_one_example_with_several_right_answers():
    rows = [Example("t", "t", ("a?",), answer) for answer in ("one", "two", "one")] + [Example("t", "t", ("b?",), "x")]

    assert instructions.folded(rows) == [
        Example("t", "t", ("a?",), "one", accepted=("two",)),
        Example("t", "t", ("b?",), "x"),
    ]


def test_an_example_that_comes_twice_is_one():
    one, other = Example("t", "t", ("a?",), "b"), Example("t", "t", ("c?",), "d")

    tasks = instructions.by_task([one, other, one])

    assert sorted(tasks["t"], key=lambda example: example.asks) == [one, other]
    assert tasks == instructions.by_task([other, one])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"task": "t", "input": "a?"}, "target is None; every row needs a text there"),
        (ROW | {"target": ""}, "target is ''; every row needs a text there"),
        (ROW | {"input": 3}, "input is 3; every row needs a text there"),
        (ROW | {"cot": "so"}, "unknown column 'cot'; allowed: task, input, target, family, rationale, options"),
        (ROW | {"rationale": ""}, "rationale is ''; it is a text, null, or left out"),
        (ROW | {"options": "red"}, "options is 'red'; it is a list of texts"),
        (ROW | {"options": ["blue", "green"]}, "it needs each answer once, 'red' too"),
        (ROW | {"options": ["red", "red "]}, "it needs each answer once, 'red' too"),
        (ROW | {"options": ["red"]}, "options is ['red']; name two or more to choose from, or leave it out"),
        (ROW | {"options": ["red", "red"]}, "it needs each answer once, 'red' too"),
        ([ROW], "is no object with task, input, target"),
        ("{\n", "not JSON"),
    ],
)
def test_a_row_that_is_no_example_is_named(tmp_path, row, message):
    with pytest.raises(UserError) as caught:
        instructions.load(lines(tmp_path, [ROW, row]))

    assert f"{tmp_path / 'mine.jsonl'}, line 2: " in str(caught.value)
    assert message in str(caught.value)


def test_the_index_of_pandas_is_no_reason_to_refuse_and_all_wrong_rows_are_named(tmp_path):
    rows = pd.DataFrame([ROW, ROW, ROW | {"input": None}, ROW | {"target": None}])
    rows.iloc[1:2].to_parquet(tmp_path / "mine.parquet")
    assert len(instructions.load(tmp_path / "mine.parquet")) == 1

    rows.iloc[1:].to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(UserError) as caught:
        instructions.load(tmp_path / "mine.parquet")
    assert [line.split("mine.parquet, ")[1].split(";")[0] for line in str(caught.value).splitlines()] == [
        "row 2: input is None",
        "row 3: target is None",
    ]


def test_a_row_of_parquet_without_target_is_named(tmp_path):
    pq.write_table(pa.Table.from_pylist([ROW, ROW | {"target": None}]), tmp_path / "mine.parquet")

    with pytest.raises(UserError, match="mine.parquet, row 2: target is None"):
        instructions.load(tmp_path / "mine.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.csv", "", "a .parquet or a .jsonl file"),
        ("mine.jsonl", "\n", "no examples; every row needs task, input, target"),
        ("mine.parquet", "x", "cannot be read"),
        ("none.jsonl", None, "cannot be read"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)

    with pytest.raises(UserError, match=message):
        instructions.load(tmp_path / name)
