"""RRHF (Yuan et al. 2023): teach a policy to find better answers likelier, and to write the best; ours, on accelerate.

One loop serves the paper's variants. In each round answers are collected, ranked by their rewards, and learned from:
offline is one round (of answers that someone else wrote, of the first policy's own, or of both), iterated is a few
rounds over all queries, online is many short ones. One optimizer goes through all of them.

What is random depends on (seed, round, step) alone, so that a run that was killed goes on from its checkpoint to the
same end; denominators are those of the whole batch, so that the number of processes is no part of the result.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.core.stage import progress
from synthalign.generation import attention
from synthalign.generation.models import free_cores
from synthalign.policies import (
    answering,
    batching,
    beams,
    checkpoints,
    gradients,
    one_base,
    ppo,
    prompting,
    reading,
    rrhf,
    rrhf_sources,
)
from synthalign.policies.answering import Answer, Row
from synthalign.policies.prompting import Prompt
from synthalign.policies.rrhf_settings import Settings, Variant
from synthalign.policies.rrhf_sources import Others, Query
from synthalign.reward import packing, training


@dataclass
class State:
    """All that a run has come to after a step, besides the weights and the optimizer."""

    step: int = 0
    log: list[Row] = field(default_factory=list)
    curve: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)
    """Rows of `rrhf_sources.SAMPLES` of all rounds so far."""
    queries: list[Query] = field(default_factory=list)
    """Of the round that the step belongs to."""
    without_target: int = 0
    """Queries, of all rounds so far, that none of their responses ended: nothing of them is fine-tuned on."""


def ranked(answer: Answer, *, missing_stop_penalty: float, kl_coefficient: float) -> float:
    """The reward that ranks one of the policy's own answers: the score, or the penalty in its place, less the KL."""
    score = answer.reward if answer.is_complete else missing_stop_penalty
    return score - kl_coefficient * answer.kl


def packed(queries: Sequence[Query], size: int, *, together: int) -> list[list[Query]]:
    """The queries in batches of about `size` responses (one query may have more) and of rows of like length.

    together  as `losses` has it
    """

    def width(query: Query) -> int:
        rows = (query.responses[piece] for piece in batching.pieces(len(query.responses), together))
        return len(query.prompt) + max(sum(map(len, row)) for row in rows)

    batches: list[list[Query]] = []
    room = 0
    for query in sorted(queries, key=width):
        room -= len(query.responses)
        if room < 0:
            batches.append([])
            room = size - len(query.responses)
        batches[-1].append(query)
    return batches


def losses(
    model: nn.Module, queries: Sequence[Query], *, pad: int, device: torch.device, dtype: torch.dtype, together: int
) -> tuple[torch.Tensor, ...]:
    """Of some queries the sums of L_rank and of L_ft, how many pairs are in the wrong order, and how many have one.

    dtype     of the policy's weights
    together  so many responses at most are read behind one copy of their prompt
    """
    rows = [
        (tuple(query.prompt), tuple(map(tuple, query.responses[piece])))
        for query in queries
        for piece in batching.pieces(len(query.responses), together)
    ]
    lengths = torch.tensor([[len(response)] for query in queries for response in query.responses])
    mask = (torch.arange(int(lengths.max())) < lengths).to(device)
    ranks = [sorted(query.rewards).index(reward) for query in queries for reward in query.rewards]  # no scale to round
    rewards = torch.tensor(ranks, device=device)
    owner = torch.tensor([place for place, query in enumerate(queries) for _ in query.responses], device=device)
    whole = torch.tensor([ended for query in queries for ended in query.whole], device=device)
    of_tokens = reading.token_logprobs(model, rows, pad=pad, device=device, dtype=dtype)
    logprobs = batching.by_answer(of_tokens, mask)
    scores = rrhf.mean_logprobs(logprobs, mask)
    rank = rrhf.rank_loss(scores, rewards, owner, whole).sum()
    best = rrhf.is_best(rewards, owner, whole)
    apart = rrhf.has_better(rewards, owner, whole)
    wrong = (apart & (scores[:, None] > scores[None, :])).sum()
    return rank, rrhf.fine_tuning_loss(logprobs, mask, best).sum(), wrong, apart.sum()


def learn(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    queries: Sequence[Query],
    *,
    pad: int,
    rank_weight: float,
    max_gradient_norm: float,
    device_batch_size: int,
) -> Row:
    """Change the policy by one batch of queries: loss = mean over queries of (rank_weight L_rank + L_ft).

    Each process takes its contiguous share. UserError when the gradient is not finite.
    """
    size = len(queries) // accelerator.num_processes
    mine = queries[accelerator.process_index * size : (accelerator.process_index + 1) * size]
    policy = accelerator.unwrap_model(model)
    longest = max(len(query.prompt) + len(response) for query in mine for response in query.responses)
    together = packing.ANSWERS if attention.shares_rows(policy, longest) else 1
    sums = torch.zeros(4, device=accelerator.device)
    optimizer.zero_grad()
    # At least two groups, whatever the machine: so two threads have one each, and less is padded.
    most = min(device_batch_size, math.ceil(sum(len(query.responses) for query in mine) / 2))
    groups = packed(mine, most, together=together)

    def loss_of(group: Sequence[Query]) -> tuple[torch.Tensor, torch.Tensor]:
        rank, tuning, wrong, apart = losses(
            model, group, pad=pad, device=accelerator.device, dtype=policy.dtype, together=together
        )
        loss = (rank_weight * rank + tuning) / len(queries)
        return loss, torch.stack([rank, tuning, wrong, apart]).detach()

    threads = free_cores(accelerator.device)
    if accelerator.num_processes == 1 and threads > 1 and len(groups) > 1:
        learns = list(checkpoints.trained(model).values())
        parts = [gradients.Part(learns, partial(loss_of, group)) for group in groups]
        for one in gradients.add_gradients(parts, threads=threads):
            sums += one
    else:
        for index, group in enumerate(groups):
            with nullcontext() if index == len(groups) - 1 else accelerator.no_sync(model):
                loss, one = loss_of(group)
                # Gradients are averaged over processes, and the denominator above is that of the whole batch.
                accelerator.backward(loss * accelerator.num_processes)
            sums += one
    norm = float(accelerator.clip_grad_norm_(model.parameters(), max_gradient_norm))
    if not math.isfinite(norm):
        raise UserError(f"the gradient of the policy has norm {norm}; lower learning_rate of train_rrhf")
    optimizer.step()
    rank, tuning, wrong, apart = accelerator.reduce(sums, "sum").tolist()
    return {
        "rank_loss": rank / len(queries),
        "fine_tuning_loss": tuning / len(queries),
        "pairs_in_order": 1 - wrong / apart if apart else 1.0,
    }


def train(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Settings,
    variant: Variant,
    *,
    prompts: Sequence[Prompt],
    questions: Sequence[Prompt],
    given: Sequence[Query] | None,
    folder: Path,
    others: Mapping[str, Others] | None = None,
    report: Callable[[Row], None] | None = None,
) -> State:
    """Train `policy` in place; the state that it returns has the log, the snapshots and the samples.

    What of the policy asks for a gradient is trained: all weights, or an adapter that was put on it.

    prompts, questions  whom to answer and learn from; what to answer, never to train on, at every snapshot
    given               answers that others wrote, for every round; None lets the policy write its own
    folder              where checkpoints are kept, and gone on from if there are any
    others              answers that others wrote, by query, ranked beside the policy's own in every round; without KL
    report              called with every row of the log

    UserError when a batch does not divide among the processes, when accelerate would shard models, when no answer of a
    round ended, or when a score or a gradient is not finite.
    """
    checkpoints.take_over(accelerator)
    if settings.batch_size % accelerator.num_processes:
        raise UserError(
            f"params.yaml: train_rrhf.batch_size = {settings.batch_size} does not divide among "
            f"{accelerator.num_processes} processes; choose a multiple, or another num_processes in accelerate.yaml"
        )
    reference = one_base.reference_of(policy).to(accelerator.device)
    reward_model = reward_model.requires_grad_(False).eval().to(accelerator.device)
    policy.eval()  # no dropout
    training.recomputing(policy)
    optimizer = checkpoints.adamw(checkpoints.trained(policy).values(), accelerator.device, weight_decay=0.0)
    model, optimizer = accelerator.prepare(policy, optimizer)
    count = min(variant.queries or len(given or prompts), len(given or prompts))
    in_round = math.ceil(count * variant.epochs / settings.batch_size)  # the last batch is filled up from one more pass
    steps = variant.rounds * in_round

    def before() -> PreTrainedModel:
        """What KL is measured against: until the first step that is the policy, which then need not be read twice."""
        return reference if state.step else policy

    def say(
        of: Sequence[Prompt], row_ids: Sequence[Sequence[str]], temperatures: Sequence[float]
    ) -> list[list[Answer]]:
        return answering.answers(
            accelerator,
            policy,
            before(),
            reward_model,
            tokenizer,
            of,
            row_ids,
            seed=settings.seed,
            temperatures=temperatures,
            max_new_tokens=settings.max_new_tokens,
            device_batch_size=settings.device_batch_size,
        )

    def snapshot(step: int) -> list[Row]:
        ids = [f"question/{place}" for place in range(len(questions))]  # the same random numbers at every snapshot
        [found] = say(questions, [ids], [1.0])
        return answering.snapshot(step, found)

    def collect(number: int) -> tuple[list[Query], list[Row]]:
        """The queries of round 0, 1, ... and, where the policy answered them, rows of `rrhf_sources.SAMPLES`."""
        places = prompting.draw(len(given or prompts), 0, count, seed=settings.seed, name=f"queries of round {number}")
        if given is not None:
            return [given[place] for place in places], []
        asked = [prompts[place] for place in places]
        if settings.beams:
            said = beams.answers(
                accelerator,
                policy,
                before(),
                reward_model,
                tokenizer,
                asked,
                beams=settings.beams,
                max_new_tokens=settings.max_new_tokens,
                device_batch_size=settings.device_batch_size,
            )
        else:
            ids = [
                [f"round {number}/{sample}/{place}" for place in range(count)]
                for sample in range(len(settings.temperatures))
            ]
            said = say(asked, ids, settings.temperatures)
        answers = [list(of_one) for of_one in zip(*said, strict=True)]
        rank_rewards = [
            [
                ranked(
                    one,
                    missing_stop_penalty=settings.missing_stop_penalty,
                    kl_coefficient=variant.kl_coefficient,
                )
                for one in of_one
            ]
            for of_one in answers
        ]
        rows = [
            {
                "round": number,
                "query_id": one.prompt.query_id,
                "sample_index": sample,
                "text": one.text,
                "tokens": len(one.token_ids),
                "finish_reason": one.finish_reason,
                "reward": one.reward,
                "kl": one.kl,
                "rank_reward": rank_reward,
            }
            for of_one, rewards in zip(answers, rank_rewards, strict=True)
            for sample, (one, rank_reward) in enumerate(zip(of_one, rewards, strict=True))
        ]
        found = rrhf_sources.own(answers, rank_rewards)
        if others:
            beside = [others.get(prompt.query_id) for prompt in asked]
            found = rrhf_sources.joined(found, [one and one.query for one in beside])
            rows += [row | {"round": number} for one in beside if one for row in one.rows]
        return found, rows

    def improve_on(step: int) -> Row:
        number, place = divmod(step - 1, in_round)
        if place == 0:
            state.queries, rows = collect(number)
            state.samples += rows
            targets = sum(any(query.whole) for query in state.queries)
            state.without_target += len(state.queries) - targets
            if not targets:
                raise UserError(
                    f"round {number}: none of {len(state.queries)} queries has an answer that ends by itself, so there "
                    "is nothing to learn; start from a policy that was taught to end its answers, or raise "
                    "max_new_tokens of train_rrhf"
                )
        chosen = prompting.draw(
            count, place * settings.batch_size, settings.batch_size, seed=settings.seed, name=f"batches of {number}"
        )
        done = learn(
            accelerator,
            model,
            optimizer,
            [state.queries[one] for one in chosen],
            pad=tokenizer.pad_token_id,
            rank_weight=variant.rank_weight,
            max_gradient_norm=settings.max_gradient_norm,
            device_batch_size=settings.device_batch_size,
        )
        return {"step": step, "round": number, **done}

    found = checkpoints.load(folder, policy, optimizer)
    state = State() if found is None else State(**found | {"queries": [Query(*query) for query in found["queries"]]})
    if found is None:
        state.curve += snapshot(0)
    remaining = range(state.step + 1, steps + 1)
    for step in progress(remaining, total=len(remaining), desc="train_rrhf", unit="step"):
        factor = ppo.learning_rate_factor(
            step, steps=steps, warmup_steps=min(settings.warmup_steps, steps - 1), schedule="linear"
        )
        optimizer.param_groups[0]["lr"] = variant.learning_rate * factor
        try:
            row = improve_on(step)
            state.step = step
            state.log.append(row)
            if step == steps or (settings.snapshot_every and step % settings.snapshot_every == 0):
                state.curve += snapshot(step)
        except UserError as error:
            raise UserError(f"step {step} of {steps}: {error}") from error
        if accelerator.is_main_process and step % settings.checkpoint_every == 0 and step < steps:
            checkpoints.save(folder, step, policy, optimizer, vars(state))
        if report is not None:
            report(row)
    return state


def sample_rewards(rows: Sequence[Row]) -> dict[str, float]:
    """What a query's responses are worth: mean, deviation and best, means over queries (Table 4 of the paper)."""
    by_query: dict[tuple[int, str], list[float]] = {}
    for row in rows:
        by_query.setdefault((row.get("round", 0), row["query_id"]), []).append(row["reward"])
    groups: list[list[float]] = list(by_query.values())
    return {
        "mean": fmean(map(fmean, groups)),
        "deviation": fmean(map(pstdev, groups)),
        "best": fmean(map(max, groups)),
    }


Report = dict[str, Any]


def summary(state: State, samples: Sequence[Row]) -> Report:
    """For the metrics file: the first and the last snapshot, and what the policy learned from, by round."""
    steps = sorted({row["step"] for row in state.curve})
    ends = {
        name: [row for row in state.curve if row["step"] == step]
        for name, step in (("before", steps[0]), ("after", steps[-1]))
    }
    rounds = sorted({row["round"] for row in samples})
    first, last = ([row for row in samples if row["round"] == number] for number in (rounds[0], rounds[-1]))
    return {
        **{
            name: answering.average(rows) | {"reward_deviation": pstdev([row["reward"] for row in rows])}
            for name, rows in ends.items()
        },
        "samples": {"first_round": sample_rewards(first), "last_round": sample_rewards(last)},
        "first": {name: state.log[0][name] for name in ("rank_loss", "fine_tuning_loss", "pairs_in_order")},
        "last": {name: state.log[-1][name] for name in ("rank_loss", "fine_tuning_loss", "pairs_in_order")},
    }
