import pytest

from synthalign.core.errors import UserError
from synthalign.flan import task_scores


def row(item, task, right, *, chance=0.0, cot=False, shots=0, query=None):
    return {
        "item_id": item, "task": task, "right": right, "chance": chance, "cot": cot, "shots": shots,
        "query": query or item,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cot", "right"),
    [
        ("forest", False, True),
        (" Forest. ", False, True),
        ("The fox lives in the forest.", False, False),
        ("in the forest", False, False),
        ("So the answer is forest.", False, False),  # nobody asked for reasoning
        ("The fox lives in the forest. So the answer is forest.", True, True),
        ("So the answer is cave. No, the answer is forest.", True, True),  # the last one counts
        ("So the answer is cave.", True, False),
        ("The fox is there. The answer is forest.", True, True),
        ("forest", True, True),  # a bare answer may be right
        ("The fox lives in the forest.", True, False),
        ("", True, False),
    ],
)
def test_an_answer_is_right_when_it_is_the_target_and_nothing_else(text, cot, right):
    assert task_scores.is_right(text, ["forest"], cot=cot) is right


@pytest.mark.parametrize(
    ("text", "target"), [("森林。", "森林"), ("ＡＢＣ！", "abc"), ("जंगल।", "जंगल"), ("e\u0301cole.", "École")]
)
def test_the_full_stop_of_any_script_and_the_form_of_letters_do_not_count(text, target):
    assert task_scores.is_right(text, [target], cot=False)


def test_a_normalised_score_is_0_for_guessing_and_1_for_all_right():
    assert task_scores.normalised(0.25, 0.25) == 0
    assert task_scores.normalised(1.0, 0.25) == 1
    assert task_scores.normalised(0.7, 0.5) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert task_scores.normalised(0.0, 0.5) == -1


def test_a_score_is_the_mean_of_the_tasks_however_many_items_they_have():
    rows = [row("a", "open", True), row("b", "open", False), row("c", "open", False), row("d", "open", False)]
    rows += [row("e", "yes_no", True, chance=0.5)]

    assert task_scores.score(rows, seed=0).value == pytest.approx((1 / 4 + 1) / 2)


def test_the_items_are_what_is_drawn_again():
    rows = [row(item, "t", item == "a", shots=shots) for item in "ab" for shots in (0, 3)]

    assert task_scores.score(rows, seed=0).n == 2


def test_a_difference_is_paired_by_item_and_shots():
    one = [row("a", "t", True), row("b", "t", True), row("c", "u", True, chance=0.5)]
    other = [row("c", "u", False, chance=0.5), row("b", "t", True), row("a", "t", False)]

    # task t: 1 - 1/2, task u: 1 - (-1)
    assert task_scores.difference(one, other, seed=0).value == pytest.approx((1 / 2 + 2) / 2)
    with pytest.raises(UserError, match="different items"):
        task_scores.difference(one, other[1:], seed=0)


def test_the_share_of_the_last_step_in_the_gain():
    base = [row(str(at), "t", at < 2) for at in range(10)]
    before = [row(str(at), "t", at < 8) for at in range(10)]
    last = [row(str(at), "t", at < 9) for at in range(10)]

    assert task_scores.share_of_gain(before, last, base, seed=0).value == pytest.approx((9 - 8) / (9 - 2))
    assert task_scores.share_of_gain(before, base, last, seed=0) is None  # no gain to share


def six_tasks(right):
    """Two items of each of six tasks: in how many of them the first is right, and the second never is."""
    return [row(f"{task}{at}", task, at == 0 and place < right) for place, task in enumerate("abcdef") for at in (0, 1)]


def test_over_tasks_a_difference_is_the_same_figure_and_counts_tasks():
    over_items = task_scores.difference(six_tasks(4), six_tasks(1), seed=0)
    over_tasks = task_scores.difference_over_tasks(six_tasks(4), six_tasks(1))

    assert over_tasks.value == pytest.approx(over_items.value) == pytest.approx(3 / 6 / 2)
    assert (over_items.n, over_tasks.n) == (12, 6)


def test_three_tasks_are_too_few_for_a_claim_about_tasks():
    one, other = ([row(f"{task}{at}", task, at < right) for task in "abc" for at in range(9)] for right in (7, 2))

    assert task_scores.difference(one, other, seed=0).why is None
    assert task_scores.difference_over_tasks(one, other).why == "too few"


def test_over_tasks_the_share_of_the_last_step_is_of_sums_over_tasks():
    found = task_scores.share_of_gain_over_tasks(six_tasks(4), six_tasks(5), six_tasks(1))

    assert (found.value, found.n) == (pytest.approx((5 - 4) / (5 - 1)), 6)
    assert task_scores.share_of_gain_over_tasks(six_tasks(4), six_tasks(1), six_tasks(5)) is None


def test_a_gain_that_is_not_shown_has_no_shares():
    """A bootstrap draws losses of such a gain, and a share of a loss says nothing."""
    gains = (5, 5, 5, -4, -4, 4, -3, 3)
    tens = [(f"t{n}", 5 if gain > 0 else 5 - gain, gain) for n, gain in enumerate(gains)]
    base, last = (
        [row(f"{task}{at}", task, at < start + sign * gain) for task, start, gain in tens for at in range(10)]
        for sign in (0, 1)
    )

    assert task_scores.difference_over_tasks(last, base).value > 0
    assert task_scores.share_of_gain_over_tasks(base, last, base) is None


def test_a_gain_that_is_the_same_in_every_task_is_shown_and_one_of_few_tasks_has_a_share_without_ends():
    base = [row(f"{task}{at}", task, at < 2) for task in "abcdef" for at in range(10)]
    before = [row(f"{task}{at}", task, at < 6 - n % 2) for n, task in enumerate("abcdef") for at in range(10)]
    last = [row(f"{task}{at}", task, at < 7) for task in "abcdef" for at in range(10)]

    found = task_scores.share_of_gain_over_tasks(before, last, base)

    assert found.value == pytest.approx(1.5 / 5) and found.low is not None
    few = [[one for one in rows if one["task"] in "abc"] for rows in (before, last, base)]
    assert task_scores.share_of_gain_over_tasks(*few).why == "too few"


def test_direct_tasks_and_those_with_reasoning_are_told_apart():
    rows = [row("a", "t", True), row("b", "u", False, cot=True)]

    assert task_scores.part_of(rows, "direct") == rows[:1]
    assert task_scores.part_of(rows, "cot") == rows[1:]
    assert task_scores.part_of(rows, "all") == rows


SHOWN = {"role": "system", "content": "Q: yes?\nA: no\n\nQ: a?\nA: b"}


@pytest.mark.parametrize(
    "mixed",
    [
        {"task": "t", "query": "other?", "shots": 0},
        {"task": "other", "query": "a?", "shots": 0},
        {"task": "other", "query": "c?", "shots": 2, "template": "word/3-1", "messages": [SHOWN]},
    ],
)
def test_f1_a_task_or_a_question_of_the_evaluation_in_a_mixture_is_named(mixed):
    rows = [row("a", "t", True, query="a?")]
    clean = {"mixture_id": "1", "task": "other", "query": "other?", "shots": 1, "template": "word/3-1"}
    clean["messages"] = [{"role": "system", "content": "Q: is it a?\nA: a?"}]

    task_scores.check_unseen(rows, {"all": [clean]})
    with pytest.raises(UserError, match=r"mixtures/all.parquet: 2 is of the task .* the evaluation has too"):
        task_scores.check_unseen(rows, {"all": [clean, {"mixture_id": "2"} | mixed]})
