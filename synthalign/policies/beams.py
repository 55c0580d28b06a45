"""A policy's likeliest answers to a query, found by beam search: what RRHF calls BP (Yuan et al. 2023).

transformers 5.23 searches with beams; diverse beam search (DP, the paper's default) is no part of it any more: a custom
`generate` on the hub does it, which would run code from there.  Nothing is random, so no seed enters.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from synthalign.dialogue import chat
from synthalign.generation.attention_interface import as_it_reads
from synthalign.generation.generate import Generation, Stopping, check_fits
from synthalign.generation.models import end_tokens
from synthalign.policies import answering, batching
from synthalign.policies.answering import Answer
from synthalign.policies.prompting import Prompt


@torch.no_grad()
def searched(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    beams: int,
    max_new_tokens: int,
    batch_size: int,
) -> list[list[Generation]]:
    """For each prompt the `beams` answers that are likeliest per token of those that the search met; the best first.

    batch_size  prompts that are searched together; changes nothing but rounding

    An answer that runs into another turn ends there, with the marker, as `generate` has it.  UserError when a prompt
    and `max_new_tokens` do not fit the model's context.
    """
    if not prompts:
        return []
    check_fits(policy, 0, [prompt.token_ids for prompt in prompts], max_new_tokens)
    stopping = Stopping.of(policy, tokenizer, chat.STOPS)
    ends = set(end_tokens(policy, tokenizer))
    search = GenerationConfig(
        num_beams=beams,
        num_return_sequences=beams,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends),
    )
    found: dict[int, list[Generation]] = {}
    with searching(policy, search):
        for group in batching.alike([len(prompt.token_ids) for prompt in prompts], batch_size):
            longest = max(len(prompts[place].token_ids) for place in group)
            ids = torch.full((len(group), longest), tokenizer.pad_token_id)
            attends = torch.zeros_like(ids)
            for row, place in enumerate(group):
                tokens = prompts[place].token_ids
                ids[row, longest - len(tokens) :] = torch.tensor(tokens)
                attends[row, longest - len(tokens) :] = 1
            writes: Any = policy  # transformers does not say that a model with a head generates
            made = writes.generate(input_ids=ids.to(policy.device), attention_mask=attends.to(policy.device))
            for row, place in enumerate(group):
                own = made[row * beams : (row + 1) * beams, longest:].tolist()
                found[place] = [answering.cut(ended(tokens, ends, stopping)) for tokens in own]
    return [found[place] for place in range(len(prompts))]


@contextmanager
def searching(policy: PreTrainedModel, search: GenerationConfig) -> Iterator[None]:
    """The policy searched by this configuration and no other for the time of the block, as it reads.

    What a configuration leaves open `generate` takes from the model's own (a penalty of repetition, a least length),
    and in training mode with recomputed layers it reads every token after the first without those before.
    """
    own = policy.generation_config
    policy.generation_config = search
    try:
        with as_it_reads(policy):
            yield
    finally:
        policy.generation_config = own


def ended(tokens: Sequence[int], ends: set[int], stopping: Stopping) -> Generation:
    """What was written up to the first end: an end-of-sequence token, a stop string, or else the last token."""
    for place, token in enumerate(tokens, start=1):
        if token in ends:
            return Generation(stopping.text([*tokens[:place]]), [*tokens[:place]], "eos", None)
        if stopping.reached([*tokens[:place]]):
            return Generation(stopping.text([*tokens[:place]]), [*tokens[:place]], "stop", None)
    return Generation(stopping.text([*tokens]), [*tokens], "length", None)


def answers(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    beams: int,
    max_new_tokens: int,
    device_batch_size: int,
) -> list[list[Answer]]:
    """`answering.answers` by beam search: for each beam one answer to each prompt, on every process.

    UserError when the reward model gives no finite score.
    """
    prompts = prompts[answering.my_share(accelerator, len(prompts))]
    made = searched(
        policy,
        tokenizer,
        prompts,
        beams=beams,
        max_new_tokens=max_new_tokens,
        batch_size=max(1, device_batch_size // beams),
    )
    found = answering.judged(
        accelerator,
        policy,
        reference,
        reward_model,
        tokenizer,
        [*prompts] * beams,
        [of_one[place] for place in range(beams) for of_one in made],
        device_batch_size=device_batch_size,
    )
    return answering.by_turn(found, beams)
