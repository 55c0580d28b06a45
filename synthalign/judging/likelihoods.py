"""A policy as a reward model: how likely it finds an answer, per token (the p_i of RRHF) or in all (DPO)."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core import hardware, measures
from synthalign.dialogue import encoding
from synthalign.dialogue.chat import Message
from synthalign.generation import models
from synthalign.policies import batching, ppo, rrhf
from synthalign.reward import packing


@torch.no_grad()
def logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dialogues: Sequence[Sequence[Message]],
    *,
    batch_size: int,
    per_token: bool,
) -> list[float]:
    """The log-probability of each dialogue's last message and its end of sequence, given the messages before it: in
    all, or per token (`rrhf.mean_logprobs`).

    What is longer than the model's context is cut at the left, as `scoring.score` cuts it; a token of the prompt stays.

    UserError names an answer whose log-probability is none.
    """
    batch_size = hardware.read().device_rows.scoring or batch_size
    longest, keep = models.context_of(model) or 0, max(1, len(encoding.opening(tokenizer)))
    encoded = [packing.cut(prompt, answer, longest, keep) for prompt, answer in encoding.encode(tokenizer, dialogues)]
    found: dict[int, float] = {}
    given, chosen = [list(prompt) for prompt, _ in encoded], [list(answer) for _, answer in encoded]
    for group in batching.read_together(given, chosen, rows=batch_size, vocabulary=models.vocabulary_of(model)):
        batch = batching.collate(
            [given[place] for place in group],
            [chosen[place] for place in group],
            pad=tokenizer.pad_token_id,
            device=model.device,
        )
        of_tokens = batching.by_answer(
            ppo.token_logprobs(batching.state_logits(model, batch), batch.chosen), batch.mask
        )
        of_answers = rrhf.mean_logprobs(of_tokens, batch.mask) if per_token else of_tokens.sum(-1)
        found |= dict(zip(group, of_answers.tolist(), strict=True))
    for place, dialogue in enumerate(dialogues):
        measures.check_score(model.name_or_path, found[place], repr(dialogue[-1]["content"][:80]))
    return [found[place] for place in range(len(encoded))]
