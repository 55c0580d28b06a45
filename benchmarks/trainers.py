"""What `sft_step` and `dpo_step` share: model, data, and how runs of two trainers become a line of the table.

Both sides get the same weights, tokens, batches a step, precision (fp32), threads and learning rates. All else is what
each side does by itself: TRL's trainer as it comes, ours as the stages call it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import pyarrow.parquet as pq

from benchmarks.bench import Comparison, take_turns, versions
from synthalign.core.tables import Row
from synthalign.feedback import community

STEPS = 30
SETTINGS: dict[str, Any] = {"weight_decay": 0.0, "seed": 0}
WARMUP = 0.1
MODEL = Path("data/embedded/models/large")
DEFAULTS: dict[str, Any] = {"report_to": "none", "bf16": False, "save_strategy": "no", "lr_scheduler_type": "cosine"}
"""Of the other side: nothing is written, and the precision and the schedule are ours."""


class Run(NamedTuple):
    seconds: float
    loss: float
    """What shows that both sides learned as much."""


T = TypeVar("T")


def community_pairs(count: int) -> list[Row]:
    """Comparisons of the embedded world's community: a question, a better answer and a worse one."""
    pairs: list[Row] = []
    for row in pq.read_table("data/embedded/community_qa.parquet").to_pylist():
        for place in community.answer_pairs(row["question"], row["answers"], limit=1, seed=0):
            chosen, rejected = ([{"role": "assistant", "content": row["answers"][one]["text"]}] for one in place)
            prompt = [{"role": "user", "content": row["question"]}]
            pairs.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert len(pairs) >= count
    return pairs[:count]


def mean_loss(curve: Sequence[Mapping[str, float]]) -> float:
    """Mean over all steps of a curve whose points are means since the point before."""
    points = [(0, 0.0), *((point["step"], point["loss"]) for point in curve if "loss" in point)]
    return (
        sum((now - before) * loss for (before, _), (now, loss) in zip(points, points[1:], strict=False)) / points[-1][0]
    )


def timed(train: Callable[[], T], loss: Callable[[T], float]) -> Run:
    """The seconds of a run, and the loss of what it returns, which is not timed."""
    start = time.perf_counter()
    trained = train()
    return Run(time.perf_counter() - start, loss(trained))


def compared(work: str, against: str, tokens: int, *, ours: Callable[[], Run], theirs: Callable[[], Run]) -> Comparison:
    """Runs in turns; tokens are those of the data, without padding."""
    losses: dict[str, list[float]] = {"ours": [], "theirs": []}

    def seconds(side: str, run: Callable[[], Run]) -> float:
        done = run()
        losses[side].append(done.loss)
        return done.seconds

    pairs = take_turns(lambda: seconds("ours", ours), lambda: seconds("theirs", theirs))
    return Comparison(
        work=work,
        against=against,
        ratios=[there / here for here, there in pairs],
        at_least=1.5,
        versions=versions("torch", "transformers", "trl"),
        notes={
            "steps": STEPS,
            "tokens": tokens,
            "tokens_a_second": round(tokens / min(here for here, _ in pairs)),
            "tokens_a_second_of_the_other": round(tokens / min(there for _, there in pairs)),
            "loss": round(fmean(losses["ours"]), 4),
            "loss_of_the_other": round(fmean(losses["theirs"]), 4),
        },
    )
