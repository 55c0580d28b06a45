"""A linear probe as a reward model: a head on the mean of an answer's tokens, amid a body that stays as it is.

    r(x, y) = w · mean over t in y of h_l(x, y)_t

w is fitted by logistic regression of which answer is the better one on the difference of the two means, which is
Bradley and Terry's model with features; L2 is as strong as questions left out want it.  For a few hundred pairs, of
which a body that is trained learns nothing that holds.  Inner layers tell more than the last one does (Alain and Bengio
2016; Skean et al. 2025).

The folder is that of any reward model, with the layers up to l and `reward_pooling: mean` in its config.json, by which
`scoring.score` reads it.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.reward_trainer import suppress_seqcls_warning

from synthalign.core.errors import UserError
from synthalign.dialogue import encoding
from synthalign.feedback import comparisons
from synthalign.generation import models, parallel
from synthalign.reward import packing, scoring, training

Array = np.ndarray[Any, np.dtype[np.float64]]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of L2, C, that are tried."""

FOLDS = 5
"""Parts of the questions, each left out once."""

BATCH = 16
"""Texts that are read at once, where hardware.yaml says no other number."""


def train(
    pairs: Sequence[dict[str, Any]], *, base_model: str | Path, folder: str | Path, depth: float, max_length: int
) -> training.Curve:
    """Fit a probe on comparisons, write it to `folder`, and return its one point: loss and accuracy on them.

    pairs   as `pairwise.train` has them; all of a query are in one fold
    depth   share of the body's layers that are kept, above 0 and at most 1

    One process does it, on its device; the others wait.  UserError for a body whose layers are not found, and where
    all answers look the same to it.
    """
    comparisons.check_labels(pairs)
    curve: training.Curve = []
    if parallel.state().is_main_process:
        tokenizer = models.load_tokenizer(base_model)
        with suppress_seqcls_warning():
            model = models.load_reward(base_model, "training", new_head=True)
        scoring.forget_unit(model)
        shorten(training.without_dropout(model), depth)
        model.to(parallel.device())  # type: ignore[arg-type]
        dialogues = [[*pair["prompt"], *pair[side]] for side in ("chosen", "rejected") for pair in pairs]
        chosen, rejected = np.split(means(model, tokenizer, dialogues, max_length=max_length), 2)
        labels = np.array([float(pair["p_chosen"]) for pair in pairs])
        weights = fit(chosen, rejected, labels, [pair["query_id"] for pair in pairs])
        head: Any = model.get_submodule("score")
        head.weight.data.copy_(torch.from_numpy(weights)[None])
        model.config.reward_pooling = "mean"
        models.save(model, tokenizer, folder)
        margins = (chosen - rejected) @ weights
        right = ((margins > 0) == (labels > 0.5)) & (margins != 0)  # as in `pairwise.finish`
        accuracy = np.where(labels == 0.5, 0.5, right).mean()
        curve.append({"step": 1, "loss": round(_loss(margins, labels), 6), "accuracy": round(float(accuracy), 6)})
    parallel.state().wait_for_everyone()
    return curve


def shorten(model: PreTrainedModel, depth: float) -> None:
    """Keep the first layers of the body, this share of them, at least one; its last norm stays behind them.

    UserError where no list of modules has as many as config.json has layers, or where config.json of fewer layers is
    none to transformers.
    """
    config, body = model.config.get_text_config(), model.base_model
    count = config.num_hidden_layers
    lists = [name for name, part in body.named_modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    outer = [name for name in lists if name.count(".") == min(name.count(".") for name in lists)]

    def refused(why: object) -> UserError:
        return UserError(
            f"{model.name_or_path}: the layers of {type(body).__name__} cannot be cut ({why}); leave out `probe` of "
            "train_reward, so that the whole model is trained"
        )

    if len(outer) != 1:
        raise refused(f"it has no list of its {count}")
    where, _, name = outer[0].rpartition(".")
    config.num_hidden_layers = max(1, round(count * depth))
    above = body.get_submodule(where)
    setattr(above, name, getattr(above, name)[: config.num_hidden_layers])
    for kinds in ("layer_types", "mlp_layer_types"):
        if vars(config).get(kinds):
            setattr(config, kinds, vars(config)[kinds][: config.num_hidden_layers])
    try:
        model.config.validate()
    except Exception as error:
        raise refused(error) from error


def means(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dialogues: Sequence[Any], *, max_length: int
) -> Array:
    """(N, D): of each dialogue the mean of its answer's tokens behind the body; cut as `scoring` cuts texts."""
    keep = len(encoding.opening(tokenizer))
    keys = [packing.cut(prompt, answer, max_length, keep) for prompt, answer in encoding.encode(tokenizer, dialogues)]

    def read(rows: Sequence[packing.Row]) -> list[Tensor]:
        input_ids, _ = packing.pad([(*prompt, *answer) for prompt, (answer,) in rows], tokenizer.pad_token_id)
        hidden = model.base_model(input_ids=input_ids.to(model.device), use_cache=False).last_hidden_state
        return [
            hidden[row, len(prompt) : len(prompt) + len(answer)].cpu().double().mean(dim=0)
            for row, (prompt, (answer,)) in enumerate(rows)
        ]

    found = packing.by_key(model, keys, read, batch_size=BATCH, answers=1)
    return np.stack([found[key].numpy() for key in keys])


def fit(chosen: Array, rejected: Array, labels: Array, queries: Sequence[str]) -> Array:
    """w, (D,), such that sigmoid(w · (chosen - rejected)) is the probability that `chosen` is the better one.

    chosen, rejected  (N, D)
    labels            (N,) the probability of each, in [0, 1]
    queries           (N,) the strength of L2 is the one with the least loss on those that are left out; without two
                      of them the strongest

    Features are scaled to their deviation, and all of them together to one, so that a strength means the same for
    every body.
    """
    scale = np.concatenate([chosen, rejected]).std(axis=0) * np.sqrt(chosen.shape[1])
    if not scale.any():
        raise UserError(
            "`probe` of train_reward: the answers of all comparisons look the same to these layers; take more of them "
            "(at most 1), or leave out `probe`"
        )
    if not np.isfinite(scale).all():
        raise UserError(
            "`probe` of train_reward: the body makes no number of some answer; look at its folder, or at "
            "weights.training of hardware.yaml"
        )
    difference = np.divide(chosen - rejected, scale, out=np.zeros_like(chosen), where=scale > 0)
    found = {strength: 0.0 for strength in STRENGTHS}
    folds = min(FOLDS, len(set(queries)))
    if folds > 1:
        for train_rows, left_out in GroupKFold(folds).split(difference, groups=queries):
            for strength in STRENGTHS:
                weights = _regression(difference[train_rows], labels[train_rows], strength)
                found[strength] += _loss(difference[left_out] @ weights, labels[left_out]) * len(left_out)
    best = min(found, key=lambda strength: (found[strength], strength))
    return np.divide(_regression(difference, labels, best), scale, out=np.zeros_like(scale), where=scale > 0)


def _regression(difference: Array, labels: Array, strength: float) -> Array:
    """Logistic regression without an intercept, so that no order is learned; a soft label is both, by its weight."""
    better = np.repeat([1.0, 0.0], len(labels))
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(np.concatenate([difference] * 2), better, np.concatenate([labels, 1 - labels]))
    return np.asarray(model.coef_[0], dtype=np.float64)


def _loss(margins: Array, labels: Array) -> float:
    """Mean pairwise loss in nats, as `losses.pairwise_loss`."""
    return float(np.mean(np.logaddexp(0, margins) - labels * margins))
