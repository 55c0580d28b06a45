"""The general-English inputs for real models keep the properties the stages count on."""

import json
from itertools import combinations, product
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from synthalign.dialogue import chat

GENERAL = Path(__file__).parents[1] / "data" / "general"
DIALOGUES = {"hhh": 14, "faithful": 3, "user": 3}
ROUGE = RougeScorer(["rougeL"])


def demonstrations(name: str) -> tuple[str, list[list[dict[str, str]]]]:
    """The system paragraph and the dialogues of a file; reading fails on a byte that is not UTF-8."""
    text = (GENERAL / "demonstrations" / f"{name}.jsonl").read_text(encoding="utf-8")
    first, *rest = [json.loads(line) for line in text.splitlines()]
    return first["system"], [row["messages"] for row in rest]


def questions(name: str) -> list[str]:
    return (GENERAL / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def rouge_l(a: str, b: str) -> float:
    return ROUGE.score(a, b)["rougeL"].fmeasure


def words(messages: list[dict[str, str]]) -> int:
    return sum(len(message["content"].split()) for message in messages)


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_demonstrations_file_is_a_system_paragraph_and_the_papers_number_of_dialogues(name):
    system, dialogues = demonstrations(name)

    assert len(system.split()) > 50
    assert "\n" not in system
    assert len(dialogues) == DIALOGUES[name]


@pytest.mark.parametrize("name", DIALOGUES)
def test_roles_alternate_from_a_person_to_the_assistant(name):
    for messages in demonstrations(name)[1]:
        exchanges = len(messages) // 2
        assert [message["role"] for message in messages] == ["user", "assistant"] * exchanges


@pytest.mark.parametrize("name", DIALOGUES)
def test_no_message_is_empty_or_holds_a_turn_marker(name):
    for messages in demonstrations(name)[1]:
        for message in messages:
            assert set(message) == {"role", "content"}
            assert message["content"] and message["content"] == message["content"].strip()
            # A marker inside a message would end it early when the few-shot text is cut into turns.
            assert chat.clean(message["content"]) == message["content"]
            assert not any(mark in message["content"] for mark in ("Human:", "Assistant:", "-----"))


@pytest.mark.parametrize("name", DIALOGUES)
def test_demonstrated_answers_would_pass_the_papers_keyword_filter(name):
    # A vanilla model imitates what it is shown; showing it what the filter rejects wastes samples.
    for messages in demonstrations(name)[1]:
        for answer in (message["content"] for message in messages[1::2]):
            assert len(answer) >= 50
            assert answer[-1] in ".!"
            assert not answer.lower().startswith("well")
            assert "don't know" not in answer.lower() and "do not know" not in answer.lower()


def test_hhh_dialogues_have_one_to_three_exchanges_and_answers_in_plain_prose():
    dialogues = demonstrations("hhh")[1]

    assert {len(messages) // 2 for messages in dialogues} == {1, 2, 3}
    assert all(words(messages) < 200 for messages in dialogues)
    assert not any("\n- " in m["content"] or "\n1. " in m["content"] for d in dialogues for m in d)


def test_hhh_shows_unsureness_and_refusal_within_the_first_five_dialogues():
    # The configurations use the first 1, 3 and 5 dialogues.
    answers = [messages[1]["content"] for messages in demonstrations("hhh")[1][:5]]

    assert any("I will not help" in answer for answer in answers)
    assert any("I am not sure" in answer for answer in answers)


def test_faithful_dialogues_are_long_and_formatted_under_the_hhh_system_paragraph():
    system, dialogues = demonstrations("faithful")

    assert system == demonstrations("hhh")[0]
    for messages in dialogues:
        assert len(messages) // 2 in (2, 3)
        assert 300 <= words(messages) <= 400
        assert any("\n1. " in message["content"] for message in messages)
        assert any("\n- " in message["content"] for message in messages)


def test_the_person_in_user_demonstrations_comes_back_at_least_three_times():
    system, dialogues = demonstrations("user")

    assert system != demonstrations("hhh")[0]
    for messages in dialogues:
        asked = [message["content"] for message in messages if message["role"] == "user"]
        assert len(asked) >= 3
        assert len(set(asked)) == len(asked)


def test_there_are_72_seed_queries_of_30_to_126_characters_and_most_are_questions():
    seeds = questions("seed_queries")

    assert len(seeds) == 72
    assert [seed for seed in seeds if not 30 <= len(seed) <= 126] == []
    assert sum(seed.endswith("?") for seed in seeds) > 72 * 3 / 4
    assert all(seed == seed.strip() for seed in seeds)


def test_there_are_120_eval_questions_of_30_to_126_characters():
    evals = questions("eval_questions")

    assert len(evals) == 120
    assert [question for question in evals if not 30 <= len(question) <= 126] == []
    assert all(question == question.strip() for question in evals)


@pytest.mark.parametrize("name", ["seed_queries", "eval_questions"])
def test_no_two_questions_of_a_list_are_alike(name):
    pairs = combinations(questions(name), 2)

    assert [(a, b) for a, b in pairs if rouge_l(a, b) >= 0.5] == []


def test_no_eval_question_is_like_anything_that_training_sees():
    shown = questions("seed_queries") + [
        message["content"]
        for name in DIALOGUES
        for messages in demonstrations(name)[1]
        for message in messages
        if message["role"] == "user"
    ]

    pairs = product(questions("eval_questions"), shown)

    assert [(a, b) for a, b in pairs if rouge_l(a, b) >= 0.5] == []


def test_the_example_lines_of_the_documentation_are_lines_of_the_files():
    page = (GENERAL.parents[1] / "docs" / "data.md").read_text(encoding="utf-8").splitlines()
    shown = {line.removeprefix("    ") for line in page if line.startswith("    ")}

    for file in [*GENERAL.glob("*.txt"), *GENERAL.glob("demonstrations/*.jsonl")]:
        assert shown & set(file.read_text(encoding="utf-8").splitlines()), f"no line of {file.name} is shown"
