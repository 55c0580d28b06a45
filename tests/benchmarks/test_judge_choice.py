from benchmarks.judge_choice import FOLDS, Job, Way, dealt, report, split
from synthalign.core import statistics
from synthalign.core.ids import content_id

ONCE = Way("epochs", 1)


def pairs(kind, questions, each=2):
    return [
        {"comparison_id": f"{kind}{question}{place}", "query_id": content_id(kind, question)}
        for question in range(questions)
        for place in range(each)
    ]


def test_every_pair_is_asked_about_once_by_a_model_that_saw_no_pair_of_its_question():
    given = pairs("helpful", 30)

    asked = []
    for fold in range(FOLDS):
        others, own = dealt(given, fold)
        assert {pair["query_id"] for pair in others}.isdisjoint(pair["query_id"] for pair in own)
        assert len(others) + len(own) == 60
        asked += own

    assert sorted(pair["comparison_id"] for pair in asked) == sorted(pair["comparison_id"] for pair in given)


def test_equal_is_as_many_of_each_kind_and_all_is_all_of_the_others():
    given = {"helpful": pairs("helpful", 12), "harmless": pairs("harmless", 80)}

    learned = {share: split(given, share, 0)[0] for share in ("helpful", "equal", "all")}
    asked = split(given, "equal", 0)[1]

    kinds = {share: sum("harmless" in pair["comparison_id"] for pair in rows) for share, rows in learned.items()}
    helpful = len(learned["helpful"])
    assert kinds == {"helpful": 0, "equal": helpful, "all": len(dealt(given["harmless"], 0)[0])}
    assert kinds["all"] > helpful
    assert len(asked["harmless"]) == len(asked["helpful"]) == 24 - helpful


def test_a_choice_is_right_as_often_as_its_models_of_all_folds_together():
    def record(right):
        one = {"queries": ["p", "q", "r"], "correct": right, "longer": [1.0, 1.0, 0.5]}
        return {"pairs": 9, "helpful": one, "harmless": one}

    found = {Job("equal", ONCE, 0, 0): record([1.0, 0.0, 0.0]), Job("equal", ONCE, 0, 1): record([1.0, 1.0, 0.0])}

    [row] = report(found)

    assert row["helpful_correct"]["value"] == 0.5
    assert row["harmless_longer"]["value"] == 0.833333
    assert row["pairs"] == [9, 9]


def test_a_probe_and_a_training_run_of_the_same_number_are_two_choices():
    one = {"queries": ["p", "q", "r"], "correct": [1.0, 0.0, 0.0], "longer": [1.0, 1.0, 0.5]}
    record = {"pairs": 9, "helpful": one, "harmless": one}

    rows = report({Job("helpful", way, 0, 0): record for way in (ONCE, Way("probe", 1.0))})

    assert [row.get("epochs", row.get("probe")) for row in rows] == [1, 1.0]
    assert [("epochs" in row, "probe" in row) for row in rows] == [(True, False), (False, True)]


def test_a_seed_more_of_the_same_questions_makes_no_interval_narrower():
    def record(right):
        one = {"queries": list("pqrstuvw"), "correct": right, "longer": [1.0, 0.0] * 4}
        return {"pairs": 9, "helpful": one, "harmless": one}

    first, second = [1.0] * 4 + [0.0] * 4, [1.0] * 5 + [0.0] * 3
    [row] = report({Job("all", ONCE, seed, 0): record(right) for seed, right in enumerate((first, second))})
    [alone] = report({Job("all", ONCE, 0, 0): record(first)})

    each = [statistics.mean_interval(right, list("pqrstuvw"), seed=0) for right in (first, second)]
    assert row["helpful_correct"] == statistics.combine_seeds(each).metrics()
    assert row["helpful_longer"] == alone["helpful_longer"]  # the longer is the longer under every seed
    assert row["helpful_correct"]["n"] == 8
