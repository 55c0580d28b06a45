"""How probable a language model finds each of a few next tokens, such as the letters of two options.

The token of an option is found in context, by tokenizing prompt and option as one text.  A tokenizer has often one
token for "A" at the beginning of a word and another after a bracket; RLCD's released code encodes the letter by itself,
which with LLaMA's tokenizer gives, as far as we know, the one that does not come next.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core import hardware, measures
from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.generation import models
from synthalign.generation.shared_prefix import blocks


def resolve(tokenizer: PreTrainedTokenizerBase, prompt: str, options: Sequence[str]) -> tuple[list[int], list[int]]:
    """The tokens of a prompt, and the token that each option adds to it.

    UserError when an option is not one token there, changes the prompt's own tokens, or is the token of another option.
    """
    before, *wholes = encoding.tokenize(tokenizer, [prompt, *(prompt + option for option in options)])
    found = []
    for option, whole in zip(options, wholes, strict=True):
        added = whole[len(before) :]
        if whole[: len(before)] != before or len(added) != 1:
            raise UserError(
                f"the option {option!r} after {prompt[-20:]!r} is {len(added)} tokens, "
                f"{tokenizer.convert_ids_to_tokens(added)}; it has to be one, and to leave those of the prompt as they "
                "are: choose other `options`, or another end of the `template`"
            )
        found += added
    if len(set(found)) < len(options):
        raise UserError(
            f"the options {list(options)} are the tokens {tokenizer.convert_ids_to_tokens(found)}, which are not "
            "distinct; choose other `options`"
        )
    return before, found


def probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    options: Sequence[str],
    *,
    batch_size: int = 64,
) -> list[list[float]]:
    """The probability of each option as the next token of each prompt, of the options' together: (N, options).

    UserError as `resolve` says, when a prompt is longer than the model's context, and when a logit is not finite.
    """
    resolved = [resolve(tokenizer, prompt, options) for prompt in prompts]
    context = models.context_of(model)
    longest = max((len(tokens) for tokens, _ in resolved), default=0)
    if context is not None and longest > context:
        raise UserError(
            f"a prompt of the labeller has {longest} tokens, more than its context of {context}; sample shorter answers"
        )
    batch_size = hardware.read().device_rows.scoring or batch_size
    order = sorted(range(len(resolved)), key=lambda place: len(resolved[place][0]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    def read(places: Sequence[int]) -> Tensor:
        with torch.inference_mode():  # which belongs to a thread
            return _logits(model, [resolved[place] for place in places], tokenizer.pad_token_id)

    result: list[list[float]] = [[] for _ in prompts]
    with models.beside(models.free_cores(model.device)) as threads:
        for places, logits in zip(batches, threads.map(read, batches), strict=True):
            for place, row in zip(places, logits.double().softmax(-1).tolist(), strict=True):
                result[place] = row
    for prompt, row in zip(prompts, result, strict=True):
        for value in row:
            measures.check_score(model.name_or_path, value, f"the options {list(options)} after {prompt[-80:]!r}")
    return result


def _logits(model: PreTrainedModel, rows: Sequence[tuple[list[int], list[int]]], pad: int) -> Tensor:
    """The logits of each row's option tokens behind its prompt: (rows, options)."""
    width = blocks(max(len(tokens) for tokens, _ in rows))
    ids = torch.full((blocks(len(rows)), width), pad)
    mask = torch.zeros_like(ids)
    mask[:, 0] = 1  # rows that only fill the block read one token
    for line, (tokens, _) in enumerate(rows):
        ids[line, : len(tokens)] = torch.tensor(tokens)
        mask[line, : len(tokens)] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    is_last = torch.arange(width, device=ids.device) == mask.sum(-1, keepdim=True) - 1  # (B, T)
    # By the whole model, as some scale or cap what the output embeddings give: (B, V), and then those of the rows.
    logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=is_last, use_cache=False).logits[: len(rows)]
    options = torch.tensor([added for _, added in rows], device=logits.device)
    return logits.float().gather(-1, options).cpu()
