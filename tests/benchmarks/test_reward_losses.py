import pytest

from benchmarks import reward_losses
from benchmarks.reward_losses import Given, Job


def records(**right):
    """Of two seeds the share of right labels in the queries p, q, …, by the loss."""
    return {
        Job(loss, seed): {"right": dict(zip("pqrst", of_seed, strict=True)), "pairs": 9}
        for loss, of_seeds in right.items()
        for seed, of_seed in enumerate(of_seeds)
    }


def test_what_rankings_have_above_shuffled_pairs_is_taken_query_by_query_and_seed_by_seed():
    found = records(
        pairs=[[1, 0, 0.5, 1, 0], [1, 1, 1, 1, 0]],
        rankings=[[1, 0.5, 0.5, 1, 0.5], [1, 1, 1, 1, 0]],  # better in q and t under seed 0: (.5 + .5) / 5
        ratings=[[0, 0, 0.5, 1, 0], [1, 1, 0, 1, 0]],
    )

    report = reward_losses.report(found, Given(settings={}), 2)

    assert [one["value"] for one in report["over_pairs"]["rankings"]["each"]] == pytest.approx([0.2, 0.0])
    assert report["over_pairs"]["rankings"]["value"] == pytest.approx(0.1)
    assert report["over_pairs"]["ratings"]["value"] == pytest.approx(-0.2)
    assert [one["value"] for one in report["accuracy"]["pairs"]["each"]] == pytest.approx([0.5, 0.8])
    assert "pairs" not in report["over_pairs"]
