"""What PPO samples in a step, and the models that read it: policy, reference, value and reward model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.generation.models import beside, free_cores
from synthalign.policies import ppo
from synthalign.policies.answering import Answer, my_share, scored, written
from synthalign.policies.batching import Batch, alike, by_answer, collate, state_logits
from synthalign.policies.prompting import Prompt
from synthalign.reward import scoring

Row = dict[str, Any]


@dataclass(frozen=True)
class Rollout(Answer):
    """An answer of T tokens, and what the models thought of it when it was sampled; its KL is under training's."""

    logprobs: Tensor
    """(T,) of the policy that sampled it, by the forward pass that training uses."""
    reference_logprobs: Tensor
    """(T,) of the policy before all training."""
    values: Tensor
    """(T,) before each token is chosen."""
    entropy: float
    """Of the policy, mean over the T tokens, in nats."""


class ValueModel(nn.Module):
    """A reward model that is read at every token: how the answer will score, judged by its beginning.

    At first its value at the last token of a text is the reward model's score of the text; of a linear probe's answer
    the mean of the values is.  It has its own parameters: a value network that is still wrong cannot wreck the policy
    (Stiennon et al. 2020, App. G.1).
    """

    def __init__(self, reward_model: PreTrainedModel) -> None:
        super().__init__()
        self.reward_model = reward_model

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids (B, S), padded on the right -> values (B, S)."""
        return scoring.token_values(self.reward_model, input_ids)


class Reading(NamedTuple):
    """What policy and value model make of a batch, (B, T) each, 0 at padding."""

    logprobs: Tensor
    values: Tensor
    entropies: Tensor | None
    """When asked for."""
    ptx_loss: Tensor
    """Sum of the negative log-likelihood of the pre-training tokens; a scalar."""


Side = Literal["both", "policy", "value"]


class PolicyAndValue(nn.Module):
    """The two models that are trained, in one module, so that a step is one forward and one backward pass.

    They share nothing, so either side can be read by itself: what is not asked for is zero.
    """

    def __init__(self, policy: PreTrainedModel, value: ValueModel, *, temperature: float) -> None:
        super().__init__()
        self.policy = policy
        self.value = value
        self.temperature = temperature

    def forward(
        self, batch: Batch, ptx: Batch | None = None, *, side: Side = "both", with_entropies: bool = False
    ) -> Reading:
        logprobs = values = torch.zeros(batch.mask.shape, device=batch.mask.device)
        ptx_loss, entropies = torch.zeros((), device=batch.mask.device), None
        if side != "value":
            every = ppo.log_probabilities(state_logits(self.policy, batch), temperature=self.temperature)
            logprobs = by_answer(ppo.of_tokens(every, batch.chosen), batch.mask)
            if with_entropies:
                entropies = by_answer(ppo.entropies(every.detach()), batch.mask)
            if ptx is not None:
                ptx_loss = -ppo.token_logprobs(state_logits(self.policy, ptx), ptx.chosen).sum()
        if side != "policy":
            values = by_answer(self.value(batch.input_ids)[batch.states], batch.mask)
        return Reading(logprobs, values, entropies, ptx_loss)


@torch.no_grad()
def sample_rollouts(
    accelerator: Accelerator,
    models: PolicyAndValue,
    reference: PreTrainedModel,
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    row_ids: Sequence[str],
    *,
    seed: int,
    max_new_tokens: int,
    device_batch_size: int,
    learned: bool = True,
) -> list[Rollout]:
    """One answer of the policy to each prompt, scored and read; on every process, in the order of the prompts.

    learned  whether they are to be learned from: else nobody reads their values, 0, and entropies, which are none

    Each process answers a contiguous share of the prompts. UserError when the reward model gives no finite score.
    """
    mine = my_share(accelerator, len(prompts))
    prompts, row_ids = prompts[mine], row_ids[mine]
    generations = written(
        models.policy,
        tokenizer,
        prompts,
        row_ids,
        seed=seed,
        temperature=models.temperature,
        max_new_tokens=max_new_tokens,
        device_batch_size=device_batch_size,
    )
    rewards = scored(reward_model, tokenizer, prompts, generations, device_batch_size=device_batch_size)
    rollouts: dict[int, Rollout] = {}

    def read(group: list[int]) -> None:
        batch = collate(
            [prompts[place].token_ids for place in group],
            [generations[place].token_ids for place in group],
            pad=tokenizer.pad_token_id,
            device=accelerator.device,
        )
        with torch.no_grad(), accelerator.autocast():  # as in training, so that the reference differs by weights
            reading = models(batch, side="both" if learned else "policy", with_entropies=learned)
            reference_logprobs = by_answer(
                ppo.token_logprobs(state_logits(reference, batch), batch.chosen, temperature=models.temperature),
                batch.mask,
            )
        for row, place in enumerate(group):
            one = generations[place]
            length = len(one.token_ids)
            ours, theirs = (of[row, :length].cpu().clone() for of in (reading.logprobs, reference_logprobs))
            rollouts[place] = Rollout(
                prompt=prompts[place],
                text=one.text,
                token_ids=one.token_ids,
                finish_reason=one.finish_reason,
                reward=rewards[place],
                kl=float((ours - theirs).sum()),
                logprobs=ours,
                reference_logprobs=theirs,
                values=reading.values[row, :length].cpu().clone(),
                entropy=math.nan if reading.entropies is None else float(reading.entropies[row, :length].mean()),
            )

    lengths = [len(prompt.token_ids) + len(one.token_ids) for prompt, one in zip(prompts, generations, strict=True)]
    with beside(free_cores(accelerator.device)) as threads:
        list(threads.map(read, reversed(alike(lengths, device_batch_size))))  # the longest first: all end together
    gathered: list[Rollout] = gather_object([rollouts[place] for place in range(len(prompts))])
    return gathered
