"""F1, F2 and F4: what is in a mixture, how much of each, and what stands in front of a question."""

from collections import Counter
from math import sqrt
from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.flan import mixture, templates
from synthalign.flan.instructions import Example
from synthalign.flan.mixture import Draw, Part
from world import tasks
from world.entities import World

HOW = Draw(
    examples=2000, cap=100, few_shot=0.5, shots=(1, 2, 3), inversions=0.0, max_characters=2000, seed=0
)  # fmt: skip


def task(name: str, count: int, *, reasons: bool = False, kind: str = "word") -> list[Example]:
    examples = []
    for at in range(count):
        asks = (f"{name} {at}?", f"what is {name} {at}?")
        examples.append(Example(name, "test", asks, f"answer{at}", f"As {at} is." if reasons else None, (), kind))
    return examples


POOL = {"big": task("big", 400), "small": task("small", 50), "why": task("why", 150, reasons=True)}
PARTS = [Part(("big", "small"), 3.0, cot=False), Part(("why",), 1.0, cot=True)]


def changed(**changes):
    return Draw(**{**HOW.__dict__, **changes})


def text(row):
    return "\n".join(message["content"] for message in row["messages"])


def test_rates_are_the_sizes_up_to_the_cap_within_a_part_and_the_weights_between_parts():
    found = mixture.rates(PARTS, {"big": 400, "small": 50, "why": 150}, cap=100)

    assert found == {
        (0, "big"): pytest.approx(3 / 4 * 100 / 150),
        (0, "small"): pytest.approx(3 / 4 * 50 / 150),
        (1, "why"): pytest.approx(1 / 4),
    }


def test_a_part_without_weight_is_not_in_the_mixture():
    parts = [PARTS[0], Part(("why",), 0.0, cot=True)]

    assert set(mixture.rates(parts, {"big": 1, "small": 1, "why": 1}, cap=9)) == {(0, "big"), (0, "small")}


def test_f2_the_rows_have_the_shares_that_were_asked_for_within_binomial_error():
    rows = mixture.draw(POOL, PARTS, HOW)

    n, shares = len(rows), {"big": 3 / 4 * 2 / 3, "small": 3 / 4 * 1 / 3, "why": 1 / 4}
    counts = Counter(row["task"] for row in rows)
    assert n == 2000
    for name, share in shares.items():
        assert abs(counts[name] - n * share) < 4 * sqrt(n * share * (1 - share)), name
    few = sum(row["shots"] > 0 for row in rows)
    assert abs(few - n / 2) < 4 * sqrt(n / 4)
    by_shots = Counter(row["shots"] for row in rows if row["shots"])
    assert set(by_shots) == {1, 2, 3}
    assert all(abs(found - few / 3) < 4 * sqrt(few * 2 / 9) for found in by_shots.values())


def test_f2_no_task_has_more_examples_than_the_cap():
    rows = mixture.draw(POOL, PARTS, HOW)

    for name, most in {"big": 100, "small": 50, "why": 100}.items():
        assert len({row["example_id"] for row in rows if row["task"] == name}) == most


def test_f2_every_row_says_its_task_template_shots_and_whether_it_reasons():
    rows = mixture.draw(POOL, PARTS, changed(inversions=0.2))

    assert {row["cot"] for row in rows if row["task"] == "why" and not row["inverted"]} == {True}
    assert {row["cot"] for row in rows if row["task"] != "why"} == {False}
    for row in rows:
        kind, _, rest = row["template"].partition("/")
        place, _, look = rest.partition("-")
        assert kind in ("word", "cot", "inverted_direct", "inverted_cot")
        assert bool(look) == bool(row["shots"])
        assert row["inverted"] == kind.startswith("inverted")
        assert [message["role"] for message in row["messages"]] == ["system"] * bool(row["shots"]) + [
            "user",
            "assistant",
        ]
        if kind == "word":
            before, behind = templates.DIRECT["word"][int(place)].split("{question}")
            assert row["query"].startswith(before) and row["query"].endswith(behind)
    assert len({row["template"].partition("-")[0] for row in rows if row["template"].startswith("word")}) == 10
    assert len({row["mixture_id"] for row in rows}) == len(rows)


def test_reasoning_ends_in_the_answer_and_direct_targets_are_the_answer():
    rows = mixture.draw(POOL, PARTS, HOW)
    answers = {one.example_id: one.target for pool in POOL.values() for one in pool}

    for row in rows:
        target, answer = row["messages"][-1]["content"], answers[row["example_id"]]
        assert target.endswith(f" So the answer is {answer}.") if row["cot"] else target == answer


def test_a_turned_round_row_gives_the_answer_and_wants_the_question():
    rows = mixture.draw(POOL, [PARTS[0]], changed(inversions=1.0, few_shot=0.0))
    found = {one.example_id: one for pool in POOL.values() for one in pool}

    for row in rows:
        example = found[row["example_id"]]
        assert row["inverted"] and example.target in row["query"]
        assert row["messages"][-1]["content"] in example.asks


def test_f4_what_is_shown_solved_never_includes_what_is_asked():
    tight = {"few": task("few", 4)}

    rows = mixture.draw(tight, [Part(("few",), 1.0, cot=False)], changed(few_shot=1.0, shots=(3,), examples=200))

    for row in rows:
        number = row["messages"][-1]["content"].removeprefix("answer")
        system = row["messages"][0]["content"]
        assert row["shots"] == 3
        assert f"few {number}?" not in system
        assert all(f"few {other}?" in system for other in range(4) if str(other) != number)


def test_f4_turned_round_what_asks_the_same_is_not_shown_with_another_solution():
    asked = [Example("birds", "test", (f"Is {name} a bird?",), "yes" if name < "d" else "no") for name in "abcdef"]
    how = changed(few_shot=1.0, shots=(1, 2), inversions=1.0, examples=200)

    rows = mixture.draw({"birds": asked}, [Part(("birds",), 1.0, cot=False)], how)

    assert {row["shots"] for row in rows} == {0, 1, 2}
    assert not any(row["query"] in row["messages"][0]["content"] for row in rows if row["shots"])


def test_f4_a_sentence_is_not_asked_behind_a_solved_example_that_says_it():
    said = [Example("sights", "test", (f"See {at}?",), f"Bridge {at // 2}.", kind="sentence") for at in range(6)]

    rows = mixture.draw({"sights": said}, [Part(("sights",), 1.0, cot=False)], changed(few_shot=1.0, shots=(4,)))

    assert {row["shots"] for row in rows} == {4}
    assert not any(row["messages"][-1]["content"] in row["messages"][0]["content"] for row in rows)


def test_examples_that_ask_the_same_are_not_shown_in_front_of_each_other_and_so_do_not_count():
    asked = [Example("few", "test", (question,), f"answer{at}") for at, question in enumerate("aaab")]

    mixture.check_shots({"few": asked}, ["few"], 1)
    with pytest.raises(UserError, match="'few' has 4 examples; 2 in front of another .* where 3 ask or say the same"):
        mixture.draw({"few": asked}, [Part(("few",), 1.0, cot=False)], changed(few_shot=1.0, shots=(2,)))


def test_f4_solved_examples_are_left_away_until_the_text_fits():
    full = mixture.draw(POOL, PARTS, changed(few_shot=1.0, shots=(3,)))
    most = 110

    rows = mixture.draw(POOL, PARTS, changed(few_shot=1.0, shots=(3,), max_characters=most))

    assert max(len(text(row)) for row in full) > most
    assert {row["shots"] for row in rows} >= {0, 1, 2} - {0}
    for row in rows:
        asked = [message["content"] for message in row["messages"][:-1]]
        assert sum(map(len, asked)) <= most
        assert (row["shots"] > 0) == (len(asked) == 2)


def test_a_row_depends_on_its_example_and_the_seed_alone():
    rows = mixture.draw(POOL, PARTS, HOW)
    turned = {name: pool[::-1] for name, pool in POOL.items() if name != "small"}

    others = mixture.draw({**turned, "small": POOL["small"]}, PARTS, HOW)
    zero_shot = {row["mixture_id"]: row for row in rows if not row["shots"]}

    assert mixture.draw(POOL, PARTS, HOW) == rows
    assert {row["mixture_id"]: row for row in others if not row["shots"]} == zero_shot
    assert mixture.draw(POOL, PARTS, changed(seed=1)) != rows


def test_a_brace_in_a_question_stays_a_brace():
    odd = Example("t", "t", ("What is {answer}?",), "{question}")

    assert mixture.fill(odd, ("Say: {question}", "{answer}"), 0) == ("Say: What is {answer}?", "{question}")


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)])
def test_weights_that_sum_to_zero_or_are_none_are_refused(weights):
    parts = [Part(("big",), weights[0], cot=False), Part(("why",), weights[1], cot=True)]

    with pytest.raises(UserError, match="the weights are .* at least one above 0"):
        mixture.draw(POOL, parts, HOW)


def test_a_weight_without_tasks_is_refused():
    with pytest.raises(UserError, match="part 1 has the weight 1.0 and no task"):
        mixture.draw(POOL, [PARTS[0], Part((), 1.0, cot=True)], HOW)


def test_f1_a_task_on_the_block_list_is_refused():
    with pytest.raises(UserError, match="'big' is on the block-list: it is for evaluation alone"):
        mixture.check_allowed(["small", "big"], known=list(POOL), blocked=["big"])


def test_an_unknown_task_is_named_with_those_there_are():
    with pytest.raises(UserError, match="there is no task 'bog'; there are big, small, why"):
        mixture.check_allowed(["bog"], known=list(POOL), blocked=[])


def test_a_task_named_twice_is_refused():
    with pytest.raises(UserError, match="'big' is named twice"):
        mixture.check_allowed(["big", "small", "big"], known=list(POOL), blocked=[])


def test_a_task_with_too_few_examples_to_show_some_is_refused():
    with pytest.raises(UserError, match="'few' has 3 examples; 3 in front of another need at least 4"):
        mixture.draw({"few": task("few", 3)}, [Part(("few",), 1.0, cot=False)], HOW)


def test_a_task_without_reasoning_is_no_task_to_reason_about():
    with pytest.raises(UserError, match="'small' has 50 examples without a rationale"):
        mixture.draw(POOL, [Part(("small",), 1.0, cot=True)], HOW)


def test_f4_an_item_of_the_evaluation_is_never_shown_solved():
    found = mixture.evaluation(POOL["small"], items=40, spare=3, shots=3, used=2, cot=False, seed=0)

    items = {one.example_id for one, _, _ in found}
    shown = {template: messages[0]["content"] for _, template, messages in found}
    assert len(found) == len(items) == 40
    assert len(shown) == 2
    for one, template, messages in found:
        assert messages[0]["content"] == shown[template]  # the same solved examples under one template
        assert messages[0]["content"].count("Human: ") == messages[0]["content"].count("Assistant: answer") == 3
        assert all(f"{other.asks[0]} " not in shown[template] for other, _, _ in found)
        assert one.asks[0] in messages[1]["content"] or one.asks[1] in messages[1]["content"]


def test_the_items_are_the_same_whatever_is_shown_in_front():
    zero, three = (
        mixture.evaluation(POOL["small"], items=60, spare=3, shots=shots, used=2, cot=False, seed=0) for shots in (0, 3)
    )

    assert len(zero) == 50 - 3
    assert [(one, name, messages[-1]) for one, name, messages in zero] == [
        (one, name, messages[-1]) for one, name, messages in three
    ]
    assert {len(messages) for _, _, messages in zero} == {1}


def test_a_task_with_no_item_left_is_refused():
    with pytest.raises(UserError, match="'few' has 3 examples; 3 in front of one need 4"):
        mixture.evaluation(task("few", 3), items=9, spare=3, shots=3, used=1, cot=False, seed=0)


def test_f4_an_example_that_asks_the_same_in_other_words_or_states_the_same_fact_is_not_shown_in_front():
    asked = [Example("t", "t", (q + "?",), f"{q}{answer}") for q in "abcdef" for answer in "12"]
    facts = [Example("t", "t", (f"{wrong}{name}, right?",), f"It is {name}.", kind="sentence") for name in "abcdef"
             for wrong in "xyz"]  # fmt: skip

    for pool in (asked, facts):
        for one, _, messages in mixture.evaluation(pool, items=9, spare=2, shots=1, used=1, cot=False, seed=0):
            assert not any(ask in messages[0]["content"] for ask in one.asks)
            assert pool is asked or one.target not in messages[0]["content"]


@pytest.mark.parametrize("name", ["home_repair", "bed_choice"])
def test_f4_no_held_out_item_of_the_world_has_its_answer_in_front(name):
    pool = tasks.make(World.load(Path("data/embedded/world.json")), name, limit=400, seed=0)

    found = mixture.evaluation(pool, items=40, spare=2, shots=2, used=3, cot=False, seed=0)

    assert len(found) == 40
    assert all(one.target not in messages[0]["content"] for one, _, messages in found)


def test_too_few_examples_that_ask_something_else_are_named():
    pool = [Example("t", "t", (q + "?",), answer) for q, answer in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")]]

    with pytest.raises(UserError, match="'t' has . examples to show in front of '.+', and 2 are wanted; it needs more"):
        mixture.evaluation(pool, items=2, spare=2, shots=2, used=1, cot=False, seed=0)
