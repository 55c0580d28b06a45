import math

import pytest
import torch

from synthalign.generation import sampling


def test_the_first_of_four_samples_has_the_stream_of_the_only_one() -> None:
    one = sampling.streams(7, ["a", "b"], 1)
    four = sampling.streams(7, ["b", "a"], 4)

    assert one[0, 0] == four[1, 0]
    assert len(set(four.flatten().tolist())) == 2 * 4


def test_seed_row_sample_and_position_each_change_the_number() -> None:
    streams = torch.stack([*sampling.streams(1, ["a", "b"], 2).flatten(), sampling.streams(2, ["a"], 1)[0, 0]])
    first = sampling.uniforms(streams, torch.zeros(5, dtype=torch.int64))
    second = sampling.uniforms(streams, torch.ones(5, dtype=torch.int64))

    assert len(set(torch.cat([first, second]).tolist())) == 2 * 5


def test_the_generator_is_splitmix64() -> None:
    # The first output for the seed 1234567, as published with the algorithm: 6457827717110365317.
    number = sampling.uniforms(torch.tensor([1234567]), torch.tensor([0]))

    assert number.item() == (6457827717110365317 >> 11) * 2.0**-53


def test_the_numbers_are_uniform() -> None:
    streams = sampling.streams(0, [str(row) for row in range(500)], 1)[:, 0]
    numbers = torch.cat([sampling.uniforms(streams, torch.full_like(streams, place)) for place in range(40)])
    counts = torch.histc(numbers, bins=10, min=0, max=1)

    # chi-square with 9 degrees of freedom; 27.9 is passed once in a thousand
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9
    assert numbers.min() >= 0 and numbers.max() < 1


@pytest.mark.parametrize(
    "uniform, token",
    [(0.0, 0), (0.19, 0), (0.21, 1), (0.69, 1), (0.71, 2), (0.99, 2)],
)
def test_a_number_falls_on_the_token_whose_share_holds_it_in_the_order_of_the_vocabulary(
    uniform: float, token: int
) -> None:
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()

    assert sampling.choose(logits, torch.tensor([uniform]), temperature=1, top_p=1) == token


@pytest.mark.parametrize(
    "top_p, kept", [(0.5, {1}), (0.51, {1, 2}), (0.79, {1, 2}), (0.81, {0, 1, 2}), (1.0, {0, 1, 2})]
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(top_p: float, kept: set[int]) -> None:
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(1000, 3)
    uniform = torch.arange(1000, dtype=torch.float64) / 1000

    assert set(sampling.choose(logits, uniform, temperature=1, top_p=top_p).tolist()) == kept


def test_the_kept_tokens_keep_their_proportions() -> None:
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(1000, 3)
    uniform = torch.arange(1000, dtype=torch.float64) / 1000
    tokens = sampling.choose(logits, uniform, temperature=1, top_p=0.7)

    assert tokens.bincount(minlength=3).tolist() == [0, 625, 375]  # 0.5 / 0.8 and 0.3 / 0.8 of 1000


def test_a_wide_nucleus_is_found_beyond_the_likely_tokens() -> None:
    logits = torch.zeros(2, 2000)  # every token has 1/2000, less than LIKELY
    logits[1, 5] = 20.0  # and beside it a row whose nucleus is one token
    uniform = torch.tensor([0.5, 0.5], dtype=torch.float64)

    tokens = sampling.choose(logits, uniform, temperature=1, top_p=0.9).tolist()

    assert tokens[1] == 5
    assert tokens[0] == 900  # of equal tokens the first 1,800 are kept; half of them is at 900


def test_temperature_sharpens_and_zero_is_greedy() -> None:
    logits = torch.tensor([[0.0, math.log(3)]])  # 1/4 and 3/4; at temperature 1/2 1/10 and 9/10
    uniform = torch.tensor([0.2])

    assert sampling.choose(logits, uniform, temperature=1, top_p=1) == 0
    assert sampling.choose(logits, uniform, temperature=0.5, top_p=1) == 1
    assert sampling.choose(logits, torch.tensor([0.0]), temperature=0, top_p=1) == 1
