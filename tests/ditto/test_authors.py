"""Authors: the file of a user's demonstrations, the synthetic authors, and their style oracle worked by hand."""

import json
from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.ditto import authors
from world import entities, params
from world.authors import AUTHORS, TUNING_AUTHORS, Author, features, style_score, write, write_all
from world.entities import World
from world.oracle import Oracle

SHIPPED = Path("data/embedded")
EVERYONE = AUTHORS | TUNING_AUTHORS

ANNA = Author("Hello there.", "dear", "Goodbye.", 4, ".")
BODY = "The red fox eats nuts, dear. It is red, dear."


def demonstrations(file: Path, rows: list[object]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def row(number: int) -> dict[str, str]:
    return {"prompt": f"Prompt {number}", "output": f"Output {number}"}


# --- the style oracle


@pytest.mark.parametrize(
    ("text", "opening", "closing", "aside", "sentences", "mark"),
    [
        (f"Hello there. {BODY} Goodbye.", 1, 1, 1, 1, 1),
        (f"  Hello there. {BODY} Goodbye.\n", 1, 1, 1, 1, 1),  # blanks around are no style
        ("Hello there. The red fox eats nuts. It is red, dear. Goodbye.", 1, 1, 1 / 2, 1, 1),
        (f"Hello there. {BODY}", 1, 0, 1 / 1, 1 - 1 / 4, 1),  # the last of three sentences is not "between"
        (f"{BODY} Goodbye.", 0, 1, 1 / 1, 1 - 1 / 4, 1),
        ("Hello there. Goodbye.", 1, 1, 0, 1 - 2 / 4, 1),
        ("The red fox eats nuts.", 0, 0, 0, 1 - 3 / 4, 1),
        ("The red fox eats nuts", 0, 0, 0, 1 - 3 / 4, 0),
        (f"Hello there! {BODY} Goodbye.", 0, 1, 1, 1, 3 / 4),
        (f"Hello there. {BODY} {BODY} {BODY} {BODY} Goodbye.", 1, 1, 1, 0, 1),  # ten sentences: 1 - 6 / 4 is below 0
        ("", 0, 0, 0, 0, 0),
    ],
)
def test_each_feature_of_a_style_is_counted(text, opening, closing, aside, sentences, mark):
    found = features(ANNA, text)

    assert list(found.values()) == pytest.approx([opening, closing, aside, sentences, mark])
    assert style_score(ANNA, text) == pytest.approx((opening + closing + aside + sentences + mark) / 5)


@pytest.mark.parametrize("name", EVERYONE)
def test_an_author_scores_1_on_their_own_texts_and_little_on_anothers(name):
    own = authors.load(SHIPPED / "authors" / f"{name}.jsonl")
    others = [one for other in EVERYONE if other != name for one in authors.load(SHIPPED / f"authors/{other}.jsonl")]

    assert {style_score(EVERYONE[name], one.output) for one in own} == {1.0}
    assert max(style_score(EVERYONE[name], one.output) for one in others) <= 2 / 5  # length and mark may be alike


def test_an_author_writes_as_many_statements_as_fit_into_their_number_of_sentences():
    assert write(ANNA, ["One", "Two", "Three"]) == "Hello there. One, dear. Two, dear. Goodbye."


# --- the files of the synthetic authors


def test_the_shipped_files_are_those_that_the_code_writes(tmp_path):
    write_all(World.load(SHIPPED / "world.json"), tmp_path)

    made = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()}
    shipped = SHIPPED / "authors"
    assert made == {file.relative_to(shipped): file.read_bytes() for file in shipped.rglob("*.*") if file.is_file()}
    assert len(made) == 2 * len(EVERYONE)


@pytest.mark.parametrize("seed", range(1, 9))
def test_every_world_has_enough_topics_for_its_authors(tmp_path, seed):
    write_all(entities.draw(seed, params.load()), tmp_path)

    asked = [prompt for name in EVERYONE for prompt in authors.prompts(tmp_path / f"heldout/{name}.txt")]
    assert len(set(asked)) == 40 * len(EVERYONE)


def test_what_is_held_out_is_asked_of_one_author_and_in_no_demonstration():
    oracle = Oracle.load(SHIPPED)
    held_out = [authors.prompts(SHIPPED / "authors/heldout" / f"{name}.txt") for name in EVERYONE]
    shown = [one.prompt for name in EVERYONE for one in authors.load(SHIPPED / "authors" / f"{name}.jsonl")]

    topics = [oracle.topic(prompt) for prompts in held_out for prompt in prompts]
    assert [len(prompts) for prompts in held_out] == [40] * len(EVERYONE)
    assert len(set(topics)) == len(topics)
    assert all(oracle.is_held_out(prompt) for prompts in held_out for prompt in prompts)
    assert not any(oracle.is_held_out(prompt) for prompt in shown)
    assert len({oracle.topic(prompt) for prompt in shown}) == 7 * len(EVERYONE)


# --- what a user brings


def test_demonstrations_are_read_in_order_and_two_may_share_a_prompt(tmp_path):
    rows = [row(1), {"prompt": "Prompt 1", "output": "Another"}]

    found = authors.load(demonstrations(tmp_path / "a.jsonl", rows))

    assert [(one.prompt, one.output) for one in found] == [("Prompt 1", "Output 1"), ("Prompt 1", "Another")]
    assert len({one.demonstration_id for one in found}) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"a\.jsonl: no demonstrations"),
        ([row(1), {"prompt": "Prompt 2"}], r"a\.jsonl, line 2: output is missing; it has prompt"),
        ([row(1), {"output": "Output 2"}], r"a\.jsonl, line 2: prompt is missing"),
        ([row(1) | {"output": "  "}], r"a\.jsonl, line 1: output is '  '"),
        ([row(1) | {"output": 7}], r"a\.jsonl, line 1: output is 7"),
        ([row(1) | {"author": "x"}], r"a\.jsonl, line 1: unknown keys author"),
        ([row(1), ["Prompt", "Output"]], r"a\.jsonl, line 2: .* write \{\"prompt\""),
        ([row(1), row(2), row(1)], r"a\.jsonl, line 3: the same demonstration again"),
        ([row(number) for number in range(10)], r"a\.jsonl: 10 demonstrations; DITTO is for at most 9"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        authors.load(demonstrations(tmp_path / "a.jsonl", rows))


def test_a_file_that_is_not_utf8_is_refused_with_its_line_and_byte(tmp_path):
    file = demonstrations(tmp_path / "a.jsonl", [row(1)])
    file.write_bytes(file.read_bytes() + '{"prompt": "Café", "output": "x"}\n'.encode("latin-1"))

    with pytest.raises(UserError, match=r"a\.jsonl, line 2, byte 16: 0xe9 is not UTF-8"):
        authors.load(file)


def test_a_line_that_is_not_json_and_a_file_that_is_not_there_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text("prompt, output\n")

    with pytest.raises(UserError, match=r"a\.jsonl, line 1: not JSON"):
        authors.load(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=r"b\.jsonl: cannot be read"):
        authors.load(tmp_path / "b.jsonl")


def test_prompts_to_measure_on_are_no_demonstrations(tmp_path):
    (tmp_path / "a.txt").write_text("Prompt 0\n\nPrompt 1\nPrompt 0\n")
    found = authors.prompts(tmp_path / "a.txt")
    [one] = authors.load(demonstrations(tmp_path / "a.jsonl", [row(1)]))

    assert found == ["Prompt 0", "Prompt 1"]
    with pytest.raises(UserError, match=r"a\.txt: 'Prompt 1' is the prompt of a demonstration too"):
        authors.check_held_out(found, [one], tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a\.txt: 'prompt 1\.' is the prompt of a demonstration too"):
        authors.check_held_out(["prompt 1."], [one], tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(UserError, match=r"a\.txt: no prompts"):
        authors.prompts(tmp_path / "a.txt")


def test_the_example_for_real_models_is_a_right_file():
    own = authors.load("data/general/authors/editor.jsonl")

    authors.check_held_out(authors.prompts("data/general/authors/heldout/editor.txt"), own, "editor.txt")
    assert len(own) == 7


def test_a_byte_order_mark_hides_no_prompt_from_the_guard(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfPrompt 1\n")
    file = demonstrations(tmp_path / "a.jsonl", [row(1)])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    with pytest.raises(UserError, match=r"a\.txt: 'Prompt 1' is the prompt of a demonstration too"):
        authors.check_held_out(authors.prompts(tmp_path / "a.txt"), authors.load(file), tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes("Prompt é".encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.txt, line 1, byte 8: 0xe9 is not UTF-8"):
        authors.prompts(tmp_path / "a.txt")


def test_a_text_of_an_author_that_marks_turns_is_refused(tmp_path):
    marked = {"prompt": "Prompt", "output": "Output\n\nHuman: Thanks."}
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: output brings 'Human:', which marks turns"):
        authors.load(demonstrations(tmp_path / "a.jsonl", [marked]))
    (tmp_path / "a.txt").write_text("Human: Prompt\n")
    with pytest.raises(UserError, match=r"a\.txt: 'Human: Prompt' brings our own 'Human:'"):
        authors.prompts(tmp_path / "a.txt")
