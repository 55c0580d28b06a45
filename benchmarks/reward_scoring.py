"""Four candidates to each of many dialogues, scored by this project and by plain padded batches."""

import os
import time
from typing import Any

import torch

from benchmarks.bench import Comparison, take_turns, versions
from synthalign.core import tables
from synthalign.generation import models
from synthalign.reward import packing, scoring

REWARD = "models/reward/almost"
PROMPTS, CANDIDATES, BATCH = 400, 4, 32


def compare() -> Comparison:
    dialogues = work()
    model, tokenizer = models.load_reward(REWARD), models.load_tokenizer(REWARD)
    encoded = [scoring.encode(tokenizer, dialogue) for dialogue in dialogues]
    found: dict[str, list[float]] = {}

    def ours() -> float:
        start = time.perf_counter()
        found["ours"] = scoring.score(model, tokenizer, dialogues)
        return time.perf_counter() - start

    def plain() -> float:
        torch.set_num_threads(len(os.sched_getaffinity(0)))  # all cores for each operation, PyTorch's default
        start = time.perf_counter()
        found["plain"] = padded_batches(model, encoded, tokenizer.pad_token_id)
        seconds = time.perf_counter() - start
        models.fix_rounding()
        return seconds

    seconds = take_turns(ours, plain)
    furthest = max(abs(one - other) for one, other in zip(found["ours"], found["plain"], strict=True))
    assert furthest < 1e-4, f"the scores differ by {furthest}"
    lengths = [len(tokens) for tokens in encoded]
    return Comparison(
        work=f"reward scoring, {PROMPTS} dialogues of three turns x {CANDIDATES} candidates, model M, fp32",
        against=f"padded batches of {BATCH} in the order given, tokenized before",
        ratios=[there / here for here, there in seconds],
        at_least=3.0,
        versions=versions("torch", "transformers"),
        notes={
            "rows_per_second": round(len(dialogues) / seconds[-1][0], 1),
            "mean_tokens": round(sum(lengths) / len(lengths), 1),
            "largest_difference": furthest,
        },
    )


def work() -> list[list[dict[str, str]]]:
    """A question and its answer as context, then a second question with four answers, as in RMSP of four turns."""
    answers: dict[str, list[str]] = {}
    for config in "abcd":
        for row in tables.rows(f"responses/{config}"):
            answers.setdefault(row["query_id"], []).append(row["text"])
    texts = {row["query_id"]: row["text"] for row in tables.rows("queries")}
    asked = [query for query in texts if len(answers.get(query, [])) >= CANDIDATES]
    dialogues: list[list[dict[str, Any]]] = []
    for first, second in zip(asked[:PROMPTS], asked[PROMPTS : 2 * PROMPTS], strict=True):
        context = [
            {"role": "user", "content": texts[first]},
            {"role": "assistant", "content": answers[first][0] or "Yes."},
            {"role": "user", "content": texts[second]},
        ]
        dialogues += [[*context, {"role": "assistant", "content": one}] for one in answers[second][:CANDIDATES]]
    return dialogues


@torch.inference_mode()
def padded_batches(model: Any, rows: list[list[int]], pad_token_id: int) -> list[float]:
    """What a scoring loop without care does: batches as they come, each padded to its longest row."""
    scores: list[float] = []
    for start in range(0, len(rows), BATCH):
        scores += scoring.last_token_scores(model, *packing.pad(rows[start : start + BATCH], pad_token_id)).tolist()
    return scores
