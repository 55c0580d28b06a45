"""The same with a model whose layers see a window only, and a prefix that is longer: Gemma 3 270M, 512 tokens.

The model is the folder that SYNTHALIGN_BENCH_LARGE names, by default models/base/large.
"""

import torch

from benchmarks.bench import Comparison, versions
from benchmarks.contrastive import SAMPLING, Ours
from benchmarks.real_generation_vs_generate import BATCH, OURS, THEIRS, beside, dtype, model
from synthalign.core import hardware
from synthalign.generation import models


def compare() -> Comparison:
    rates, ours = beside(model("SYNTHALIGN_BENCH_LARGE", "models/base/large"))
    window, shared = ours.model.config.sliding_window, len(ours.tokenizer(ours.prefix)["input_ids"])
    if not window or shared <= window:
        raise SystemExit(f"a prefix of {shared} tokens is not beyond the window of {ours.model.config.name_or_path}")
    return Comparison(
        work=f"contrastive generation, window of {window}, {shared}-token prefix, {OURS} questions, {dtype(ours)}",
        against=f"transformers generate, batch {BATCH}, full prompts ({THEIRS} questions)",
        ratios=[here / there for here, there in rates],
        at_least=8.0,
        versions=versions("torch", "transformers"),
        notes={
            "instructions": hardware.read().instructions,
            "tokens_per_second": round(rates[-1][0], 1),
            "their_tokens_per_second": round(rates[-1][1], 1),
            "greedy_rows": OURS,
            "greedy_equal": greedy_equal(ours, OURS),  # .995 of THEIRS would be all of them
        },
    )


@torch.inference_mode()
def greedy_equal(ours: Ours, rows: int) -> float:
    """The share of the first rows in which the most probable tokens are those of `generate`."""
    ours.queries = ours.queries[:rows]
    same = 0
    ends = models.end_tokens(ours.model, ours.tokenizer)
    for query, [made] in zip(ours.queries, ours.write(temperature=0.0, stops=()), strict=True):
        given = ours.tokenizer(ours.prefix + query, return_tensors="pt")
        new = SAMPLING["max_new_tokens"]
        whole = ours.model.generate(  # type: ignore[operator]
            **given, do_sample=False, max_new_tokens=new, eos_token_id=sorted(ends)
        )
        same += whole[0, given["input_ids"].shape[1] :].tolist() == made.token_ids
    return same / rows
