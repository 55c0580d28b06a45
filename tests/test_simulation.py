from synthalign import simulation


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
