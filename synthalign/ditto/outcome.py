"""What a run of DITTO or SPIN leaves besides the policy: samples, pairs, and whether the order was learned."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pyarrow as pa

from synthalign.dialogue import endings
from synthalign.ditto import authors, draws
from synthalign.ditto.authors import Demonstration
from synthalign.ditto.draws import Pair, Text
from synthalign.feedback import comparisons

SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("demonstration_id", pa.string()),
        ("iteration", pa.int64()),
        ("sample_index", pa.int64()),
        ("prompt", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int64()),
        ("finish_reason", pa.string()),
        ("policy", pa.string()),
    ]
)
"""D_0, D_1, …; policy is a hash of the weights that wrote the sample."""

PAIRS = pa.schema([*comparisons.COLUMNS, ("kind", pa.string()), ("iteration", pa.int64()), ("step", pa.int64())])
"""The comparisons in the order in which they were learned from; a pair may be drawn in several steps."""


@dataclass(frozen=True)
class Learned:
    """What a run leaves besides the policy."""

    samples: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    log: list[dict[str, float]]
    order: dict[str, Any]
    """See `order_of`."""


def order_of(
    demonstrations: Sequence[Demonstration], sets: Sequence[Sequence[Text]], rewards: Mapping[str, float], nats: float
) -> dict[str, Any]:
    """Whether the policy has learned the order, and how far it went for it.

    rewards         of each text by its id, beta * [log pi(y|x) - log pi_0(y|x)], the implicit reward in the end; out
                    come the means of demonstrations and of each set
    pairs_in_order  share of all pairs of `draws.pools` in which the better text has the higher one
    nats            log pi(y|x) - log pi_0(y|x) of the last set under the policy that wrote it, the mean: an estimate
                    of KL(pi || pi_0) of that policy, `steps_per_iteration` before the end
    overlap         the mean of `authors.overlap` of the last set; None where no answer has four words
    """
    best = [draws.demonstrated(one) for one in demonstrations]
    ranks = {"demonstration": best, **{f"iteration {at}": texts for at, texts in enumerate(sets)}}
    share = draws.in_order(draws.pools(best, sets), rewards)
    copied = [part for text in sets[-1] if (part := authors.overlap(text.text, demonstrations)) is not None]
    return {
        "rewards": {rank: round(fmean(rewards[one.text_id] for one in texts), 6) for rank, texts in ranks.items()},
        "pairs_in_order": None if share is None else round(share, 6),
        "nats": round(nats, 6),
        "overlap": round(fmean(copied), 6) if copied else None,
    }


def row_of(pair: Pair, prompt_of: Mapping[str, str], *, iteration: int, step: int) -> dict[str, Any]:
    """A pair as a row of the table of comparisons."""
    chosen, rejected = (
        comparisons.Response(
            response_id=text.text_id,
            config="demonstration" if math.isinf(text.rank) else f"iteration {int(text.rank)}",
            rank=0,
            text=text.text,
            finish_reason=text.finish_reason,
        )
        for text in (pair.chosen, pair.rejected)
    )
    name = pair.chosen.demonstration_id
    given = comparisons.Pair(chosen, rejected)
    row = comparisons.row(given, query_id=name, question=prompt_of[name], feedback="ditto")
    return row | {"kind": pair.kind, "iteration": iteration, "step": step}


def summary(learned: Learned) -> dict[str, Any]:
    """What a run's metrics file says of it."""
    steps = [entry for entry in learned.log if "loss" in entry]
    kinds = Counter(row["kind"] for row in learned.pairs)
    return {
        "samples": len(learned.samples),
        "samples_without_end": sum(not endings.has_end(row["finish_reason"]) for row in learned.samples),
        "samples_cut_off": sum(row["finish_reason"] == "length" for row in learned.samples),
        "steps": len(learned.log),
        "pairs": {kind: kinds[kind] for kind in draws.KINDS},
        "first_loss": steps[0]["loss"] if steps else None,
        "last_loss": steps[-1]["loss"] if steps else None,
        "last_accuracy": steps[-1]["accuracy"] if steps else None,
        "last_margin": steps[-1]["margin"] if steps else None,
        **learned.order,
    }
