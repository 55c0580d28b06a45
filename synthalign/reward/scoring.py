"""Read a reward model: the score of a dialogue, and the value of every token.

A reward model is a folder that `transformers.AutoModelForSequenceClassification` loads with one output. Its body and
head are called here directly: `forward` of transformers looks for the last token that is not the padding token, which
reads another token wherever an answer ends with that token or the tokenizer pads with it. Here the attention
mask says which tokens are real.

A linear probe (`probe`) is such a folder with `reward_pooling: mean` in its config.json: the score of its answer is the
mean of the values of the answer's tokens.

A value model for PPO is the same folder: `load_reward(folder)`, then `token_values`. At a dialogue's last real token it
is the score of that dialogue, to the bit when the batch is the same; of a probe only their mean over the answer is.
"""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.dialogue.chat import Message
from synthalign.generation import attention, models, parallel
from synthalign.reward import packing


def by_folder(folder: str, dialogues: Sequence[Sequence[Message]], *, batch_size: int = 64) -> list[float]:
    """`score` by the reward model of a folder, on one device."""
    model, tokenizer = models.load_reward(folder).to(parallel.alone()), models.load_tokenizer(folder)
    return score(model, tokenizer, dialogues, batch_size=batch_size)


def of_answers(folder: str, answers: Sequence[tuple[str, str]], *, batch_size: int = 64) -> list[float]:
    """`by_folder` of each (question, answer)."""
    dialogues = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": text}] for question, text in answers
    ]
    return by_folder(folder, dialogues, batch_size=batch_size)


def token_values(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The head's output at every token, on the scale of the reference set (see `normalise`).

    input_ids       (B, T)
    attention_mask  (B, T)  1 for a real token; padding may be on either side. Without it all padding is on the right,
                            where no real token looks: the same values, and no mask to make
    returns         (B, T)  fp32; meaningless at padding
    """
    if attention_mask is None:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    else:
        positions = (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)
    return _values(model, input_ids, attention_mask, positions)


def _values(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor | None, positions: Tensor) -> Tensor:
    """The same for positions (B, T) and a mask, (B, T) or what is added to the scores (B, 1, T, T), of one's own."""
    hidden = model.base_model(
        input_ids=input_ids, attention_mask=attention_mask, position_ids=positions, use_cache=False
    ).last_hidden_state  # (B, T, D)
    head: Any = model.get_submodule("score")
    with torch.autocast(hidden.device.type, enabled=False):  # a sum of 16 bits has two answers in the same place
        values = linear(hidden.float(), head.weight.float(), head.bias).squeeze(-1)
    return (values - getattr(model.config, "reward_mean", 0.0)) / getattr(model.config, "reward_std", 1.0)


def last_token_scores(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """The value at the last real token of each row: (B, T), (B, T) -> (B,)."""
    last = (attention_mask * torch.arange(attention_mask.shape[1], device=attention_mask.device)).argmax(dim=-1)
    return token_values(model, input_ids, attention_mask)[torch.arange(len(last), device=last.device), last]


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], max_length: int | None = None) -> list[int]:
    """The tokens a reward model reads: dialogue and end of sequence, cut at the left so that the answer survives."""
    [(prompt, answer)] = encoding.encode(tokenizer, [messages])
    before, kept = packing.cut(prompt, answer, max_length or 0, len(encoding.opening(tokenizer)))
    return [*before, *kept]


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dialogues: Sequence[Sequence[Message]],
    *,
    batch_size: int = 64,
    max_length: int | None = None,
) -> list[float]:
    """The reward of each dialogue's last message, given the messages before it.

    Equal dialogues get equal scores: each text is scored once, packed as `packing` has it. The scores are in the order
    of `dialogues`. `max_length` is at most the context of the model, which it defaults to. UserError when a score is
    not finite.
    """
    longest = min((limit for limit in (max_length, models.context_of(model)) if limit), default=0)
    keep = len(encoding.opening(tokenizer))
    keys = [packing.cut(prompt, answer, longest, keep) for prompt, answer in encoding.encode(tokenizer, dialogues)]
    read = partial(_scores, model, pad_token_id=tokenizer.pad_token_id)
    scores = packing.by_key(model, keys, read, batch_size=batch_size)
    for key, dialogue in zip(keys, dialogues, strict=True):
        if not math.isfinite(scores[key]):
            raise UserError(
                f"the reward model {model.name_or_path} scores {dialogue[-1]['content'][:80]!r} with {scores[key]}; "
                "train it again with a lower learning_rate"
            )
    return [scores[key] for key in keys]


def _scores(model: PreTrainedModel, rows: Sequence[packing.Row], *, pad_token_id: int) -> list[float]:
    """The scores of the answers of the rows, one after the other."""
    input_ids, _ = packing.pad([sum(answers, prompt) for prompt, answers in rows], pad_token_id)
    part, positions, spans = packing.layout(rows, input_ids.shape[1])
    if all(len(answers) == 1 for _, answers in rows):
        values = token_values(model, input_ids.to(model.device))
    else:
        mask = attention.added(attention.visible(part.to(model.device)), model.dtype)
        values = _values(model, input_ids.to(model.device), mask, positions.to(model.device))
    values = values.cpu()
    if getattr(model.config, "reward_pooling", "last") == "mean":
        return [values[row, span].mean().item() for row, of_row in enumerate(spans) for span in of_row]
    return [values[row, span.stop - 1].item() for row, of_row in enumerate(spans) for span in of_row]


def forget_unit(model: PreTrainedModel) -> None:
    """Make the rewards raw again and of last tokens, where the model to train from is a reward model: the new ones get
    their own unit."""
    for name in ("reward_mean", "reward_std", "reward_pooling"):
        if hasattr(model.config, name):
            delattr(model.config, name)


def normalise(folder: str | Path, raw: Sequence[float]) -> tuple[float, float]:
    """Give the rewards of the model in `folder` mean 0 and standard deviation 1 where it gave `raw`.

    Only differences of rewards are learned, so their zero and unit are free; with both fixed on a reference set, a
    KL coefficient means the same for every reward model (as in Ziegler et al. 2019). The two numbers go into
    config.json as reward_mean and reward_std, that of adapters beside a merged model too; `token_values` and `score`
    apply them.
    """
    values = torch.tensor(raw, dtype=torch.float64)
    mean, std = values.mean().item(), values.std(correction=0).item()
    if not std > 0:
        raise UserError(
            f"{folder}: the reward model gives all {len(values)} reference responses the score {mean:.3g}; "
            "it learned nothing: raise `learning_rate` or `epochs` of one that is trained, or look at the labels of "
            "its comparisons"
        )
    for file in sorted(Path(folder).rglob("config.json")):
        config = json.loads(file.read_text(encoding="utf-8")) | {"reward_mean": mean, "reward_std": std}
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return mean, std
