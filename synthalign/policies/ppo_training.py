"""Proximal policy optimisation of a language model against a reward model, data-parallel with accelerate.

One step: the policy answers a batch of prompts; the reward model scores the answers; policy, reference and value model
read them; then the policy and the value model are improved on them, minibatch after minibatch.

Every process holds the whole batch of a step once it is sampled, so whitening and every denominator are global: neither
the number of processes nor the number of rows that go through a model at once is part of the result (up to rounding).
What is random depends on (seed, step) alone, so that a run that was killed goes on from its checkpoint to the same end.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.core.stage import progress
from synthalign.dialogue import endings
from synthalign.generation.models import free_cores
from synthalign.policies import answering, checkpoints, one_base, ppo
from synthalign.policies.answering import mean
from synthalign.policies.batching import alike, collate, pieces
from synthalign.policies.gradients import Part, add_gradients
from synthalign.policies.ppo_rollouts import PolicyAndValue, Reading, Rollout, Side, ValueModel, sample_rollouts
from synthalign.policies.ppo_settings import Settings
from synthalign.policies.prompting import Prompt, draw
from synthalign.reward import training

Row = dict[str, Any]


def check_division(*, minibatch: int, ptx_batch: int, processes: int) -> None:
    """UserError unless every process gets the same share of every update."""
    for key, value in (("minibatch", minibatch), ("ptx_batch", ptx_batch)):
        if value % processes:
            raise UserError(
                f"params.yaml: train_ppo.{key} = {value} does not divide among {processes} processes; "
                "choose a multiple, or another num_processes in accelerate.yaml"
            )


class Targets(NamedTuple):
    """What the update of a step aims at, (B, T) each, for the rollouts in their order."""

    mask: Tensor
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


def targets(
    rollouts: Sequence[Rollout],
    *,
    kl_coefficient: float,
    turn_ends: bool,
    missing_stop_penalty: float,
    whiten_rewards: bool,
    discount: float,
    gae_lambda: float,
) -> Targets:
    """Advantages and returns of a whole step's rollouts; no gradient flows through them."""
    padded = [
        nn.utils.rnn.pad_sequence([getattr(rollout, name) for rollout in rollouts], batch_first=True)
        for name in ("logprobs", "reference_logprobs", "values")
    ]
    logprobs, reference_logprobs, values = padded
    lengths = torch.tensor([[len(rollout.token_ids)] for rollout in rollouts])
    mask = torch.arange(logprobs.shape[1]) < lengths
    scores = torch.tensor([rollout.reward for rollout in rollouts])
    ended = [endings.is_complete(rollout.finish_reason, rollout.text, turn_ends=turn_ends) for rollout in rollouts]
    complete = torch.tensor(ended)
    scores = ppo.penalised_scores(scores, complete, missing_stop_penalty=missing_stop_penalty)
    rewards = ppo.token_rewards(logprobs, reference_logprobs, scores, mask, kl_coefficient=kl_coefficient)
    if whiten_rewards:
        rewards = ppo.whiten(rewards, mask, keep_mean=True)
    advantages = ppo.generalized_advantages(rewards, values, mask, discount=discount, gae_lambda=gae_lambda)
    return Targets(
        mask=mask,
        logprobs=logprobs,
        values=values,
        advantages=ppo.whiten(advantages, mask),
        returns=advantages + values,
    )


def improve(
    accelerator: Accelerator,
    models: nn.Module,
    optimizer: torch.optim.Optimizer,
    rollouts: Sequence[Rollout],
    aims: Targets,
    ptx: Sequence[list[int]],
    *,
    pad: int,
    clip: float,
    value_clip: float,
    ptx_coefficient: float,
    max_gradient_norm: float,
    device_batch_size: int,
) -> dict[str, float]:
    """Change both models by one minibatch, and return the sums over its tokens that the log is made of.

        loss = mean_t policy loss + mean_t value loss + gamma * mean_t ptx loss

    The models share no parameters and have gradients clipped apart, so the value loss needs no coefficient.
    `rollouts`, `aims` and `ptx` (texts as token ids) are the whole minibatch; each process takes its contiguous share.
    UserError when a gradient is not finite.
    """

    def share(count: int) -> slice:
        size = count // accelerator.num_processes
        return slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)

    tokens = int(aims.mask.sum())
    ptx_tokens = sum(len(text) - 1 for text in ptx)
    mine = share(len(rollouts))
    rollouts, aims, ptx = rollouts[mine], Targets(*(aim[mine] for aim in aims)), ptx[share(len(ptx))]
    groups = alike([len(one.prompt.token_ids) + len(one.token_ids) for one in rollouts], device_batch_size)
    optimizer.zero_grad()

    def loss_of(index: int, side: Side) -> tuple[Tensor, Tensor]:
        """The loss of a group under one or both models, and the sums of what is logged of it."""
        group = groups[index]
        batch = collate(
            [rollouts[place].prompt.token_ids for place in group],
            [rollouts[place].token_ids for place in group],
            pad=pad,
            device=accelerator.device,
        )
        longest = batch.mask.shape[1]
        _, old_logprobs, old_values, advantages, returns = (aim[group, :longest].to(accelerator.device) for aim in aims)
        texts = ptx[index :: len(groups)] if side != "value" else []
        ptx_batch = (
            collate([text[:1] for text in texts], [text[1:] for text in texts], pad=pad, device=accelerator.device)
            if texts
            else None
        )
        now: Reading = models(batch, ptx_batch, side=side)
        policy = value = clipped = squared = torch.zeros((), device=accelerator.device)
        if side != "value":
            policy = ppo.policy_loss(now.logprobs, old_logprobs, advantages, batch.mask, clip=clip).sum()
            logprobs = now.logprobs.detach()
            clipped = ppo.clipped(logprobs, old_logprobs, batch.mask, clip=clip).sum()
            squared = ppo.squared_log_ratios(logprobs, old_logprobs, batch.mask).sum()
        if side != "policy":
            value = ppo.value_loss(now.values, old_values, returns, batch.mask, clip=value_clip).sum()
        loss = (policy + value) / tokens + ptx_coefficient * now.ptx_loss / max(ptx_tokens, 1)
        return loss, torch.stack([policy, value, clipped, squared, now.ptx_loss]).detach()

    both = accelerator.unwrap_model(models)
    sums = torch.zeros(5, device=accelerator.device)
    if accelerator.num_processes == 1 and free_cores(accelerator.device) > 1:
        sides: tuple[tuple[Side, nn.Module], ...] = (("policy", both.policy), ("value", both.value))
        parts = [
            Part(list(checkpoints.trained(model).values()), partial(loss_of, index, side))
            for side, model in sides
            for index in range(len(groups))
        ]
        for one in add_gradients(parts, threads=free_cores(accelerator.device)):
            sums += one
    else:
        for index in range(len(groups)):
            with nullcontext() if index == len(groups) - 1 else accelerator.no_sync(models):
                loss, one = loss_of(index, "both")
                # Gradients are averaged over processes, and the denominators are those of the whole minibatch.
                accelerator.backward(loss * accelerator.num_processes)
            sums += one
    for name, part_model in (("policy", both.policy), ("value model", both.value)):
        norm = float(accelerator.clip_grad_norm_(part_model.parameters(), max_gradient_norm))
        if not math.isfinite(norm):
            raise UserError(
                f"the gradient of the {name} has norm {norm}; lower learning_rate or value_learning_rate of train_ppo, "
                "or raise its kl_coefficient"
            )
    optimizer.step()
    policy, value, clipped, squared, ptx_loss = accelerator.reduce(sums, "sum").tolist()
    return {
        "tokens": tokens,
        "policy_loss": policy,
        "value_loss": value,
        "clip_fraction": clipped,
        "approximate_kl": squared,
        "ptx_tokens": ptx_tokens,
        "ptx_loss": ptx_loss,
    }


@dataclass
class State:
    """All that a run has come to after a step, besides the weights and the optimizer."""

    step: int
    kl_coefficient: float
    log: list[Row]
    curve: list[Row]


def describe(rollouts: Sequence[Rollout], *, turn_ends: bool) -> Row:
    """What the log says about the answers of a step.

    missing_stop_share  without an end of sequence
    penalised_share     with the penalty in the place of their score: the same, but for another turn where it is an end
    """
    paid = [endings.is_complete(one.finish_reason, one.text, turn_ends=turn_ends) for one in rollouts]
    return {
        "reward": mean([rollout.reward for rollout in rollouts]),
        "kl": mean([rollout.kl for rollout in rollouts]),
        "entropy": mean([rollout.entropy for rollout in rollouts]),
        "tokens": mean([len(rollout.token_ids) for rollout in rollouts]),
        "missing_stop_share": mean([not rollout.is_complete for rollout in rollouts]),
        "penalised_share": mean([not one for one in paid]),
    }


def train(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Settings,
    *,
    prompts: Sequence[Prompt],
    questions: Sequence[Prompt],
    ptx_texts: Sequence[list[int]],
    folder: Path,
    report: Callable[[Row], None] | None = None,
) -> State:
    """Train `policy` in place for `settings.steps` steps; the state it returns has the log and the snapshots.

    policy, reward_model  what of the policy asks for a gradient is trained: all, or an adapter that was put on it; then
                          the value model is an adapter and a head on the reward model's weights

    prompts, questions  what to train on; what to answer, never to train on, at every snapshot
    ptx_texts           texts as token ids, of which `settings.ptx_batch` are read with every minibatch
    folder              where checkpoints are kept, and gone on from if there are any
    report              called with every row of the log

    UserError when a batch does not divide among the processes, when accelerate would shard models, or when a score or a
    gradient is not finite.
    """
    check_division(minibatch=settings.minibatch, ptx_batch=settings.ptx_batch, processes=accelerator.num_processes)
    checkpoints.take_over(accelerator)
    reference = one_base.reference_of(policy).to(accelerator.device)
    value = ValueModel(one_base.value_of(reward_model, settings.lora, seed=settings.seed))
    reward_model = reward_model.to(accelerator.device)
    both = PolicyAndValue(policy, value, temperature=settings.temperature).eval()  # no dropout
    optimizer = checkpoints.adamw(
        [{"params": list(checkpoints.trained(side).values())} for side in (policy, value)],
        accelerator.device,
        betas=(0.9, 0.95),  # InstructGPT, App. C
        eps=1e-5,  # with the usual 1e-8 the first steps are too long (Huang et al. 2024)
        weight_decay=0.0,
    )
    for changing in (policy, value.reward_model):
        training.recomputing(changing)
    models, optimizer = accelerator.prepare(both, optimizer)
    ptx = settings.ptx_coefficient > 0

    def sample(of: Sequence[Prompt], name: str, *, learned: bool = True) -> list[Rollout]:
        return sample_rollouts(
            accelerator,
            both,
            reference,
            reward_model,
            tokenizer,
            of,
            [f"{name}/{place}" for place in range(len(of))],
            seed=settings.seed,
            max_new_tokens=settings.max_new_tokens,
            device_batch_size=settings.device_batch_size,
            learned=learned,
        )

    def snapshot(step: int) -> list[Row]:  # the same random numbers at every snapshot
        return answering.snapshot(step, sample(questions, "question", learned=False))

    found = checkpoints.load(folder, both, optimizer)
    state = None if found is None else State(**found)
    if state is None:
        state = State(0, settings.kl_coefficient, [], [])
        state.curve += snapshot(0)

    def improve_on(step: int) -> Row:
        places = draw(
            len(prompts),
            (step - 1) * settings.rollout_batch,
            settings.rollout_batch,
            seed=settings.seed,
            name="prompts",
        )
        rollouts = sample([prompts[place] for place in places], f"step {step}")
        aims = targets(
            rollouts,
            kl_coefficient=state.kl_coefficient,
            turn_ends=settings.turn_ends,
            missing_stop_penalty=settings.missing_stop_penalty,
            whiten_rewards=settings.whiten_rewards,
            discount=settings.discount,
            gae_lambda=settings.gae_lambda,
        )
        order = draw(
            settings.rollout_batch,
            0,
            settings.epochs * settings.rollout_batch,
            seed=settings.seed,
            name=f"minibatches of step {step}",
        )
        minibatches = [order[piece] for piece in pieces(len(order), settings.minibatch)]
        ptx_start = (step - 1) * len(minibatches) * settings.ptx_batch
        ptx_places = (
            draw(len(ptx_texts), ptx_start, len(minibatches) * settings.ptx_batch, seed=settings.seed, name="ptx")
            if ptx
            else []
        )
        sums: dict[str, float] = {}
        for number, chosen in enumerate(minibatches):
            done = improve(
                accelerator,
                models,
                optimizer,
                [rollouts[place] for place in chosen],
                Targets(*(aim[chosen] for aim in aims)),
                [
                    ptx_texts[place]
                    for place in ptx_places[number * settings.ptx_batch : (number + 1) * settings.ptx_batch]
                ],
                pad=tokenizer.pad_token_id,
                clip=settings.clip,
                value_clip=settings.value_clip,
                ptx_coefficient=settings.ptx_coefficient,
                max_gradient_norm=settings.max_gradient_norm,
                device_batch_size=settings.device_batch_size,
            )
            sums = {name: sums.get(name, 0.0) + amount for name, amount in done.items()}
        row = {"step": step, **describe(rollouts, turn_ends=settings.turn_ends), "kl_coefficient": state.kl_coefficient}
        for name in ("policy_loss", "value_loss", "clip_fraction", "approximate_kl"):
            row[name] = sums[name] / sums["tokens"]
        return row | ({"ptx_loss": sums["ptx_loss"] / sums["ptx_tokens"]} if ptx else {})

    remaining = range(state.step + 1, settings.steps + 1)
    for step in progress(remaining, total=len(remaining), desc="train_ppo", unit="step"):
        factor = ppo.learning_rate_factor(
            step, steps=settings.steps, warmup_steps=settings.warmup_steps, schedule=settings.schedule
        )
        for group, rate in zip(
            optimizer.param_groups, (settings.learning_rate, settings.value_learning_rate), strict=True
        ):
            group["lr"] = rate * factor
        try:
            row = improve_on(step)
            state.step = step
            state.log.append(row)
            if step == settings.steps or (settings.snapshot_every and step % settings.snapshot_every == 0):
                state.curve += snapshot(step)
        except UserError as error:
            raise UserError(f"step {step} of {settings.steps}: {error}") from error
        if settings.kl_target is not None:
            state.kl_coefficient = ppo.next_kl_coefficient(
                state.kl_coefficient,
                row["kl"],
                target=settings.kl_target,
                horizon=settings.kl_horizon,
                answers=settings.rollout_batch,
            )
        if accelerator.is_main_process and step % settings.checkpoint_every == 0 and step < settings.steps:
            checkpoints.save(folder, step, both, optimizer, vars(state))
        if report is not None:
            report(row)
    return state
