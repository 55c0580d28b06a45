"""DITTO (Shaikh et al. 2024): fine-tune on a few demonstrations, then prefer them to the policy's own samples.

    SFT until the batch loss falls below a threshold (`fine_tuning`); that model is the frozen reference, pi_0, and the
    first policy
    for t = 0, 1, …:
        D_t = M samples of the policy for every demonstration
        K steps of DPO on pairs drawn from demonstrations, D_t and D_0 … D_{t-1}  (`draws.pools`, `draws.draw`)

The reference is a second copy of what is trained, of all weights or of an adapter, that reads every text once; its
log-probabilities are kept.  What is random depends on (seed, iteration or step, row) alone, so that a run that was
killed goes on from its last iteration to the same end.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.dialogue import chat
from synthalign.dialogue.encoding import Encoded
from synthalign.ditto import draws
from synthalign.ditto.authors import Demonstration
from synthalign.ditto.draws import Fractions, Pair, Text
from synthalign.ditto.outcome import Learned, order_of, row_of
from synthalign.ditto.steps import fingerprint, pieces, prepare, put, sequence_logprobs, share, take_step, tokenized
from synthalign.generation import parallel
from synthalign.generation.generate import generate
from synthalign.policies import checkpoints, one_base
from synthalign.reward import losses

Log = list[dict[str, float]]
Reference = Literal["first", "previous"]


@dataclass
class State:
    """What a run has come to after some whole iterations, besides the weights and the optimizer."""

    iteration: int = 0
    policies: list[str] = field(default_factory=list)
    """`fingerprint` of the policy that wrote D_0, D_1, …"""

    log: Log = field(default_factory=list)


def improve(
    accelerator: Accelerator,
    model: nn.Module,
    pairs: Sequence[Pair],
    rows: Mapping[str, Encoded],
    reference: Mapping[str, float],
    *,
    beta: float,
    pad: int,
    device_batch_size: int,
) -> dict[str, float]:
    """Add the gradients of one batch of pairs, and return what the log says of it.

        loss = -log sigmoid( beta * [log pi(y_w|x) - log pi_0(y_w|x) - log pi(y_l|x) + log pi_0(y_l|x)] ), mean of pairs

    rows, reference  tokens, and log-probability under the reference, of each text by its id
    """
    mine, weight = share(accelerator, pairs)
    sums = torch.zeros(3, device=accelerator.device)
    groups = pieces(mine, device_batch_size)
    for index, group in enumerate(groups):
        ids = list(dict.fromkeys(text.text_id for pair in group for text in (pair.chosen, pair.rejected)))
        place = {text_id: at for at, text_id in enumerate(ids)}  # a demonstration stands in many pairs, read once
        with nullcontext() if index == len(groups) - 1 else accelerator.no_sync(model):
            values = sequence_logprobs(model, [rows[name] for name in ids], pad=pad, device=accelerator.device)
            rewards = beta * (values - torch.tensor([reference[name] for name in ids], device=accelerator.device))
            chosen, rejected = (
                rewards[[place[getattr(pair, side).text_id] for pair in group]] for side in ("chosen", "rejected")
            )
            loss = losses.pairwise_loss(chosen, rejected, torch.ones_like(chosen)).sum() * weight / len(pairs)
            accelerator.backward(loss * accelerator.num_processes)
        margin = (chosen - rejected).detach() * weight
        sums += torch.stack([loss.detach(), (margin > 0).sum() / len(pairs), margin.sum() / len(pairs)])
    loss_sum, accuracy, margin_sum = accelerator.reduce(sums, "sum").tolist()
    return {"loss": loss_sum, "accuracy": accuracy, "margin": margin_sum}


@torch.no_grad()
def read(
    accelerator: Accelerator,
    model: nn.Module,
    rows: Mapping[str, Encoded],
    *,
    pad: int,
    device_batch_size: int,
) -> dict[str, float]:
    """The log-probability of each text by its id, on every process."""
    mine = list(rows)[accelerator.process_index :: accelerator.num_processes]
    found: dict[str, float] = {}
    for group in pieces(mine, device_batch_size):
        with accelerator.autocast():
            values = sequence_logprobs(model, [rows[name] for name in group], pad=pad, device=accelerator.device)
        found |= dict(zip(group, values.tolist(), strict=True))
    return parallel.gathered(found)


def align(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    *,
    folder: Path,
    iterations: int,
    steps_per_iteration: int,
    negatives: int,
    pairs_per_demonstration: int,
    fractions: Fractions,
    reference: Reference,
    beta: float,
    learning_rate: float,
    warmup: float,
    weight_decay: float,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    device_batch_size: int,
    seed: int,
    on_iteration: Callable[[int, PreTrainedModel], None] | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
) -> Learned:
    """Train the fine-tuned `policy` in place on its demonstrations against its own samples.

    Trained are the parameters that ask for a gradient: all, or those of an adapter that was put on it.

    folder                   scratch folder of exactly these inputs, for checkpoints and samples; gone on from
    iterations               sets of samples, each followed by `steps_per_iteration` steps (the paper: 4 times 10)
    negatives                M, samples for every demonstration and set (the paper: 10)
    pairs_per_demonstration  pairs of a batch for every demonstration; all are in every batch (the paper: 3)
    reference                what the implicit reward is measured against: `first`, the policy as it comes in, frozen;
                             or `previous`, the policy at the start of the iteration, as in SPIN (Chen et al. 2024)
    warmup                   share of all steps in which the rate rises; after them it is constant
    on_iteration             told the number of finished iterations and the policy
    report                   called with every row of the log

    UserError when a loss is not finite or the processes disagree on the checkpoint.
    """
    frozen = one_base.beside(policy, own=checkpoints.trained(policy).values()).requires_grad_(False).eval()
    frozen.to(accelerator.device)  # type: ignore[arg-type]
    first = {}
    if reference == "previous":  # which does not stay pi_0
        first = {name: one.detach().to("cpu", copy=True) for name, one in checkpoints.trained(policy).items()}
    model, optimizer = prepare(accelerator, policy, weight_decay=weight_decay)
    state = State(**(checkpoints.load(folder, policy, optimizer) or {}))
    prompt_of = {one.demonstration_id: one.prompt for one in demonstrations}
    best = [draws.demonstrated(one) for one in demonstrations]
    rows = dict(zip((one.text_id for one in best), tokenized(tokenizer, list(prompt_of.values()), best), strict=True))
    values: dict[str, float] = {}
    sets: list[list[Text]] = []
    sampled: list[dict[str, Any]] = []
    learned: list[dict[str, Any]] = []
    settings = {"pad": tokenizer.pad_token_id, "device_batch_size": device_batch_size}

    def sample(iteration: int) -> None:
        """Add D_t: from the folder what was written before, by that policy, and the rest from the policy now."""
        written_by = state.policies[iteration]
        made = parallel.generated(
            partial(generate, policy, tokenizer),
            folder=folder,
            name=f"samples-{iteration}-{written_by}",
            prefix="",
            suffixes=[chat.prompt([{"role": "user", "content": prompt}]) for prompt in prompt_of.values()],
            row_ids=[f"{iteration}/{name}" for name in prompt_of],
            stops=chat.STOPS,
            samples=negatives,
            seed=seed,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
        )
        texts = []
        for name, prompt in prompt_of.items():
            for index, one in enumerate(made[f"{iteration}/{name}"]):
                said, finish_reason = chat.ended(one.text, one.finish_reason)
                text = draws.sampled(name, iteration, index, said, finish_reason=finish_reason)
                texts.append(text)
                sampled.append(
                    {
                        "sample_id": text.text_id,
                        "demonstration_id": name,
                        "iteration": iteration,
                        "sample_index": index,
                        "prompt": prompt,
                        "text": text.text,
                        "tokens": len(one.token_ids),
                        "finish_reason": finish_reason,
                        "policy": written_by,
                    }
                )
        sets.append(texts)
        encoded = tokenized(tokenizer, [prompt_of[text.demonstration_id] for text in texts], texts)
        rows.update(zip((text.text_id for text in texts), encoded, strict=True))

    pairs_of_a_step = pairs_per_demonstration * len(demonstrations)
    rise = round(warmup * iterations * steps_per_iteration)
    for iteration in range(iterations):
        is_done = iteration < state.iteration
        if len(state.policies) == iteration:
            state.policies.append(fingerprint(policy))
        sample(iteration)  # before the first step, so that it learns from the new samples
        found = draws.pools(best, sets)
        if iteration == iterations - 1:  # before the policy leaves what it wrote
            written = read(accelerator, policy, {text.text_id: rows[text.text_id] for text in sets[-1]}, **settings)
        if reference == "previous" and not is_done:
            put(frozen, checkpoints.trained(policy))
            values.clear()
        if reference == "first" or not is_done:  # set by set, so that a resumed run rounds as one that was not killed
            new = {name: row for name, row in rows.items() if name not in values}
            values |= read(accelerator, frozen, new, **settings)
        for step in range(iteration * steps_per_iteration + 1, (iteration + 1) * steps_per_iteration + 1):
            pairs = draws.draw(found, pairs_of_a_step, fractions, seed=seed, step=step)
            learned += [row_of(pair, prompt_of, iteration=iteration, step=step) for pair in pairs]
            if is_done:
                continue
            entry: dict[str, float] = {"step": step, "iteration": iteration, "pairs": len(pairs)}
            if pairs:  # none when every sample says what its demonstration says
                done = improve(accelerator, model, pairs, rows, values, beta=beta, **settings)
                rate = learning_rate * min(1.0, step / (rise + 1))
                take_step(accelerator, model, optimizer, rate=rate, loss=done["loss"])
                entry |= {name: round(value, 6) for name, value in done.items()}
            state.log.append(entry)
            if report is not None:
                report(entry)
        if not is_done:
            state.iteration = iteration + 1
            if accelerator.is_main_process and state.iteration < iterations:
                checkpoints.save(folder, state.iteration, policy, optimizer, vars(state))
            accelerator.wait_for_everyone()
            if on_iteration:
                on_iteration(state.iteration, policy)
    if reference == "previous":
        put(frozen, first)
        values = read(accelerator, frozen, rows, **settings)
    now = read(accelerator, policy, rows, **settings)
    rewards = {name: beta * (now[name] - values[name]) for name in rows}
    nats = fmean(written[name] - values[name] for name in written)
    return Learned(sampled, learned, state.log, order_of(demonstrations, sets, rewards, nats))
