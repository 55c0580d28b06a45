"""A policy as a reward model: how likely it finds an answer, per token (RRHF) or in all (DPO)."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core import measures
from synthalign.dialogue import encoding
from synthalign.dialogue.chat import Message
from synthalign.generation import models
from synthalign.policies import reading
from synthalign.reward import packing


def logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dialogues: Sequence[Sequence[Message]],
    *,
    batch_size: int,
    per_token: bool,
) -> list[float]:
    """The log-probability of each dialogue's last message and its end of sequence, given the messages before it: in
    all, or per token (the p_i of RRHF).

    What is longer than the model's context is cut at the left, as `scoring.score` cuts it; a token of the prompt stays.

    UserError names an answer whose log-probability is none.
    """
    longest, keep = models.context_of(model) or 0, max(1, len(encoding.opening(tokenizer)))
    keys = [packing.cut(prompt, answer, longest, keep) for prompt, answer in encoding.encode(tokenizer, dialogues)]
    pad = tokenizer.pad_token_id
    found = reading.answer_logprobs(model, keys, pad=pad, batch_size=batch_size, per_token=per_token)
    for key, dialogue in zip(keys, dialogues, strict=True):
        measures.check_score(model.name_or_path, found[key], repr(dialogue[-1]["content"][:80]))
    return [found[key] for key in keys]
