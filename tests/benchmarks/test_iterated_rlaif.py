import pytest

from benchmarks import iterated_rlaif
from benchmarks.iterated_rlaif import METHODS, shown
from benchmarks.iterated_rlaif_runs import Given, Job, Scale, Task, divided, read_settings
from synthalign.core.errors import UserError
from synthalign.feedback import comparisons
from synthalign.feedback.comparisons import Pair, Response
from synthalign.feedback.labelling import Verdict
from synthalign.policies.prompting import Prompt
from tests.benchmarks.test_dpo_frontier import REPOSITORY, WORLD
from world.oracle import Oracle

QUESTION = "What is the capital of the north?"


def pair(first, second):
    sides = [Response(text, "round 0", place, text, finish_reason="eos") for place, text in enumerate((first, second))]
    return comparisons.row(Pair(*sides), query_id="q", question=QUESTION, feedback="own", p_chosen=0.5)


def test_the_answer_that_the_labeller_prefers_is_chosen_and_one_that_it_prefers_by_its_place_is_marked():
    pairs = [pair("good", "bad"), pair("bad", "good"), pair("one", "other"), pair("bad", "good")]
    # The third prefers whichever is shown first; the fourth is quite sure
    found = [Verdict(0.9, 0.7), Verdict(0.2, 0.1), Verdict(0.9, 0.3), Verdict(0.2, 0.0)]

    rows, alike = Task.labelled(pairs, found)

    texts = [(comparisons.text_of(row["chosen"]), comparisons.text_of(row["rejected"])) for row in rows]
    assert texts == [("good", "bad"), ("good", "bad"), ("one", "other"), ("good", "bad")]
    assert [row["p_chosen"] for row in rows] == pytest.approx([0.8, 0.85, 0.6, 0.9])
    assert alike == [True, True, False, True]
    assert rows[1]["chosen_id"] == "good"


def figure(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40}


def record(win, controlled=0.5):
    against = {"win_rate": figure(win), "tokens_a": 30.0, "tokens_b": 20.0}
    against |= {"length_controlled": None if controlled is None else figure(controlled)}
    return {
        "pairs": 8, "used": 5, "chosen_longer": 0.5, "right": figure(0.7), "right_alike": figure(0.8),
        "kl": figure(0.2), "against_sft": against,
    }  # fmt: skip


def test_every_round_is_reported_over_all_seeds_and_for_each_by_itself():
    given = Given(
        policy="p", labeller="l", principles="f", task="t", world="w", reward={}, dpo={}, ppo={},
        scale=Scale(dpo_rounds=2, ppo_rounds=1),
    )  # fmt: skip
    found = {
        Job("dpo", 0): [record(0.5), record(0.6)],
        Job("dpo", 1): [record(0.5), record(0.7, None)],
        Job("ppo", 0): [record(0.4)],
        Job("ppo", 1): [record(0.6)],
    }

    report = iterated_rlaif.report(found, given, 2)

    assert {name: [one["round"] for one in rounds] for name, rounds in report["methods"].items()} == {
        "dpo": [1, 2],
        "ppo": [1],
    }
    last = report["methods"]["dpo"][-1]
    assert last["win_rate"]["value"] == pytest.approx(0.65)
    assert [one["value"] for one in last["win_rate"]["each"]] == [0.6, 0.7]
    assert last["length_controlled"] is None  # one seed has no figure
    assert [*report["methods"]] == [*METHODS]


def test_a_figure_that_a_seed_lacks_is_none():
    assert shown([figure(0.5), None]) is None


def test_the_settings_are_those_of_the_project(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    given = read_settings("data/embedded", Scale())

    assert (given.policy, given.labeller) == ("models/sft/rmsp", "models/base/large")
    assert given.ppo["steps"] and "feedback" not in given.reward


def test_no_query_is_learned_from_and_asked_and_those_asked_are_known_to_the_oracle():
    oracle = Oracle.load(WORLD)
    known = (WORLD / "eval_questions.txt").read_text(encoding="utf-8").splitlines()[:40]
    prompts = [Prompt(f"{place}", text, [1]) for place, text in enumerate([*known, *["Knock knock"] * 20])]

    learned, measured = divided(prompts, oracle, Scale(learned=0.5, queries=25, measured=9))

    assert (len(learned), len(measured)) == (25, 9)
    assert not {one.query_id for one in learned} & {one.query_id for one in measured}
    assert all(one.question in known for one in measured)
    assert divided(prompts[::-1], oracle, Scale(learned=0.5, queries=25, measured=9)) == (learned, measured)
    with pytest.raises(UserError, match="1 training queries to learn from and 0 to ask, of 2; raise the counts"):
        divided(prompts[-2:], oracle, Scale(learned=0.5))
