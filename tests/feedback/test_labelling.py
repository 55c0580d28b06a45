"""Soft labels from two orders of the options (check 7), and why contrast needs none (check 10)."""

import math

import pytest
import torch

from synthalign.feedback import label_noise, labelling
from synthalign.feedback.labelling import Verdict
from synthalign.reward import losses


def test_a_label_is_the_mean_over_both_orders():
    assert Verdict(0.9, 0.6).p_first == (0.9 + 0.6) / 2
    assert Verdict(0.9, None).p_first == 0.9


def labeller(a, b, *, position):
    """P(option A) of a labeller that likes answers by a number, and option A by a bonus."""
    return 1 / (1 + math.exp(-(a - b + position)))


def test_swapping_the_answers_turns_an_averaged_label_exactly_and_a_single_one_not():
    one, other, bias = 0.4, 0.1, 0.8
    shown_first, shown_second = labeller(one, other, position=bias), 1 - labeller(other, one, position=bias)
    turned_first, turned_second = labeller(other, one, position=bias), 1 - labeller(one, other, position=bias)

    averaged = Verdict(shown_first, shown_second).p_first
    assert Verdict(turned_first, turned_second).p_first == pytest.approx(1 - averaged, abs=1e-12)
    assert Verdict(turned_first, None).p_first != pytest.approx(1 - Verdict(shown_first, None).p_first, abs=0.1)


def test_a_label_of_two_logits_is_their_softmax():
    a, b = 1.3, -0.4

    assert torch.tensor([a, b]).softmax(-1)[1].item() == pytest.approx(math.exp(b) / (math.exp(a) + math.exp(b)))
    assert labeller(a, b, position=0) == pytest.approx(torch.tensor([a, b]).softmax(-1)[0].item())


def test_a_clamp_holds_labels_inside_its_bounds():
    assert [labelling.clamped(p, [0.4, 0.6]) for p in (0.1, 0.4, 0.55, 0.99)] == [0.4, 0.4, 0.55, 0.6]
    assert labelling.clamped(0.99, None) == 0.99


def test_a_soft_label_reaches_the_loss_and_a_hard_one_is_minus_log_sigmoid():
    chosen, rejected = torch.tensor([1.5, 1.5]), torch.tensor([0.5, 0.5])

    hard, soft = losses.pairwise_loss(chosen, rejected, torch.tensor([1.0, 0.7])).tolist()

    log_sigmoid = math.log(1 / (1 + math.exp(-1.0)))
    assert hard == pytest.approx(-log_sigmoid)
    assert soft == pytest.approx(-0.7 * log_sigmoid - 0.3 * math.log(1 / (1 + math.exp(1.0))))


def test_the_summary_counts_what_the_order_decides():
    # 1: the first in both orders; 2: option A in both; 3: option B in both; 4: the second in both.
    verdicts = [Verdict(0.9, 0.8), Verdict(0.7, 0.2), Verdict(0.4, 0.9), Verdict(0.3, 0.1)]

    found = labelling.summary(verdicts)

    assert found["swap_consistency"] == 2 / 4
    assert found["first_position"] == 1 / 4
    p_a = [(0.9 + 0.2) / 2, (0.7 + 0.8) / 2, (0.4 + 0.1) / 2, (0.3 + 0.9) / 2]
    assert found["p_first_position"] == pytest.approx(sum(p_a) / 4)
    assert found["confidence"] == pytest.approx((0.35 + 0.05 + 0.15 + 0.3) / 4)
    assert "swap_consistency" not in labelling.summary([Verdict(0.9, None)])


def test_a_probability_of_exactly_one_half_counts_half_for_either_option():
    # consistent: 1/2, 1/2, 1/2 and 1; option A in both orders: 1/2 (the second order prefers B), 1/4, 0 and 0
    verdicts = [Verdict(0.5, 0.2), Verdict(0.5, 0.5), Verdict(0.4, 0.5), Verdict(0.9, 0.8)]

    found = labelling.summary(verdicts)

    assert found["swap_consistency"] == 2.5 / 4
    assert found["first_position"] == 0.75 / 4


# -- the noise argument


def test_closed_forms_have_the_papers_figures():
    assert label_noise.scored_accuracy(1, 1) == pytest.approx(0.75)
    assert label_noise.scored_near_tie(0.1, 1) == pytest.approx(0.528, abs=5e-4)
    assert label_noise.contrast_accuracy(3, 1) == pytest.approx(0.983, abs=5e-4)
    assert label_noise.contrast_near_tie(0.1, 3, 1) == pytest.approx(0.574, abs=5e-4)
    assert label_noise.contrast_accuracy(0, 1) == 0.5


def test_the_simulation_agrees_with_the_closed_forms():
    found = label_noise.simulate(4_000_000, gap=3, spread=1, noise=1, near=0.2, seed=0)

    assert found["scored"] == pytest.approx(0.750, abs=0.005)
    assert found["scored_near_tie"] == pytest.approx(0.528, abs=0.005)
    assert found["contrast"] == pytest.approx(0.983, abs=0.005)
    assert found["contrast_near_tie"] == pytest.approx(0.574, abs=0.005)  # of 1 in 84 pairs, so near a tie are few


def test_prompts_that_make_no_difference_give_even_labels():
    assert label_noise.simulate(400_000, gap=0, spread=1, noise=1, near=0.2, seed=1)["contrast"] == pytest.approx(
        0.5, abs=0.005
    )
