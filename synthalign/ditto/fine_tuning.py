"""DITTO begins with SFT on the demonstrations until a batch loss is below a threshold; what comes of it is pi_0."""

import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from synthalign.core import durable
from synthalign.dialogue.encoding import Encoded
from synthalign.ditto import draws
from synthalign.ditto.authors import Demonstration
from synthalign.ditto.steps import check_lengths, pieces, prepare, sequence_logprobs, share, take_step, tokenized
from synthalign.generation import models
from synthalign.generation.adapters import Lora
from synthalign.policies import one_base
from synthalign.reward import training

Log = list[dict[str, float]]
LOG = "supervise.json"


def supervise(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    rows: Sequence[Encoded],
    *,
    pad: int,
    stop_loss: float,
    max_steps: int,
    batch_size: int,
    learning_rate: float,
    warmup: float,
    weight_decay: float,
    device_batch_size: int,
    seed: int,
) -> Log:
    """Fine-tune `policy` in place on the answers until a batch loss is below `stop_loss`, `max_steps` at most.

        loss = -sum_t log pi(y_t | x, y_<t) / tokens of the batch's answers

    The batch whose loss is below the threshold is the last of the log, and no step is taken on it: the policy that has
    that loss is kept.  (The paper's code looks one step later and takes two more.)  The rate rises over `warmup` of the
    steps and falls to 0 as a cosine over `max_steps`.
    """
    model, optimizer = prepare(accelerator, policy, weight_decay=weight_decay)
    epochs = math.ceil(max_steps * batch_size / len(rows))
    order = training.batch_order([len(p) + len(a) for p, a in rows], batch_size=batch_size, epochs=epochs, seed=seed)
    log: Log = []
    for step, places in enumerate(pieces(order, batch_size)[:max_steps], start=1):
        tokens = sum(len(rows[place][1]) for place in places)
        mine, weight = share(accelerator, places)
        total = torch.zeros((), device=accelerator.device)
        groups = pieces(mine, device_batch_size)
        for index, group in enumerate(groups):
            with nullcontext() if index == len(groups) - 1 else accelerator.no_sync(model):
                values = sequence_logprobs(model, [rows[place] for place in group], pad=pad, device=accelerator.device)
                loss = -values.sum() * weight / tokens
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        reached = float(accelerator.reduce(total, "sum"))
        log.append({"step": step, "loss": round(reached, 6)})
        if reached < stop_loss:
            break
        rise = round(warmup * max_steps)
        fall = (step - 1 - rise) / max(1, max_steps - rise)
        factor = step / (rise + 1) if step <= rise else (1 + math.cos(math.pi * fall)) / 2
        take_step(accelerator, model, optimizer, rate=learning_rate * factor, loss=reached)
    optimizer.zero_grad()
    return log


def supervised(
    accelerator: Accelerator,
    base_model: str | Path,
    demonstrations: Sequence[Demonstration],
    *,
    folder: Path,
    file: str,
    max_new_tokens: int,
    lora: Lora | None = None,
    **settings: Any,
) -> tuple[Path, Log]:
    """The folder of `base_model` after `supervise`, and the log; what `folder` has from an earlier run is taken.

    file            the demonstrations', for messages
    max_new_tokens  of the samples to come, see `check_lengths`
    lora            adapters in place of all weights: the folder then has them merged, or them alone, as they say
    """
    done = folder / "sft"
    if not done.exists() or durable.first_whole([done], last=LOG) is None:
        tokenizer = models.load_tokenizer(base_model)
        policy = models.load_causal(base_model, "training")
        check_lengths(demonstrations, tokenizer, policy, max_new_tokens=max_new_tokens, file=file)
        texts = [draws.demonstrated(one) for one in demonstrations]
        rows = tokenized(tokenizer, [one.prompt for one in demonstrations], texts)
        learner = one_base.learner(policy, lora, seed=settings["seed"])
        log = supervise(accelerator, policy, rows, pad=tokenizer.pad_token_id, **settings)
        if accelerator.is_main_process:
            partial_folder = folder / "sft.partial"
            one_base.save(learner, tokenizer, partial_folder, lora=lora, base=base_model)
            (partial_folder / LOG).write_text(json.dumps(log), encoding="utf-8")
            durable.put(partial_folder, done)
        accelerator.free_memory()
        accelerator.wait_for_everyone()
    return done, json.loads((done / LOG).read_text(encoding="utf-8"))


def supervised_summary(log: Log, stop_loss: float) -> dict[str, Any]:
    """What a run's metrics file says of the fine-tuning: the batch that ended it by its loss took no step."""
    last = log[-1]["loss"]
    return {"sft_steps": len(log) - (last < stop_loss), "sft_last_loss": last}
