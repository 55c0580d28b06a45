import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthalign.core import json_lines
from synthalign.core.errors import UserError
from synthalign.judging import benchmarks
from synthalign.judging.benchmarks import Preference, both_orders_right, longer_is_right, strictly_highest, turns

DATA = Path("../shared/data")
HHH, TRUTHFULQA = DATA / "hhh_alignment_221.json", DATA / "truthfulqa_mc.json"
needs_hhh = pytest.mark.skipif(not HHH.exists(), reason=f"{HHH} is not here")
needs_truthfulqa = pytest.mark.skipif(not TRUTHFULQA.exists(), reason=f"{TRUTHFULQA} is not here")


def test_only_a_strictly_highest_score_counts():
    assert strictly_highest([-1.0, -2.0, -3.0], 0)
    assert not strictly_highest([-1.0, -1.0, -3.0], 0)  # a tie is not a win, wherever the right one stands
    assert not strictly_highest([-1.0, -1.0, -3.0], 1)
    assert not strictly_highest([-1.0, -2.0, -3.0], 2)


def test_a_liking_for_a_letter_cancels_over_both_orders():
    always_a = (0.9, 0.1)

    assert not both_orders_right(always_a, always_a)  # .9 + .1 is not above .1 + .9
    assert both_orders_right((0.9, 0.1), (0.8, 0.2))  # .9 + .2 > .1 + .8
    assert not both_orders_right((0.7, 0.3), (0.9, 0.1))  # .7 + .1 < .3 + .9


def test_swapping_the_replies_turns_the_verdict():
    first, second = (0.6, 0.3), (0.5, 0.4)

    assert both_orders_right(first, second)  # .6 + .4 > .3 + .5
    assert not both_orders_right(second, first)  # the other reply: .5 + .3 < .4 + .6


def test_always_longer_guesses_between_equal_replies():
    def item(chosen, rejected):
        return Preference("id", "helpful", (), chosen, rejected, 0)

    assert [longer_is_right(item(*replies)) for replies in [("abc", "ab"), ("ab", "ab"), ("a", "ab")]] == [1, 0.5, 0]


def test_options_are_shuffled_by_seed_and_item():
    def places(seed):
        return [benchmarks.shuffled(f"question {n}", "yes", ["no", "maybe"], seed=seed).right for n in range(90)]

    assert places(0) == places(0) != places(1)
    # the right one stands in every place about as often: 30 +- 3 standard deviations of sqrt(90 * 1/3 * 2/3)
    assert all(30 - 3 * 4.5 < count < 30 + 3 * 4.5 for count in Counter(places(0)).values())


def test_a_dialogue_is_split_at_its_turn_markers_only():
    text = (
        "\n\nHuman: What did the Human: sign say?\n\nAssistant: Nothing.\n\nAt all."
        "\n\nHuman: Why?\n\nAssistant:  No idea."
    )

    assert turns(text, "here") == [
        {"role": "user", "content": "What did the Human: sign say?"},
        {"role": "assistant", "content": "Nothing.\n\nAt all."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "No idea."},
    ]


@pytest.mark.parametrize("text", ["", "Hello", "\n\nAssistant: Hi.", "\n\nHuman: Hi.", "x\n\nHuman: a\n\nAssistant: b"])
def test_what_is_no_dialogue_is_named(text):
    with pytest.raises(UserError, match="item 3: not a dialogue"):
        turns(text, "item 3")


def test_the_letter_prompt_shows_both_replies_in_the_order_asked_for():
    item = Preference("id", "helpful", ({"role": "user", "content": "Hi?"},), "chosen reply", "rejected reply", 0)

    first, second = (benchmarks.letter_prompt(item, chosen_first=order) for order in (True, False))

    assert first.index("Reply A: chosen reply") < first.index("Reply B: rejected reply")
    assert second.index("Reply A: rejected reply") < second.index("Reply B: chosen reply")
    assert first.count("Human:") == first.count("Assistant:") == 1  # the dialogue's own turns have other names


def test_a_broken_file_is_named_with_the_place(tmp_path):
    file = tmp_path / "items.json"
    with pytest.raises(UserError, match="items.json: cannot be read.*or name another file in params.yaml, or null"):
        benchmarks.load_hhh(file, seed=0)
    file.write_text("[{}]")
    with pytest.raises(UserError, match="items.json, item 1: chosen is None; it needs a text there"):
        benchmarks.load_hhh(file, seed=0)
    file.write_text(json.dumps([{"question": "q", "mc1_targets": {"a": 1, "b": 1}}]))
    with pytest.raises(UserError, match="items.json, item 1: mc1_targets has 2 right of 2; MC1 has one right"):
        benchmarks.load_truthfulqa(file, seed=0)
    file.write_text('{"text": "one"}\n{"no": "text"}\n')
    with pytest.raises(UserError, match="items.json, line 2: .* is not of the form .*text"):
        json_lines.texts(file)
    with pytest.raises(UserError, match="items.json, line 1: distractors is None; it needs prefix"):
        benchmarks.load_cloze(file, seed=0)
    sides = ["\n\nHuman: a\n\nAssistant: b", "\n\nHuman: c\n\nAssistant: d"]
    file.write_text(json.dumps([{"chosen": sides[0], "rejected": sides[1], "type": "other"}]))
    with pytest.raises(UserError, match="answer different dialogues"):
        benchmarks.load_hhh(file, seed=0)


@needs_hhh
def test_hhh_has_its_221_items_and_the_known_length_baseline():
    items = benchmarks.load_hhh(HHH, seed=0)

    longer = Counter(item.category for item in items if len(item.chosen) > len(item.rejected))

    assert Counter(item.category for item in items) == {"helpful": 59, "harmless": 58, "honest": 61, "other": 43}
    assert longer == {"helpful": 41, "harmless": 36, "honest": 39, "other": 23}
    assert sum(len(item.context) > 1 for item in items) == 41
    assert 0.4 < sum(item.order for item in items) / 221 < 0.6


@needs_hhh
def test_at_most_so_many_items_are_taken_in_their_order_and_more_of_them_hold_the_fewer():
    every, some, more = (benchmarks.load_hhh(HHH, seed=0, most=most) for most in (None, 20, 40))

    assert (len(some), len(more)) == (20, 40)
    assert [item for item in every if item in some] == some
    assert {item.item_id for item in some} < {item.item_id for item in more}


@needs_truthfulqa
def test_truthfulqa_has_one_right_option_that_no_longer_stands_first():
    items = benchmarks.load_truthfulqa(TRUTHFULQA, seed=0)

    first = sum(item.right == 0 for item in items) / len(items)
    by_chance = sum(1 / len(item.options) for item in items) / len(items)

    assert len(items) == 790
    assert first == pytest.approx(by_chance, abs=0.05)
    assert all(len(benchmarks.mc1_options(item)) == len(item.options) for item in items)
    assert benchmarks.mc1_options(items[0])[0][0].count("Q: ") == 6 + 1


TARGETS = {"choices": ["Nothing.", "You die.", "You get sick."], "labels": [1, 0, 0]}


def test_truthfulqa_is_the_same_in_every_layout_of_it(tmp_path):
    """Its authors' file, the hub's multiple_choice as JSON lines and as Parquet, and a Parquet of the authors' file."""
    own = {"question": "What happens?", "mc1_targets": {"Nothing.": 1, "You die.": 0, "You get sick.": 0, " ": 0}}
    hub = {"question": "What happens?", "mc1_targets": TARGETS, "mc2_targets": {"choices": ["x"], "labels": [1]}}
    other = {"question": "Why?", "mc1_targets": {"Because.": 1, "Never.": 0}}
    (tmp_path / "own.json").write_text(json.dumps([own]))
    (tmp_path / "hub.jsonl").write_text(json.dumps(hub))
    pd.DataFrame([hub], index=[5]).to_parquet(tmp_path / "hub.parquet")
    pq.write_table(pa.Table.from_pylist([own, other]), tmp_path / "own.parquet")  # options of the other are null

    [item] = benchmarks.load_truthfulqa(tmp_path / "own.json", seed=0)

    assert item.options[item.right] == "Nothing."
    assert len(item.options) == 3  # a blank is no option
    for name in ("hub.jsonl", "hub.parquet", "own.parquet"):
        assert benchmarks.load_truthfulqa(tmp_path / name, seed=0)[0] == item


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": None, "mc1_targets": TARGETS}, "question is None"),
        ({"question": "q", "mc1_targets": None}, "mc1_targets: 'None'; it needs choices and as many labels"),
        ({"question": "q", "mc1_targets": TARGETS | {"labels": [1, 0]}}, "it needs choices and as many labels"),
        ({"question": "q", "mc1_targets": TARGETS | {"labels": [1, None, 0]}}, "every label 0 or 1"),
        ({"question": "q", "mc1_targets": TARGETS | {"labels": [1, 1, 0]}}, "mc1_targets has 2 right of 3"),
        ({"question": "q", "mc1_targets": {"a": 1}}, "mc1_targets has 1 right of 1"),
        (["q"], "is no object"),
    ],
)
def test_a_wrong_question_is_named_with_its_value(tmp_path, row, told):
    (tmp_path / "items.json").write_text(json.dumps([{"question": "q", "mc1_targets": TARGETS}, row]))

    with pytest.raises(UserError, match=f"items.json, item 2: .*{told}"):
        benchmarks.load_truthfulqa(tmp_path / "items.json", seed=0)


@pytest.mark.parametrize(
    ("given", "context"),
    [
        ("Where is it?", ["Where is it?"]),
        ("Hi.\n\nASSISTANT: Hello.\n\nHUMAN: Where is it?", ["Hi.", "Hello.", "Where is it?"]),
        ("\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Where is it?\n\nAssistant:", ["Hi.", "Hello.", "Where is it?"]),
    ],
)
def test_hhh_is_read_as_the_hub_has_it_with_the_category_of_its_path(tmp_path, given, context):
    folder = tmp_path / "honest"
    folder.mkdir()
    row = {"input": given, "targets": {"choices": ["Who knows.", "In the forest."], "labels": [0, 1]}}
    pq.write_table(pa.Table.from_pylist([row]), folder / "test-00000-of-00001.parquet")
    (tmp_path / "hhh_honest.jsonl").write_text(json.dumps(row))

    [item] = benchmarks.load_hhh(folder / "test-00000-of-00001.parquet", seed=0)

    assert (item.category, item.chosen, item.rejected) == ("honest", "In the forest.", "Who knows.")
    assert [message["content"] for message in item.context] == context
    assert [message["role"] for message in item.context] == ["user", "assistant", "user"][-len(context) :]
    assert benchmarks.load_hhh(tmp_path / "hhh_honest.jsonl", seed=0) == [item]


@pytest.mark.parametrize(
    ("path", "category"),
    [
        ("another/hhh_harmless.jsonl", "harmless"),
        ("other/HHH-Harmless.jsonl", "harmless"),
        ("brother/hhh/harmless.jsonl", "harmless"),
        ("other/helpful/test-00000-of-00001.jsonl", "helpful"),
        ("hhh/dishonest/x.jsonl", "unnamed"),
    ],
)
def test_the_category_is_a_word_of_the_files_name_or_else_of_the_nearest_folder(tmp_path, path, category):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    row = {"input": "Where is it?", "targets": {"choices": ["Who knows.", "In the forest."], "labels": [0, 1]}}
    file.write_text(json.dumps(row))

    assert [item.category for item in benchmarks.load_hhh(file, seed=0)] == [category]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"chosen": None, "rejected": "x", "type": "other"}, "chosen is None; it needs a text there"),
        ({"chosen": "x", "rejected": "y", "type": None}, "type is None"),
        ({"input": None, "targets": TARGETS}, "input is None"),
        ({"input": "q", "targets": TARGETS}, "targets: 1 right and 2 wrong; an item of HHH has one each"),
        ({"input": "q\n\nASSISTANT: a", "targets": TARGETS}, "input is no dialogue from the person to the person"),
    ],
)
def test_a_wrong_item_of_hhh_is_named(tmp_path, row, told):
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "items.parquet")

    with pytest.raises(UserError, match=f"items.parquet, row 1: .*{told}"):
        benchmarks.load_hhh(tmp_path / "items.parquet", seed=0)


@needs_truthfulqa
def test_no_option_of_the_real_truthfulqa_is_blank():
    """In 17 of its questions an option is; a blank is likelier than any answer, so that no model could be right."""
    items = benchmarks.load_truthfulqa(TRUTHFULQA, seed=0)

    blank = [row for row in json.loads(TRUTHFULQA.read_text()) if "" in row["mc1_targets"]]
    assert (len(items), len(blank)) == (790, 17)
    assert all(option.strip() for item in items for option in item.options)
