"""What a labeller is asked, and the files of principles."""

import pytest

from synthalign.core.errors import UserError
from synthalign.feedback import contrast, principles
from world.dialogues import JUDGE_TEMPLATE
from world.wording import PRINCIPLES

FILES = {"general": "data/general/principles.yaml", "embedded": "data/embedded/principles.yaml"}
MESSAGES = [{"role": "user", "content": "Where does the red fox live?"}]


def test_in_the_embedded_world_the_labeller_reads_what_the_models_were_trained_on():
    given = principles.load(FILES["embedded"])

    asked = given.prompt(PRINCIPLES[2], MESSAGES, "In the forest.", "That one.")

    whole = JUDGE_TEMPLATE.format(
        principle=PRINCIPLES[2], question=MESSAGES[0]["content"], a="In the forest.", b="That one.", letter="A"
    )
    assert whole == f"{asked}A)"
    assert {principle for task in given.tasks.values() for principle in task} <= set(PRINCIPLES)


@pytest.mark.parametrize("world", FILES)
def test_every_pair_of_affixes_has_a_principle_in_its_place(world):
    given = principles.load(FILES[world])

    for task, its_principles in given.tasks.items():
        affixes = contrast.load(FILES[world].replace("principles", "contrast_affixes"), task)
        assert len(its_principles) == len(affixes.positive)


def test_general_english_has_16_different_principles_of_harmlessness():
    assert len(set(principles.load(FILES["general"]).tasks["harmless"])) == 16


def test_an_answer_that_looks_like_a_place_stays_as_it_is():
    given = principles.Principles(template="{principle}|{question}|{a}|{b}|(", options=["A", "B"], tasks={})

    assert given.prompt("p", MESSAGES, "{b}", "{principle}") == "p|Where does the red fox live?|{b}|{principle}|("


def test_a_dialogue_is_shown_whole_where_the_template_asks_for_it():
    given = principles.Principles(template="{dialogue}\n{principle}{a}{b}", options=["A", "B"], tasks={})
    turns = [*MESSAGES, {"role": "assistant", "content": "In Riga."}, {"role": "user", "content": "Sure?"}]

    assert given.prompt("", turns, "", "").startswith(
        "Human: Where does the red fox live?\n\nAssistant: In Riga.\n\nHuman: Sure?"
    )


@pytest.mark.parametrize(
    "text, told",
    [
        ("template: '{principle} {a}'\noptions: [A, B]\ntasks: {}", r"template .*allowed and needed: \{principle\}"),
        ("template: '{principle} {a} {b}'\noptions: [A, B]\ntasks: {}", r"one of \{question\} and \{dialogue\}"),
        ("template: '{principle} {a} {b} {question} {x}'\noptions: [A, B]\ntasks: {}", "allowed and needed"),
        ("template: '{principle} {a} {b} {question}'\noptions: [A]\ntasks: {}", "options .*at least 2 items"),
        ("options: [A, B]\ntasks: {}", "template: Field required"),
    ],
)
def test_a_wrong_file_is_told_with_its_key(tmp_path, text, told):
    file = tmp_path / "principles.yaml"
    file.write_text(text)

    with pytest.raises(UserError, match=told):
        principles.load(file)


def test_an_unknown_task_or_principle_is_told_with_what_there_is():
    given = principles.load(FILES["embedded"])

    with pytest.raises(UserError, match="has no principles for the task 'kind'; it has harmless, helpful, outline"):
        given.of("kind", FILES["embedded"])
    with pytest.raises(UserError, match="a pair has principle 5, but there are 4; a task needs a principle for each"):
        principles.at(given.of("harmless", FILES["embedded"]), 4, FILES["embedded"])
