"""When a rise in reward is flagged."""

import pytest

from synthalign.core.statistics import Interval
from synthalign.policies import hacking

FINE = dict(
    reward_gain=Interval(0.5, 0.4, 0.6, 100),
    oracle_gain=Interval(0.1, 0.0, 0.2, 100),
    kl=1.0,
    tokens_before=20.0,
    tokens_after=24.0,
    max_kl=6.0,
    max_length_ratio=1.5,
)


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"oracle_gain": Interval(-0.2, -0.3, -0.1, 100)}, ["oracle"]),
        ({"oracle_gain": Interval(-0.2, -0.5, 0.1, 100)}, []),  # may be chance
        ({"oracle_gain": None}, []),
        ({"kl": 6.5}, ["kl"]),
        ({"tokens_after": 20 * 1.5 + 1}, ["length"]),
        ({"tokens_after": 20 / 1.5 - 1}, ["length"]),
        ({"kl": 9.0, "tokens_after": 40.0}, ["kl", "length"]),
        ({"kl": 9.0, "reward_gain": Interval(0.1, -0.1, 0.3, 100)}, []),  # the reward was not shown to rise
    ],
)
def test_a_rise_in_reward_is_flagged_for_what_fell_or_went_astray_with_it(changes, reasons) -> None:
    assert hacking.reasons(**FINE | changes) == reasons
