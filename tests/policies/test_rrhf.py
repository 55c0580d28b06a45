"""RRHF's losses, worked out by hand; R1 to R5 are the checks of its specification."""

import math

import pytest
import torch

from synthalign.policies import rrhf


def one_query(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.int64)


def all_of(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.bool)


def test_r1_no_pair_costs_anything_when_likelihoods_are_in_the_order_of_the_rewards() -> None:
    scores, rewards = torch.tensor([-3.0, -2.0, -1.0]), torch.tensor([0.1, 0.2, 0.3])

    assert rrhf.rank_loss(scores, rewards, one_query(3), all_of(3)).tolist() == [0.0, 0.0, 0.0]


def test_r1_a_violated_pair_costs_the_difference_of_its_likelihoods() -> None:
    scores, rewards = torch.tensor([-1.0, -2.5]), torch.tensor([0.0, 1.0])

    assert rrhf.rank_loss(scores, rewards, one_query(2), all_of(2)).tolist() == [-1.0 - -2.5, 0.0]


def test_r1_three_responses_in_the_wrong_order_cost_all_three_pairs() -> None:
    scores, rewards = torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([0.0, 1.0, 2.0])

    costs = rrhf.rank_loss(scores, rewards, one_query(3), all_of(3))

    assert costs.tolist() == [(-1.0 - -2.0) + (-1.0 - -4.0), -2.0 - -4.0, 0.0]


def test_r1_equal_rewards_and_equal_likelihoods_have_no_gradient() -> None:
    scores = torch.tensor([-1.0, -2.0], requires_grad=True)
    rrhf.rank_loss(scores, torch.tensor([0.5, 0.5]), one_query(2), all_of(2)).sum().backward()

    assert scores.grad is not None and scores.grad.tolist() == [0.0, 0.0]


def test_r1_a_violated_pair_pulls_both_sides_by_one() -> None:
    scores = torch.tensor([-1.0, -2.0], requires_grad=True)
    rrhf.rank_loss(scores, torch.tensor([0.0, 1.0]), one_query(2), all_of(2)).sum().backward()

    assert scores.grad is not None and scores.grad.tolist() == [1.0, -1.0]


@pytest.mark.parametrize("changed", [lambda r: 3 * r - 7, torch.exp, torch.sigmoid], ids=["line", "exp", "sigmoid"])
def test_r1_only_the_order_of_the_rewards_counts(changed) -> None:
    scores, rewards = torch.tensor([-1.0, -3.0, -2.0, -2.5]), torch.tensor([0.3, -1.2, 2.0, 0.3])

    assert torch.equal(
        rrhf.rank_loss(scores, rewards, one_query(4), all_of(4)),
        rrhf.rank_loss(scores, changed(rewards), one_query(4), all_of(4)),
    )


def test_r2_one_response_is_plain_fine_tuning() -> None:
    logprobs, mask = torch.tensor([[-0.5, -1.5, -9.0]]), torch.tensor([[True, True, False]])
    rewards = torch.tensor([-4.0])

    scores = rrhf.mean_logprobs(logprobs, mask)

    assert rrhf.rank_loss(scores, rewards, one_query(1), all_of(1)).tolist() == [0.0]
    best = rrhf.is_best(rewards, one_query(1), all_of(1))
    assert rrhf.fine_tuning_loss(logprobs, mask, best).tolist() == [0.5 + 1.5]


def test_r3_a_response_is_divided_by_its_own_length() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, 0.0, 0.0], [-1.0, -2.0, -1.0, -2.0]])
    mask = torch.tensor([[True, True, False, False], [True] * 4])

    assert rrhf.mean_logprobs(logprobs, mask).tolist() == [-3.0 / 2, -6.0 / 4]


def test_r3_padding_changes_nothing() -> None:
    logprobs, mask = torch.tensor([[-1.0, -2.0]]), torch.tensor([[True, True]])
    padded = torch.tensor([[-1.0, -2.0, -5.0, math.inf]]), torch.tensor([[True, True, False, False]])

    assert torch.equal(rrhf.mean_logprobs(logprobs, mask), rrhf.mean_logprobs(*padded))
    best = torch.tensor([True])
    assert torch.equal(rrhf.fine_tuning_loss(logprobs, mask, best), rrhf.fine_tuning_loss(*padded, best))


def test_r4_a_batch_of_queries_costs_the_sum_of_its_queries_and_pairs_none_across_them() -> None:
    scores, rewards = torch.tensor([-1.0, -2.0, -5.0, -4.0, -4.5]), torch.tensor([0.0, 1.0, 9.0, 8.0, 7.0])
    queries = torch.tensor([0, 0, 1, 1, 1])

    together = rrhf.rank_loss(scores, rewards, queries, all_of(5))

    first = rrhf.rank_loss(scores[:2], rewards[:2], one_query(2), all_of(2))
    second = rrhf.rank_loss(scores[2:], rewards[2:], one_query(3), all_of(3))
    assert together.tolist() == [*first.tolist(), *second.tolist()]
    assert together.sum() == (-1.0 - -2.0) + (-4.0 - -5.0) + (-4.5 - -5.0)


def test_r4_every_query_has_one_best_response_the_first_of_equals() -> None:
    rewards, queries = torch.tensor([0.0, 1.0, 1.0, -3.0]), torch.tensor([0, 0, 0, 1])

    assert rrhf.is_best(rewards, queries, all_of(4)).tolist() == [False, True, False, True]


def test_a_response_that_did_not_end_is_the_worse_of_two_and_never_the_better() -> None:
    scores, rewards = torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([0.0, 1.0, 2.0])

    # by their rewards the third is the best; it was cut off, so only the second is anybody's better
    costs = rrhf.rank_loss(scores, rewards, one_query(3), torch.tensor([True, True, False]))
    assert costs.tolist() == [-1.0 - -2.0, 0.0, 0.0]
    # nor is one that was cut off the better of another that was, whatever the price of their distances
    assert rrhf.rank_loss(scores, rewards, one_query(3), ~all_of(3)).tolist() == [0.0, 0.0, 0.0]
    # and it costs what any other does where it is the worse
    costs = rrhf.rank_loss(scores, rewards, one_query(3), torch.tensor([False, False, True]))
    assert costs.tolist() == [-1.0 - -4.0, -2.0 - -4.0, 0.0]


def test_the_best_response_is_one_that_ended_and_a_query_without_one_has_none() -> None:
    rewards, queries = torch.tensor([3.0, 1.0, 1.0, 5.0, 4.0]), torch.tensor([0, 0, 0, 1, 1])

    best = rrhf.is_best(rewards, queries, torch.tensor([False, True, True, False, False]))

    assert best.tolist() == [False, True, False, False, False]
    logprobs, mask = torch.full((5, 2), -0.5), torch.ones(5, 2, dtype=torch.bool)
    assert rrhf.fine_tuning_loss(logprobs, mask, best).tolist() == [0.0, 0.5 + 0.5, 0.0, 0.0, 0.0]


def test_a_response_without_a_token_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="has no token"):
        rrhf.mean_logprobs(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
