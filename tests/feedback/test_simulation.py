from synthalign.feedback import simulation
from synthalign.feedback.simulation import Said


def ended(*texts: str) -> list[Said]:
    return [Said(text, "eos") for text in texts]


def cut(*texts: str) -> list[Said]:
    return [Said(text, "length") for text in texts]


def test_the_best_candidate_has_the_highest_reward_and_is_the_first_of_equals() -> None:
    assert simulation.best(ended("a", "b", "c"), [0.1, 0.7, 0.7]) == 1


def test_a_candidate_that_says_nothing_is_chosen_only_when_all_do() -> None:
    assert simulation.best(ended("", "b", " "), [0.9, -5.0, 0.8]) == 1
    assert simulation.best(ended("", " "), [0.1, 0.9]) == 0


def test_without_rewards_the_first_that_says_anything_is_taken() -> None:
    assert simulation.best(ended("a", "b"), None) == 0
    assert simulation.best(ended("", "b"), None) == 1


def test_a_candidate_that_was_cut_off_is_chosen_only_when_none_ended_and_then_the_best_of_them() -> None:
    said = [*cut("This is bet", "This is be"), *ended("This is good.")]

    assert simulation.best(said, [0.9, 0.8, 0.1]) == 2
    assert simulation.best(said, None) == 2
    assert simulation.best([*said[:2], *ended("")], [0.8, 0.9, 0.1]) == 1
    assert simulation.best([*cut("So"), Said("So.", "stop")], [0.9, 0.1]) == 1  # it ran into another turn: it ended


def test_a_dialogue_ends_with_an_answer_that_was_cut_off_and_before_a_question_that_was() -> None:
    play = simulation.Play({"half": "Why?", "asked": "How?", "whole": "Who?"})

    play.answer(1, {"half": cut("Because it"), "asked": ended("So."), "whole": ended("She.")}, None)
    assert play.open == ["asked", "whole"]
    play.ask({"asked": Said("And wh", "length"), "whole": Said("And then?", "stop")})
    assert play.open == ["whole"]
    play.answer(3, {"whole": [Said("He.", "stop")]}, None)

    rows = {row["query_id"]: row for row in play.demonstrations("x")}
    assert {query: (row["messages"][-1]["content"], row["finish_reason"]) for query, row in rows.items()} == {
        "half": ("Because it", "length"),
        "asked": ("So.", "eos"),
        "whole": ("He.", "stop"),
    }
    assert [row["finish_reason"] for row in play.candidates] == ["length", "eos", "eos", "stop"]
    summary = simulation.summary(play)
    assert summary["ended_early"] == {"assistant:cut_off": 1, "user:cut_off": 1}
    assert summary["candidates_cut_off"] == 1


def test_a_user_is_asked_to_go_on_after_the_answer() -> None:
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]

    assert simulation.user_prompt(messages) == "Human: Why?\n\nAssistant: Because.\n\nHuman:"


def test_the_assistant_says_the_best_candidate_and_every_candidate_is_kept() -> None:
    play = simulation.Play({"q": "Why?"})

    play.answer(1, {"q": ended("No.", "Because.")}, [0.25, 0.75])

    assert play.dialogues["q"][-1] == {"role": "assistant", "content": "Because."}
    assert [(row["text"], row["reward"], row["is_best"]) for row in play.candidates] == [
        ("No.", 0.25, False),
        ("Because.", 0.75, True),
    ]
    assert simulation.summary(play)["reward_of_best_of"] == {"1": (0.25 + 0.75) / 2, "2": 0.75}


def test_rewards_belong_to_the_options_in_their_order() -> None:
    play = simulation.Play({"q": "Why?", "r": "How?"})
    said = {"q": ended("a", "b"), "r": ended("c", "d")}

    assert [dialogue[-1]["content"] for dialogue in play.options(said)] == ["a", "b", "c", "d"]
    play.answer(1, said, [4.0, 3.0, 1.0, 2.0])

    assert [play.dialogues[query][-1]["content"] for query in ("q", "r")] == ["a", "d"]


def test_a_dialogue_ends_with_the_last_answer_and_without_one_is_no_demonstration() -> None:
    play = simulation.Play({"silent": "Why?", "short": "How?", "long": "Who?"})

    play.answer(1, {"silent": ended(""), "short": ended("So."), "long": ended("She.")}, None)
    assert play.open == ["short", "long"]
    play.ask({"short": Said("", "eos"), "long": Said("And then?", "stop")})
    assert play.open == ["long"]
    play.answer(3, {"long": ended("")}, None)

    said = {row["query_id"]: [message["content"] for message in row["messages"]] for row in play.demonstrations("x")}
    assert said == {"short": ["How?", "So."], "long": ["Who?", "She."]}
    assert {row["reward"] for row in play.demonstrations("x")} == {None}
    assert "reward_of_best_of" not in simulation.summary(play)
