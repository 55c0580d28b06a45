"""The mathematics of PPO on answers: tensors in, per-token tensors out, the caller reduces.

Axes: B answers, T answer tokens (padded on the right), N real tokens of all answers one after another, V vocabulary.
`mask` (B, T) is True at the tokens that were sampled, the end-of-sequence token included, and False at padding, where
every result is 0.

Sources: PPO is Schulman et al. 2017; GAE is Schulman et al. 2016; the rewards, the adaptive coefficient and the
clipped value loss follow Ziegler et al. 2019 and its code (openai/lm-human-preferences, train_policy.py).
"""

from typing import Literal

import torch
from torch import Tensor


def mean_over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of values (B, T) over real tokens: a scalar in which every token counts the same."""
    return values.masked_fill(~mask, 0.0).sum() / mask.sum()


def log_probabilities(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log pi(. | s_t) over the vocabulary: (N, V) -> (N, V).

    temperature  what the tokens were sampled with, so that this is the distribution they came from
    """
    return torch.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)


def of_tokens(log_probabilities: Tensor, tokens: Tensor) -> Tensor:
    """log pi(a_t | s_t): (N, V) and the token ids a_t, (N,) -> (N,)."""
    assert log_probabilities.shape[:1] == tokens.shape, (
        f"tokens do not pair up: {tuple(log_probabilities.shape)}, {tuple(tokens.shape)}"
    )
    return log_probabilities.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def token_logprobs(logits: Tensor, tokens: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log pi(a_t | s_t) of the tokens that were sampled.

    logits       (N, V) at the positions that predict the tokens: one before each
    tokens       (N,)   token ids a_t
    temperature  what the tokens were sampled with
    returns      (N,)
    """
    return of_tokens(log_probabilities(logits, temperature=temperature), tokens)


def entropies(log_probabilities: Tensor) -> Tensor:
    """H(pi(. | s_t)) in nats: log pi (N, V) -> (N,)."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def answer_kl(logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor) -> Tensor:
    """How far the policy went from the reference on each answer, in nats.

        KL_B = sum_t log pi(a_t | s_t) - log pi_ref(a_t | s_t)

    One text, sampled from the policy and read by both models; its mean over answers estimates KL(pi || pi_ref).
    logprobs, reference_logprobs (B, T) -> (B,)
    """
    return (logprobs - reference_logprobs).masked_fill(~mask, 0.0).sum(-1)


def penalised_scores(scores: Tensor, complete: Tensor, *, missing_stop_penalty: float) -> Tensor:
    """The score of each answer, replaced by a fixed one where the answer did not end by itself or is empty.

    scores    (B,)  of the reward model
    complete  (B,)  True where the answer ended by itself and has text (`endings.is_complete`)
    returns   (B,)

    The fixed score replaces the reward model's instead of being added to it (lm-human-preferences, lm_tasks.py:58-65):
    half a sentence has no score worth keeping.
    """
    return torch.where(complete, scores, torch.full_like(scores, missing_stop_penalty))


def token_rewards(
    logprobs: Tensor, reference_logprobs: Tensor, scores: Tensor, mask: Tensor, *, kl_coefficient: float
) -> Tensor:
    """What each token is paid (lm-human-preferences, train_policy.py:149-154).

        r_t = -beta (log pi(a_t) - log pi_ref(a_t))  +  [t is the last real token] score

    logprobs, reference_logprobs  (B, T)
    scores                        (B,)  of the whole answers
    kl_coefficient                beta, reward per nat
    returns                       (B, T); a row sums to its score - beta KL
    """
    rewards = -kl_coefficient * (logprobs - reference_logprobs).masked_fill(~mask, 0.0)
    lengths = mask.sum(-1)
    assert bool((lengths > 0).all()), "an answer has no token to pay; the end-of-sequence token counts as one"
    last = torch.arange(mask.shape[1], device=mask.device) == (lengths - 1).unsqueeze(-1)
    return rewards + torch.where(last, scores.unsqueeze(-1), torch.zeros_like(rewards))


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, discount: float, gae_lambda: float
) -> Tensor:
    """How much better each token turned out than the value model had expected (Eq. 16 of Schulman et al. 2016).

        A_t = sum_{l >= 0} (gamma lambda)^l delta_{t+l},   delta_t = r_t + gamma V(s_{t+1}) - V(s_t)

    rewards     (B, T)
    values      (B, T)  V(s_t), the value before token t is chosen
    discount    gamma; 1 because an answer is judged as a whole
    gae_lambda  lambda; 1 gives return - V, 0 gives delta alone
    returns     (B, T)  A_t; the return to fit the value to is A_t + V(s_t)

    An answer ends at its last real token, complete or cut off: the value after it is 0.
    """
    values = values.masked_fill(~mask, 0.0)
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = (rewards + discount * next_values - values).masked_fill(~mask, 0.0)
    steps = torch.arange(mask.shape[1], device=mask.device)
    ahead = steps.unsqueeze(1) - steps.unsqueeze(0)  # (T, T): how far the row's token lies after the column's
    weights = torch.where(ahead >= 0, (discount * gae_lambda) ** ahead.clamp(min=0).to(deltas.dtype), 0.0)
    return (deltas @ weights).masked_fill(~mask, 0.0)


def whiten(values: Tensor, mask: Tensor, *, keep_mean: bool = False) -> Tensor:
    """Values (B, T) with standard deviation 1 over real tokens, and mean 0 unless `keep_mean`.

    Advantages are whitened to mean 0; rewards keep their mean, which says whether answers are good
    (lm-human-preferences, core.py:336-341).  The variance is that of the population; eps 1e-8 under the root.
    """
    mean = mean_over_tokens(values, mask)
    variance = mean_over_tokens((values - mean) ** 2, mask)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8) + (mean if keep_mean else 0.0)
    return whitened.masked_fill(~mask, 0.0)


def probability_ratios(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """pi(a_t) / pi_old(a_t), (B, T); 1 before the first update, and 1 at padding."""
    return (logprobs - old_logprobs).masked_fill(~mask, 0.0).exp()


def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, *, clip: float) -> Tensor:
    """The clipped surrogate, to be minimised (Eq. 7 of Schulman et al. 2017 with its sign turned).

        loss_t = max(-rho_t A_t, -clamp(rho_t, 1 - eps, 1 + eps) A_t),   rho_t = pi(a_t) / pi_old(a_t)

    logprobs      (B, T)  of the policy that is being changed; has a gradient
    old_logprobs  (B, T)  of the policy that sampled
    advantages    (B, T)  A_t
    clip          eps
    returns       (B, T)
    """
    ratios = probability_ratios(logprobs, old_logprobs, mask)
    losses = torch.maximum(-ratios * advantages, -ratios.clamp(1 - clip, 1 + clip) * advantages)
    return losses.masked_fill(~mask, 0.0)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, clip: float) -> Tensor:
    """Half the squared error of the value, or of the value held within eps of its old one if that is the larger.

        loss_t = 1/2 max((V - R)^2, (clamp(V, V_old - eps, V_old + eps) - R)^2)

    values      (B, T)  V, of the model that is being changed; has a gradient
    old_values  (B, T)  V_old, when the answers were sampled
    returns     (B, T)  R = A + V_old
    clip        eps, in units of reward
    returns     (B, T)
    """
    held = torch.minimum(torch.maximum(values, old_values - clip), old_values + clip)
    losses = 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)
    return losses.masked_fill(~mask, 0.0)


def clipped(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor, *, clip: float) -> Tensor:
    """1.0 at real tokens whose ratio has left [1 - eps, 1 + eps], else 0.0; (B, T)."""
    ratios = probability_ratios(logprobs, old_logprobs, mask)
    return ((ratios - 1).abs() > clip).to(ratios.dtype)


def squared_log_ratios(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Half the squared log ratio, (B, T): its mean approximates the KL between the policy and the one that sampled."""
    return 0.5 * (logprobs - old_logprobs).masked_fill(~mask, 0.0) ** 2


def next_kl_coefficient(kl_coefficient: float, kl: float, *, target: float, horizon: float, answers: int) -> float:
    """The coefficient for the next step, so that the KL per answer comes to `target` nats.

        beta <- beta (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon)

    answers is n, the number of answers in the step; horizon is in answers (Ziegler et al. 2019, Eq. 4; target 6,
    horizon 10 000 there).  At the target, and only there, nothing changes.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return kl_coefficient * (1.0 + error * answers / horizon)


def learning_rate_factor(step: int, *, steps: int, warmup_steps: int, schedule: Literal["constant", "linear"]) -> float:
    """What the learning rate is multiplied with in step 1, 2, ..., `steps`.

    Warm-up goes from 1/10 to 1 in `warmup_steps` steps (InstructGPT, App. C); then it stays, or falls linearly so that
    it would be 0 one step after the last.
    """
    if step <= warmup_steps:
        return 0.1 + 0.9 * (step - 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    return (steps - step + 1) / (steps - warmup_steps)
