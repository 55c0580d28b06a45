import pytest

from benchmarks import reward_losses
from benchmarks.reward_losses import Given, Job
from synthalign.core.errors import UserError


def records(**right):
    """Of two seeds the share of right labels in the queries p, q, …, by what is learned."""
    return {
        Job(arm, seed): {"right": dict(zip("pqrst", of_seed, strict=True)), "pairs": 9, "steps": 3}
        for arm, of_seeds in right.items()
        for seed, of_seed in enumerate(of_seeds)
    }


def test_what_rankings_have_above_shuffled_pairs_is_taken_query_by_query_and_seed_by_seed():
    found = records(
        pairs=[[1, 0, 0.5, 1, 0], [1, 1, 1, 1, 0]],
        rankings=[[1, 0.5, 0.5, 1, 0.5], [1, 1, 1, 1, 0]],  # better in q and t under seed 0: (.5 + .5) / 5
        ratings=[[0, 0, 0.5, 1, 0], [1, 1, 0, 1, 0]],
        small=[[1, 0, 0.5, 0, 0], [1, 1, 1, 1, 0]],  # worse in s under seed 0: -1 / 5
        large=[[1, 1, 0.5, 1, 0], [1, 1, 1, 1, 1]],
    )

    report = reward_losses.report(found, Given(settings={}), 2)

    assert [one["value"] for one in report["over_pairs"]["rankings"]["each"]] == pytest.approx([0.2, 0.0])
    assert report["over_pairs"]["rankings"]["value"] == pytest.approx(0.1)
    assert report["over_pairs"]["ratings"]["value"] == pytest.approx(-0.2)
    assert [one["value"] for one in report["accuracy"]["pairs"]["each"]] == pytest.approx([0.5, 0.8])
    assert "pairs" not in report["over_pairs"]
    assert report["over_pairs"]["small"]["value"] == pytest.approx(-0.1)
    assert report["over_pairs"]["large"]["value"] == pytest.approx(0.2)
    assert report["steps"]["large"] == [3, 3]


def test_a_step_of_whole_queries_has_about_as_many_pairs_as_a_step_of_pairs():
    pairs = [{"query_id": f"q{number // 8}"} for number in range(80)]  # ten queries of eight pairs

    assert reward_losses.queries_in_a_step(pairs, 16) == 2
    assert reward_losses.queries_in_a_step(pairs, 3) == 1  # a query is never divided


def test_no_seed_learns_from_a_query_that_is_asked():
    pairs = [{"query_id": f"q{number % 5}", "pair_id": number} for number in range(20)]

    left, asked = reward_losses.apart(pairs, 2)

    assert len({pair["query_id"] for pair in asked}) == 2
    assert {pair["query_id"] for pair in left}.isdisjoint(pair["query_id"] for pair in asked)
    assert len(left) + len(asked) == 20
    with pytest.raises(UserError, match="5 queries have comparisons, and 5 are asked: nothing is left"):
        reward_losses.apart(pairs, 5)


def test_other_sizes_are_the_folders_beside_the_policys():
    given = Given(settings={"model": "models/base/medium"})

    assert [given.base(arm) for arm in reward_losses.ARMS] == [
        *["models/base/medium"] * 3,
        "models/base/small",
        "models/base/large",
    ]
