"""Losses as the papers write them: tensors in, one value per row out, the caller takes the mean."""

from collections import Counter
from collections.abc import Hashable, Sequence

import torch.nn.functional as F
from torch import Tensor


def pairwise_loss(chosen: Tensor, rejected: Tensor, p_chosen: Tensor) -> Tensor:
    """How surprised a reward model is by a preference, hard or soft (Bradley–Terry).

        loss_B = - p_B log sigmoid(chosen_B - rejected_B) - (1 - p_B) log sigmoid(rejected_B - chosen_B)

    chosen    (B,)  reward of the response that the label prefers
    rejected  (B,)  reward of the other response to the same prompt
    p_chosen  (B,)  the label's probability that `chosen` is the better one, in [0, 1]
    returns   (B,)  one loss per comparison

    With p_B = 1 this is Eq. 1 of Ouyang et al. 2022 for K = 2, which is the loss of Stiennon et al. 2020.
    Equal rewards cost log 2 whatever they are and whatever the label: only differences count.
    """
    assert chosen.shape == rejected.shape == p_chosen.shape, (
        f"rewards and labels do not pair up: {tuple(chosen.shape)}, {tuple(rejected.shape)}, {tuple(p_chosen.shape)}"
    )
    return F.binary_cross_entropy_with_logits(chosen - rejected, p_chosen, reduction="none")


def group_weights(groups: Sequence[Hashable]) -> list[float]:
    """A weight for each row, so that every group counts as one unit and the weights' mean is 1.

    With the pairs of a prompt as its group this is the factor 1 / C(K, 2) of Eq. 1 of Ouyang et al. 2022: a prompt
    with ten comparisons moves the reward model as much as a prompt with one.
    """
    sizes = Counter(groups)
    return [len(groups) / (len(sizes) * sizes[group]) for group in groups]
