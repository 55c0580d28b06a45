from synthalign.feedback import simulation


def test_the_best_candidate_has_the_highest_reward_and_is_the_first_of_equals() -> None:
    assert simulation.best(["a", "b", "c"], [0.1, 0.7, 0.7]) == 1


def test_a_candidate_that_says_nothing_is_chosen_only_when_all_do() -> None:
    assert simulation.best(["", "b", " "], [0.9, -5.0, 0.8]) == 1
    assert simulation.best(["", " "], [0.1, 0.9]) == 0


def test_without_rewards_the_first_that_says_anything_is_taken() -> None:
    assert simulation.best(["a", "b"], None) == 0
    assert simulation.best(["", "b"], None) == 1


def test_a_user_is_asked_to_go_on_after_the_answer() -> None:
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]

    assert simulation.user_prompt(messages) == "Human: Why?\n\nAssistant: Because.\n\nHuman:"


def test_the_assistant_says_the_best_candidate_and_every_candidate_is_kept() -> None:
    play = simulation.Play({"q": "Why?"})

    play.answer(1, {"q": ["No.", "Because."]}, [0.25, 0.75])

    assert play.dialogues["q"][-1] == {"role": "assistant", "content": "Because."}
    assert [(row["text"], row["reward"], row["is_best"]) for row in play.candidates] == [
        ("No.", 0.25, False),
        ("Because.", 0.75, True),
    ]
    assert simulation.summary(play)["reward_of_best_of"] == {"1": (0.25 + 0.75) / 2, "2": 0.75}


def test_rewards_belong_to_the_options_in_their_order() -> None:
    play = simulation.Play({"q": "Why?", "r": "How?"})
    texts = {"q": ["a", "b"], "r": ["c", "d"]}

    assert [dialogue[-1]["content"] for dialogue in play.options(texts)] == ["a", "b", "c", "d"]
    play.answer(1, texts, [4.0, 3.0, 1.0, 2.0])

    assert [play.dialogues[query][-1]["content"] for query in ("q", "r")] == ["a", "d"]


def test_a_dialogue_ends_with_the_last_answer_and_without_one_is_no_demonstration() -> None:
    play = simulation.Play({"silent": "Why?", "short": "How?", "long": "Who?"})

    play.answer(1, {"silent": [""], "short": ["So."], "long": ["She."]}, None)
    assert play.open == ["short", "long"]
    play.ask({"short": "", "long": "And then?"})
    assert play.open == ["long"]
    play.answer(3, {"long": [""]}, None)

    said = {row["query_id"]: [message["content"] for message in row["messages"]] for row in play.demonstrations("x")}
    assert said == {"short": ["How?", "So."], "long": ["Who?", "She."]}
    assert {row["reward"] for row in play.demonstrations("x")} == {None}
    assert "reward_of_best_of" not in simulation.summary(play)
