"""A step of DITTO's training: texts as tokens, what a model thinks of them, batches over processes, the optimiser."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.dialogue import encoding, endings
from synthalign.dialogue.encoding import Encoded
from synthalign.ditto import draws
from synthalign.ditto.authors import Demonstration
from synthalign.ditto.draws import Text
from synthalign.generation import models
from synthalign.policies import checkpoints
from synthalign.reward import training

T = TypeVar("T")


def tokenized(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], texts: Sequence[Text]) -> list[Encoded]:
    """Prompt and answer as tokens: demonstrations and samples by this one function, so that no blank tells them apart.

    A sample has the end-of-sequence token where its policy wrote one, whether it is chosen or rejected: one that was
    cut off or ran into another turn has none. Of an empty one that token is all there is.
    """
    dialogues = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": text.text}]
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    return encoding.encode(tokenizer, dialogues, [endings.has_end(text.finish_reason) for text in texts])


def sequence_logprobs(model: nn.Module, rows: Sequence[Encoded], *, pad: int, device: torch.device) -> Tensor:
    """(B,) float32: the sum of the log-probabilities of each answer's tokens, given its prompt; no length enters."""
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), longest), pad)
    is_target = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        is_target[row, len(prompt) : len(prompt) + len(answer)] = True
    lengths = torch.tensor([[len(prompt) + len(answer)] for prompt, answer in rows])
    attends = (torch.arange(longest) < lengths).long()
    ids, is_target, attends = ids.to(device), is_target.to(device), attends.to(device)
    logits = model(input_ids=ids, attention_mask=attends, use_cache=False).logits[:, :-1].float()
    values = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]  # (B, S - 1)
    return (values * is_target[:, 1:]).sum(-1)


def check_lengths(
    demonstrations: Sequence[Demonstration],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    *,
    max_new_tokens: int,
    file: str,
) -> None:
    """UserError when a demonstration does not fit: cut off, it would teach the policy to stop in mid-sentence."""
    texts = [draws.demonstrated(one) for one in demonstrations]
    context = models.context_of(model)
    for row, (prompt, answer) in enumerate(tokenized(tokenizer, [one.prompt for one in demonstrations], texts), 1):
        if len(answer) > max_new_tokens:
            raise UserError(
                f"{file}, demonstration {row}: its output has {len(answer)} tokens, but samples may have "
                f"max_new_tokens = {max_new_tokens} and would all be cut off before; raise it, or shorten the output"
            )
        if context is not None and len(prompt) + max_new_tokens > context:
            raise UserError(
                f"{file}, demonstration {row}: a prompt of {len(prompt)} tokens and max_new_tokens = {max_new_tokens} "
                f"do not fit the model's context of {context}; shorten the prompt"
            )


# -- what both kinds of training share --------------------------------------------------------------------------------


def share(accelerator: Accelerator, items: Sequence[T]) -> tuple[Sequence[T], float]:
    """This process's part of a batch and 1; or, as every process must take part in the exchange of gradients, any item
    and 0 where there are fewer items than processes."""
    mine = items[accelerator.process_index :: accelerator.num_processes]
    return (mine, 1.0) if mine else (items[:1], 0.0)


def pieces(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def prepare(
    accelerator: Accelerator, model: PreTrainedModel, *, weight_decay: float
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The model, without dropout, and AdamW, ready for all processes; UserError where accelerate would shard models.

    Trained are the parameters that ask for a gradient: all, or the adapter alone.
    """
    checkpoints.take_over(accelerator)
    training.recomputing(training.without_dropout(model))
    weights = checkpoints.trained(model).values()
    optimizer = checkpoints.adamw(weights, accelerator.device, weight_decay=weight_decay)
    prepared: tuple[nn.Module, torch.optim.Optimizer] = accelerator.prepare(model, optimizer)
    return prepared


def take_step(
    accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer, *, rate: float, loss: float
) -> None:
    """One step with gradients clipped at norm 1; UserError when loss or gradient is not finite."""
    norm = float(accelerator.clip_grad_norm_(model.parameters(), 1.0))
    if not math.isfinite(norm) or not math.isfinite(loss):
        raise UserError(f"the loss is {loss} and its gradient has norm {norm}; try a smaller learning_rate")
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()


def put(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give the model these weights by name."""
    own = dict(model.named_parameters())
    for name, weight in weights.items():
        own[name].data.copy_(weight.data)


def fingerprint(model: PreTrainedModel) -> str:
    """Sixteen hex characters of the weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
