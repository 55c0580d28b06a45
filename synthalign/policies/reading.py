"""How likely a model finds the tokens of answers, where several answers stand behind one copy of their prompt."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from synthalign.core import hardware
from synthalign.generation import attention, models
from synthalign.policies import batching
from synthalign.reward import packing


def answer_logprobs(
    model: PreTrainedModel, keys: Sequence[packing.Key], *, pad: int, batch_size: int, per_token: bool = False
) -> dict[packing.Key, float]:
    """Of each distinct (prompt, answer) the log-probability of the answer's tokens in nats, in all or per token; 0 of
    an answer without tokens.

    batch_size  answers that are read at once, in every thread; fewer where their logits would be more than
                hardware.LOGITS
    """
    cells = max(1, hardware.LOGITS // models.vocabulary_of(model))

    def read(rows: Sequence[packing.Row]) -> list[float]:
        tokens = [sum(map(len, answers)) for _, answers in rows]
        parts = batching.bounded(range(len(rows)), tokens, cells)
        return [one for part in parts for one in of([rows[place] for place in part])]

    def of(some: Sequence[packing.Row]) -> list[float]:
        found = token_logprobs(model, some, pad=pad, device=model.device, dtype=model.dtype).cpu()
        each = found.split([len(answer) for _, answers in some for answer in answers])
        return [float(one.mean() if per_token else one.sum()) for one in each]

    said = [key for key in keys if key[1]]
    return dict.fromkeys(keys, 0.0) | packing.by_key(model, said, read, batch_size=batch_size)


def token_logprobs(
    model: nn.Module, rows: Sequence[packing.Row], *, pad: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """log pi(y_t | x, y_<t) of the N tokens of all answers, one answer after the other: (N,) float32.

    rows   prompts and answers, none empty; several to a prompt only where `attention.shares_rows` allows it
    dtype  of the model's weights

    What stands before the first token of an answer is the prompt's last one, for all of its answers.
    """
    assert all(prompt and all(answers) for prompt, answers in rows), "a prompt or an answer is empty"
    input_ids, mask = packing.pad([sum(answers, prompt) for prompt, answers in rows], pad)
    part, positions, spans = packing.layout(rows, input_ids.shape[1])
    if any(len(answers) > 1 for _, answers in rows):
        mask = attention.added(attention.visible(part.to(device)), dtype)
    before: list[tuple[int, int]] = []  # where what comes before each token of an answer stands
    for number, ((prompt, _), of_row) in enumerate(zip(rows, spans, strict=True)):
        for span in of_row:
            before += [(number, len(prompt) - 1), *((number, place) for place in range(span.start, span.stop - 1))]
    line, place = torch.tensor(before).T
    kept = torch.zeros(input_ids.shape, dtype=torch.bool)
    kept[line, place] = True
    logits = model(
        input_ids=input_ids.to(device),
        attention_mask=mask.to(device),
        position_ids=positions.to(device),
        logits_to_keep=kept.to(device),
        use_cache=False,
    ).logits.float()  # (K, V), K the kept places
    source = (kept.flatten().cumsum(0) - 1).view(kept.shape)[line, place].to(device)
    target = torch.tensor([token for _, answers in rows for answer in answers for token in answer], device=device)
    return logits[source, target] - logits.logsumexp(-1)[source]
