import math

import pytest
import torch

from synthalign.reward.losses import of_each_query, pairwise_loss, rating_loss


def test_a_hard_label_costs_minus_log_sigmoid_of_the_difference():
    chosen, rejected = torch.tensor([0.0, math.log(3), 5.0]), torch.tensor([0.0, 0.0, 5.0])

    loss = pairwise_loss(chosen, rejected, torch.ones(3))

    # sigmoid(log 3) = 3/4; equal rewards cost log 2, be they 0 or 5
    assert loss.tolist() == pytest.approx([math.log(2), math.log(4 / 3), math.log(2)], abs=1e-6)


def test_a_soft_label_weighs_both_outcomes():
    chosen, rejected = torch.tensor([math.log(3)]), torch.tensor([0.0])

    loss = pairwise_loss(chosen, rejected, torch.tensor([0.8]))

    assert loss.tolist() == pytest.approx([0.8 * math.log(4 / 3) + 0.2 * math.log(4)], abs=1e-6)


def test_a_soft_label_is_cheapest_where_the_model_agrees_with_it():
    difference = torch.tensor([0.0], requires_grad=True)

    # sigmoid(log 4) = 0.8, so the gradient sigmoid(difference) - 0.8 vanishes there
    loss = pairwise_loss(difference + math.log(4), torch.zeros(1), torch.tensor([0.8]))
    loss.sum().backward()

    assert difference.grad.item() == pytest.approx(0, abs=1e-6)


def test_only_differences_of_rewards_count():
    chosen, rejected, label = torch.tensor([1.5, -2.0]), torch.tensor([0.5, 3.0]), torch.tensor([1.0, 0.3])

    shifted = pairwise_loss(chosen + 7, rejected + 7, label)

    assert torch.allclose(shifted, pairwise_loss(chosen, rejected, label), atol=1e-6)


def test_swapping_the_sides_and_the_label_changes_nothing():
    chosen, rejected, label = torch.tensor([1.5, -2.0]), torch.tensor([0.5, 3.0]), torch.tensor([0.9, 0.3])

    assert torch.allclose(pairwise_loss(rejected, chosen, 1 - label), pairwise_loss(chosen, rejected, label))


def test_a_large_difference_does_not_overflow():
    loss = pairwise_loss(torch.tensor([500.0, -500.0]), torch.zeros(2), torch.ones(2))

    assert loss.tolist() == [0.0, 500.0]


def test_rewards_that_do_not_pair_up_are_refused():
    with pytest.raises(AssertionError, match="do not pair up"):
        pairwise_loss(torch.zeros(2), torch.zeros(3), torch.ones(2))


def test_the_pairs_of_a_query_count_as_one_unit():
    losses = torch.tensor([1.0, 10.0, 2.0, 6.0])

    found = of_each_query(losses, torch.tensor([0, 1, 0, 0]))

    assert found.tolist() == pytest.approx([(1 + 2 + 6) / 3, 10])


def test_the_loss_of_a_ranking_of_three_is_the_mean_over_its_three_pairs():
    rewards = torch.tensor([math.log(3), 0.0, 0.0], requires_grad=True)
    better, worse = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])

    pairs = pairwise_loss(rewards[better], rewards[worse], torch.ones(3))
    [loss] = of_each_query(pairs, torch.zeros(3, dtype=torch.int64))
    loss.backward()

    # C(3, 2) = 3 pairs: sigmoid(log 3) = 3/4 twice, sigmoid(0) = 1/2 once
    assert loss.item() == pytest.approx((2 * math.log(4 / 3) + math.log(2)) / 3, abs=1e-6)
    assert rewards.grad is not None
    assert rewards.grad.tolist() == pytest.approx([-2 / 4 / 3, (1 / 4 - 1 / 2) / 3, (1 / 4 + 1 / 2) / 3], abs=1e-6)


def test_a_rating_is_missed_by_a_square():
    assert rating_loss(torch.tensor([1.0, -0.5]), torch.tensor([0.5, 1.5])).tolist() == [0.25, 4.0]
