"""Losses as the papers write them: tensors in, one value per row out, the caller takes the mean."""

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


def of_each_query(values: Tensor, query: Tensor) -> Tensor:
    """The mean of the values of each query, so that every query counts as one unit, however many it has.

    values   (N,)  the losses of a batch, of pairs or of responses
    query    (N,)  the query of each, 0 to Q - 1, every one of them there
    returns  (Q,)

    Of the losses of all K (K - 1) / 2 pairs of a query this is Eq. 1 of Ouyang et al. 2022 with its 1 / C(K, 2): a
    query with ten comparisons moves the reward model as much as one with a single comparison.
    """
    belongs = F.one_hot(query).to(values.dtype)  # (N, Q)
    return (values[:, None] * belongs).sum(dim=0) / belongs.sum(dim=0)


def rating_loss(rewards: Tensor, ratings: Tensor) -> Tensor:
    """How far the rewards are from given ratings, squared.

    rewards  (R,)  of responses
    ratings  (R,)  what each should be
    returns  (R,)  one loss per response
    """
    assert rewards.shape == ratings.shape, f"{tuple(rewards.shape)} rewards, {tuple(ratings.shape)} ratings"
    return (rewards - ratings) ** 2
