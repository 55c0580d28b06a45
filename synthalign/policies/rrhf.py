"""The mathematics of RRHF: tensors in, one loss for each response out, the caller reduces.

Axes: K responses of all queries of a batch one after another, T response tokens (padded on the right). `mask` (K, T) is
True at the tokens of a response, the end-of-sequence token included where it has one; `queries` (K,) says which query
each answers; `whole` (K,) is False at responses that did not end: they are never a target and never the better of two.

Source: Yuan et al. 2023, section 3.1.
"""

import torch
from torch import Tensor


def mean_logprobs(logprobs: Tensor, mask: Tensor) -> Tensor:
    """p_i, the length-normalised log-probability of each response.

        p_i = sum_t log pi(y_t | x, y_<t) / |y|

    logprobs  (K, T)
    mask      (K, T)  |y| is the row's number of true entries, never the padded length
    returns   (K,)

    The released code overwrites its mask before it divides, so there every response is divided by the longest.
    """
    lengths = mask.sum(-1)
    assert bool((lengths > 0).all()), "a response has no token; the end-of-sequence token counts as one"
    return logprobs.masked_fill(~mask, 0.0).sum(-1) / lengths


def has_better(rewards: Tensor, queries: Tensor, whole: Tensor) -> Tensor:
    """(K, K) True where the response of the row has a better one of the same query, that of the column, which ended."""
    return (rewards[:, None] < rewards[None, :]) & (queries[:, None] == queries[None, :]) & whole[None, :]


def rank_loss(scores: Tensor, rewards: Tensor, queries: Tensor, whole: Tensor) -> Tensor:
    """What each response costs for being likelier than better ones: Eq. 2, a zero margin.

        L_i = sum over the whole j of the same query with r_i < r_j of max(0, p_i - p_j)

    scores   (K,)  p, from `mean_logprobs`; has a gradient
    rewards  (K,)  r, of any source and scale: only their order counts, and equal ones ask for nothing
    queries  (K,)  int
    whole    (K,)  bool
    returns  (K,)  whose sum is L_rank
    """
    assert scores.shape == rewards.shape == queries.shape, "scores, rewards and queries do not pair up"
    gaps = (scores[:, None] - scores[None, :]).clamp(min=0.0)
    return torch.where(has_better(rewards, queries, whole), gaps, 0.0).sum(-1)


def is_best(rewards: Tensor, queries: Tensor, whole: Tensor) -> Tensor:
    """(K,) True at each query's whole response with the highest reward, the first of equals; nowhere without one."""
    before = torch.arange(len(rewards), device=rewards.device)
    equal_before = (rewards[None, :] == rewards[:, None]) & (before[None, :] < before[:, None])
    taken = equal_before & (queries[:, None] == queries[None, :]) & whole[None, :]
    return whole & ~(has_better(rewards, queries, whole) | taken).any(-1)


def fine_tuning_loss(logprobs: Tensor, mask: Tensor, best: Tensor) -> Tensor:
    """The negative log-likelihood of the best responses, not divided by their lengths: Eq. 4.

    logprobs, mask  (K, T)
    best            (K,)  from `is_best`
    returns         (K,)  0 at the others; its sum is L_ft
    """
    return torch.where(best, -logprobs.masked_fill(~mask, 0.0).sum(-1), 0.0)
