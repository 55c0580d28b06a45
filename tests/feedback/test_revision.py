"""Critique and revision: what the model reads, which answer is in force, and the files of principles."""

from pathlib import Path

import pytest
import yaml

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.feedback import revision
from synthalign.feedback.revision import Draft

HEADINGS = "headings: {critique_request: 'a', critique: 'b', revision_request: 'c', revision: 'd'}\n"
FILES = ["data/general/constitution.yaml", "data/embedded/constitution.yaml"]


def test_a_revision_is_asked_for_behind_the_critique():
    given = revision.load(FILES[0])

    asked = given.revision_prompt("Q?", "A.", "What is wrong?", " All of it. ", "Do better: {question}")

    assert asked == (
        "Human: Q?\n\nAssistant: A.\n\n"
        "Critique Request: What is wrong?\n\nCritique: All of it.\n\n"
        "Revision Request: Do better: Q?\n\nRevision:"
    )
    assert asked.startswith(given.critique_prompt("Q?", "A.", "What is wrong?"))
    assert {"\n\nHuman:", "\n\nCritique:", "\n\nRevision Request:"} <= set(given.stops)


def draft(*texts):
    made = Draft("q", "Q?", "", [])
    for step, (text, finish) in enumerate(texts):
        made.take(step, None if step == 0 else 2, None if step == 0 else "c", text, finish)
    return made


def test_an_unusable_revision_is_kept_and_not_gone_on_from():
    made = draft((" one", "eos"), (" two", "stop"), ("", "stop"), (" four is cut", "length"))

    assert made.answer == "two"
    assert [row["reject_reason"] for row in made.rows] == [None, None, "empty", "missing_stop"]
    assert revision.answers_by_step(made.rows, 3) == {"q": ["one", "two", "two", "two"]}


def test_all_usable_revisions_and_no_first_answer_are_demonstrations():
    rows = revision.demonstrations({"q": draft((" one", "eos"), (" two", "eos"), ("", "eos"), (" two", "eos"))}, "x")

    assert [row["messages"][1]["content"] for row in rows] == ["two", "two"]
    assert len({row["demonstration_id"] for row in rows}) == 2  # the same text at two steps
    assert {row["messages"][0]["content"] for row in rows} == {"Q?"}


def test_a_query_without_a_first_answer_is_in_no_curve():
    assert revision.answers_by_step(draft(("", "eos")).rows, 2) == {}


@pytest.mark.parametrize("file", FILES)
def test_examples_show_each_request_and_end_as_demonstrations_do(file):
    given = revision.load(file)

    shown = given.prefix(2, file)
    assert [one.critique in shown for one in given.examples] == [True, True, False]
    assert shown.endswith(f"{given.examples[1].revision}{chat.SEPARATOR}")
    assert given.prefix(0, file) == ""
    pairs = {(one.critique, one.revision) for one in given.principles}
    assert {(one.critique_request, one.revision_request) for one in given.examples} <= pairs
    with pytest.raises(UserError, match=f"shots = 99, but it has {len(given.examples)} examples"):
        given.prefix(99, file)


def test_general_english_has_16_principles_each_with_a_critique_and_a_revision_request():
    given = revision.load(FILES[0]).principles

    assert len({one.critique for one in given}) == len({one.revision for one in given}) == 16


@pytest.mark.parametrize("missing", ["revision", "answer", "critique_request"])
def test_an_example_with_a_missing_output_is_told_with_its_place(tmp_path, missing):
    content = yaml.safe_load(Path(FILES[0]).read_text(encoding="utf-8"))
    del content["examples"][1][missing]
    file = tmp_path / "constitution.yaml"
    file.write_text(yaml.safe_dump(content))

    with pytest.raises(UserError, match=rf"constitution.yaml: examples.1.{missing}: Field required"):
        revision.load(file)


def test_a_principle_without_a_revision_request_and_an_unknown_key_are_told(tmp_path):
    file = tmp_path / "constitution.yaml"
    file.write_text(f"{HEADINGS}principles: [{{critique: a}}]\nexamples: []\nshots: 3\n")

    with pytest.raises(UserError) as caught:
        revision.load(file)
    assert "principles.0.revision: Field required" in str(caught.value)
    assert "shots = 3: Extra inputs are not permitted" in str(caught.value)
