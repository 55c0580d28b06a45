"""Read a reward model: the score of a dialogue, and the value of every token.

A reward model is a folder that `transformers.AutoModelForSequenceClassification` loads with one output. Its body and
head are called here directly: `forward` of transformers looks for the last token that is not the padding token, which
reads another token wherever an answer ends with that token or the tokenizer pads with it. Here the attention
mask says which tokens are real.

A value model for PPO is the same folder: `load_reward(folder)`, then `token_values`. At a dialogue's last real token it
is the score of that dialogue, to the bit when the batch is the same.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign import encoding
from synthalign.chat import Message
from synthalign.errors import UserError


def token_values(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """The head's output at every token, on the scale of the reference set (see `normalise`).

    input_ids       (B, T)
    attention_mask  (B, T)  1 for a real token; padding may be on either side
    returns         (B, T)  fp32; meaningless at padding
    """
    positions = (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)
    hidden = model.base_model(
        input_ids=input_ids, attention_mask=attention_mask, position_ids=positions, use_cache=False
    ).last_hidden_state  # (B, T, D)
    values = model.get_submodule("score")(hidden).squeeze(-1).float()
    return (values - getattr(model.config, "reward_mean", 0.0)) / getattr(model.config, "reward_std", 1.0)


def last_token_scores(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """The value at the last real token of each row: (B, T), (B, T) -> (B,)."""
    last = (attention_mask * torch.arange(attention_mask.shape[1], device=attention_mask.device)).argmax(dim=-1)
    return token_values(model, input_ids, attention_mask)[torch.arange(len(last), device=last.device), last]


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], max_length: int | None = None) -> list[int]:
    """The tokens a reward model reads: dialogue and end of sequence, cut at the left so that the answer survives."""
    [(prompt, answer)] = encoding.encode(tokenizer, [messages])
    return (prompt + answer)[-(max_length or 0) :]


@torch.inference_mode()
def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dialogues: Sequence[Sequence[Message]],
    *,
    batch_size: int = 64,
    max_length: int | None = None,
) -> list[float]:
    """The reward of each dialogue's last message, given the messages before it.

    Equal dialogues get equal scores: each text is scored once. Batches hold dialogues of like length; the
    scores are in the order of `dialogues`. `max_length` defaults to the longest context of the model. UserError when a
    score is not finite.
    """
    longest = max_length or getattr(model.config, "max_position_embeddings", None) or 0
    keys = [tuple((prompt + answer)[-longest:]) for prompt, answer in encoding.encode(tokenizer, dialogues)]
    distinct = sorted(set(keys), key=lambda key: (len(key), key))
    scores: dict[tuple[int, ...], float] = {}
    for start in range(0, len(distinct), batch_size):
        batch = distinct[start : start + batch_size]
        input_ids, attention_mask = pad(batch, tokenizer.pad_token_id)
        read = last_token_scores(model, input_ids.to(model.device), attention_mask.to(model.device))
        scores |= zip(batch, read.tolist(), strict=True)
    for key, dialogue in zip(keys, dialogues, strict=True):
        if not math.isfinite(scores[key]):
            raise UserError(
                f"the reward model scores {dialogue[-1]['content'][:80]!r} with {scores[key]}; "
                "train it again with a lower learning_rate"
            )
    return [scores[key] for key in keys]


def pad(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens as one right-padded tensor and its attention mask, (B, T) each."""
    width = max(len(row) for row in rows)
    input_ids = torch.tensor([[*row, *[pad_token_id] * (width - len(row))] for row in rows])
    attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return input_ids, attention_mask


def normalise(folder: str | Path, raw: Sequence[float]) -> tuple[float, float]:
    """Give the rewards of the model in `folder` mean 0 and standard deviation 1 where it gave `raw`.

    Only differences of rewards are learned, so their zero and unit are free; with both fixed on a reference set, a
    KL coefficient means the same for every reward model (as in Ziegler et al. 2019). The two numbers go into
    config.json as reward_mean and reward_std; `token_values` and `score` apply them.
    """
    values = torch.tensor(raw, dtype=torch.float64)
    mean, std = values.mean().item(), values.std(correction=0).item()
    if not std > 0:
        raise UserError(
            f"{folder}: the reward model gives all {len(values)} reference responses the score {mean:.3g}; "
            "it learned nothing: raise `learning_rate` or `epochs`, or look at the labels of its comparisons"
        )
    file = Path(folder) / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"reward_mean": mean, "reward_std": std}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return mean, std
