import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthalign.core.errors import UserError
from synthalign.feedback.comparisons import SCHEMA
from synthalign.feedback.human_pairs import load

PAIR = {"prompt": "Where does it live?", "chosen": "In the forest.", "rejected": "Who knows."}


def jsonl(folder, *pairs):
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return file


def test_texts_and_messages_say_the_same(tmp_path):
    conversational = {
        "prompt": [{"role": "user", "content": PAIR["prompt"]}],
        "chosen": [{"role": "assistant", "content": PAIR["chosen"]}],
        "rejected": [{"role": "assistant", "content": PAIR["rejected"]}],
    }

    [row] = load(jsonl(tmp_path, PAIR, conversational), feedback="gold")

    assert set(row) == set(SCHEMA.names)
    assert row["chosen"] == conversational["chosen"]
    assert (row["feedback"], row["p_chosen"]) == ("gold", 1.0)


def test_a_parquet_file_gives_the_same_rows(tmp_path):
    pq.write_table(pa.Table.from_pylist([PAIR]), tmp_path / "pairs.parquet")

    assert load(tmp_path / "pairs.parquet", feedback="gold") == load(jsonl(tmp_path, PAIR), feedback="gold")


def test_equal_sides_are_no_preference(tmp_path):
    assert load(jsonl(tmp_path, PAIR | {"rejected": PAIR["chosen"]}), feedback="gold") == []


@pytest.mark.parametrize(
    "pair, complaint",
    [
        ({"prompt": "q", "chosen": "a"}, r"pairs\.jsonl, line 2: 'rejected' is None"),
        (PAIR | {"chosen": "  "}, r"line 2: 'chosen' is '  '"),
        (PAIR | {"chosen": [{"role": "assistant"}]}, "line 2: 'chosen' is"),
        (["no", "pair"], "line 2: 'prompt' is None"),
    ],
)
def test_a_pair_that_is_not_usable_is_named(tmp_path, pair, complaint):
    with pytest.raises(UserError, match=complaint):
        load(jsonl(tmp_path, PAIR, pair), feedback="gold")


def test_a_file_that_is_not_there_or_not_json_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.jsonl: cannot be read"):
        load(tmp_path / "nowhere.jsonl", feedback="gold")
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(UserError, match="broken.jsonl, line 1: not JSON"):
        load(tmp_path / "broken.jsonl", feedback="gold")
    (tmp_path / "broken.parquet").write_text("{")
    with pytest.raises(UserError, match="broken.parquet: cannot be read"):
        load(tmp_path / "broken.parquet", feedback="gold")
