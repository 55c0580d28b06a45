"""Whether a policy pleases its reward model alone: what rose, what fell, and what the text looks like since.

Numbers in, reasons out. Over-optimisation: Stiennon et al. 2020, section 4.3; Gao et al. 2023.
"""

from synthalign.core.statistics import ALL_EQUAL, Interval


def reasons(
    *,
    reward_gain: Interval,
    oracle_gain: Interval | None,
    kl: float,
    tokens_before: float,
    tokens_after: float,
    max_kl: float,
    max_length_ratio: float,
) -> list[str]:
    """Why a rise in reward is not to be believed; nothing when it did not rise, was measured on too few questions to
    tell, or all else is in order.

    reward_gain, oracle_gain  last policy minus first, question by question; None where there is no oracle
    kl                        nats of an answer of the last policy
    tokens_before, after      of a mean answer

    `oracle`: what the reward stands for fell, the whole interval below 0. `kl`: the answers are further from the start
    than `max_kl` nats. `length`: they are longer or shorter by more than the factor.

    A change that is the same in every question has no interval, and counts: it is a warning, and better one too many.
    """
    if not (reward_gain.lies_above(0) or (reward_gain.why == ALL_EQUAL and reward_gain.value > 0)):
        return []
    ratio = tokens_after / tokens_before
    found = {
        "oracle": oracle_gain is not None
        and (oracle_gain.lies_below(0) or (oracle_gain.why == ALL_EQUAL and oracle_gain.value < 0)),
        "kl": kl > max_kl,
        "length": not 1 / max_length_ratio <= ratio <= max_length_ratio,
    }
    return [reason for reason, is_so in found.items() if is_so]
