"""The mathematics of PPO, worked by hand."""

from math import log

import pytest
import torch
from torch import Tensor

from synthalign.policies import ppo

REAL = torch.tensor([[True, True, True], [True, False, False]])
"""An answer of three tokens, and one of a single token with two places of padding."""


def close(found: Tensor, expected: list) -> bool:
    return torch.allclose(found, torch.tensor(expected, dtype=found.dtype), atol=1e-6)


def test_the_logprob_of_a_token_is_its_logit_over_the_temperature_less_the_log_of_their_sum() -> None:
    logits = torch.tensor([[log(3.0), 0.0], [log(3.0), 0.0], [0.0, 2 * log(3.0)]])

    at_one = ppo.token_logprobs(logits, torch.tensor([0, 1, 1]))
    at_two = ppo.token_logprobs(logits, torch.tensor([0, 1, 1]), temperature=2.0)

    assert close(at_one, [log(3 / 4), log(1 / 4), log(9 / 10)])
    assert at_two[2].item() == pytest.approx(log(3 / 4))


def test_entropy_is_log_two_for_a_coin_and_zero_for_certainty() -> None:
    logits = torch.tensor([[5.0, 5.0, -1e9], [0.0, -1e9, -1e9]])

    assert close(ppo.entropies(ppo.log_probabilities(logits)), [log(2), 0.0])


def test_the_kl_of_an_answer_is_the_sum_of_its_log_ratios_whatever_stands_in_the_padding() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -7.0, -7.0]])
    reference = torch.tensor([[-1.5, -2.0, -3.5], [-0.5, 0.0, 0.0]])

    assert close(ppo.answer_kl(logprobs, reference, REAL), [0.5 + 0.0 + 0.5, -0.5])


def test_l1_token_rewards_of_an_answer_sum_to_its_score_less_beta_times_its_kl() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, 0.0, 0.0]])
    reference = torch.tensor([[-1.5, -2.0, -3.5], [-0.5, 0.0, 0.0]])
    scores = torch.tensor([2.0, -1.0])

    rewards = ppo.token_rewards(logprobs, reference, scores, REAL, kl_coefficient=0.1)

    assert close(rewards.sum(-1), [2.0 - 0.1 * (0.5 + 0.5), -1.0 - 0.1 * -0.5])


def test_l2_the_score_is_paid_at_the_last_real_token_and_never_at_padding() -> None:
    same = torch.full((2, 3), -1.0)

    rewards = ppo.token_rewards(same, same, torch.tensor([2.0, -1.0]), REAL, kl_coefficient=0.1)

    assert close(rewards, [[0.0, 0.0, 2.0], [-1.0, 0.0, 0.0]])


def test_l3_with_lambda_one_an_advantage_is_the_return_less_the_value() -> None:
    rewards = torch.tensor([[1.0, 0.0, 4.0], [2.0, 9.0, 9.0]])
    values = torch.tensor([[3.0, 1.0, 2.0], [5.0, 9.0, 9.0]])

    advantages = ppo.generalized_advantages(rewards, values, REAL, discount=1.0, gae_lambda=1.0)

    assert close(advantages, [[(1 + 0 + 4) - 3, (0 + 4) - 1, 4 - 2], [2 - 5, 0, 0]])


def test_an_advantage_is_the_sum_of_later_surprises_discounted_by_gamma_lambda() -> None:
    rewards = torch.tensor([[1.0, 0.0, 4.0]])
    values = torch.tensor([[3.0, 1.0, 2.0]])
    real = torch.ones(1, 3, dtype=torch.bool)

    advantages = ppo.generalized_advantages(rewards, values, real, discount=0.5, gae_lambda=0.8)

    surprises = [1 + 0.5 * 1 - 3, 0 + 0.5 * 2 - 1, 4 - 2]  # -1.5, 0, 2
    assert close(advantages, [[-1.5 + 0.4 * 0 + 0.4**2 * 2, 0 + 0.4 * 2, surprises[2]]])


def test_l3_whitened_advantages_have_mean_zero_and_deviation_one_over_real_tokens_only() -> None:
    advantages = torch.tensor([[1.0, 2.0, 3.0], [6.0, 100.0, -100.0]])

    whitened = ppo.whiten(advantages, REAL)

    deviation = ((4 + 1 + 0 + 9) / 4) ** 0.5  # around the mean (1 + 2 + 3 + 6) / 4 = 3
    assert close(whitened, [[-2 / deviation, -1 / deviation, 0.0], [3 / deviation, 0.0, 0.0]])


def test_l3_whitened_rewards_keep_their_mean() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0], [6.0, 100.0, -100.0]])

    whitened = ppo.whiten(rewards, REAL, keep_mean=True)

    real = whitened[REAL]
    assert real.mean().item() == pytest.approx(3.0)
    assert real.std(correction=0).item() == pytest.approx(1.0)
    assert close(whitened[1, 1:], [0.0, 0.0])


def test_the_policy_loss_stops_at_the_clip_only_where_going_on_would_pay() -> None:
    old = torch.zeros(1, 4)
    ratios = torch.tensor([[2.0, 2.0, 0.5, 0.5]])
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    real = torch.ones(1, 4, dtype=torch.bool)

    losses = ppo.policy_loss(ratios.log(), old, advantages, real, clip=0.2)

    assert close(losses, [[-1.2, 2.0, -0.5, 0.8]])


def test_a_clipped_token_has_no_gradient() -> None:
    logprobs = torch.tensor([[log(2.0), log(1.1)]], requires_grad=True)

    ppo.policy_loss(
        logprobs, torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), clip=0.2
    ).sum().backward()

    assert logprobs.grad is not None
    assert close(logprobs.grad, [[0.0, -1.1]])  # d(-rho A) / d log pi = -rho A


def test_the_value_loss_is_the_larger_of_the_free_and_the_held_error() -> None:
    values = torch.tensor([[1.0, 1.0, 0.1]])
    returns = torch.tensor([[2.0, -1.0, 1.0]])
    real = torch.ones(1, 3, dtype=torch.bool)

    losses = ppo.value_loss(values, torch.zeros(1, 3), returns, real, clip=0.2)

    # held at 0.2: (0.2 - 2)^2 > (1 - 2)^2; (1 + 1)^2 > (0.2 + 1)^2; 0.1 is inside the clip
    assert close(losses, [[0.5 * 1.8**2, 0.5 * 2.0**2, 0.5 * 0.9**2]])


def test_losses_and_counts_are_zero_at_padding() -> None:
    wild = torch.tensor([[0.0, 0.0, 0.0], [0.0, 50.0, -50.0]])
    still = torch.zeros(2, 3)

    for found in (
        ppo.policy_loss(wild, still, wild, REAL, clip=0.2),
        ppo.value_loss(wild, still, still, REAL, clip=0.2),
        ppo.clipped(wild, still, REAL, clip=0.2),
        ppo.squared_log_ratios(wild, still, REAL),
    ):
        assert close(found[1], [0.0, 0.0, 0.0])


def test_clipped_tokens_are_those_whose_ratio_left_the_interval_on_either_side() -> None:
    ratios = torch.tensor([[1.1, 1.3, 0.7], [1.0, 9.0, 9.0]])

    assert close(ppo.clipped(ratios.log(), torch.zeros(2, 3), REAL, clip=0.2), [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])


def test_the_approximate_kl_is_half_the_mean_squared_log_ratio() -> None:
    log_ratios = torch.tensor([[0.2, -0.4, 0.0], [0.6, 5.0, 5.0]])

    squared = ppo.squared_log_ratios(log_ratios, torch.zeros(2, 3), REAL)

    assert ppo.mean_over_tokens(squared, REAL).item() == pytest.approx(0.5 * (0.04 + 0.16 + 0 + 0.36) / 4)


def test_l8_an_answer_without_end_gets_the_fixed_penalty_in_place_of_its_score() -> None:
    scores = torch.tensor([3.0, 3.0, -5.0])
    complete = torch.tensor([True, False, False])

    assert close(ppo.penalised_scores(scores, complete, missing_stop_penalty=-1.0), [3.0, -1.0, -1.0])


@pytest.mark.parametrize(
    "kl, factor",
    [
        (6.0, 1.0),
        (12.0, 1 + 0.2 * 512 / 10_000),  # twice the target: the error of 1 counts as 0.2
        (6.6, 1 + 0.1 * 512 / 10_000),
        (0.0, 1 - 0.2 * 512 / 10_000),
    ],
)
def test_the_adaptive_coefficient_rises_above_the_target_and_falls_below_it(kl: float, factor: float) -> None:
    coefficient = ppo.next_kl_coefficient(0.15, kl, target=6.0, horizon=10_000, answers=512)

    assert coefficient == pytest.approx(0.15 * factor)


def test_the_learning_rate_warms_up_from_a_tenth_and_falls_to_zero_after_the_last_step() -> None:
    factors = [ppo.learning_rate_factor(step, steps=6, warmup_steps=2, schedule="linear") for step in range(1, 7)]

    assert factors == pytest.approx([0.1, 0.55, 4 / 4, 3 / 4, 2 / 4, 1 / 4])
    assert ppo.learning_rate_factor(6, steps=6, warmup_steps=2, schedule="constant") == 1.0
