"""Train a reward model by what is to be learned of its comparisons: each by itself, or all of a query at once."""

from collections.abc import Sequence
from typing import Any, Literal

from synthalign.reward import pairwise, rankings, training

Loss = Literal["pairs", "rankings", "ratings"]


def train(loss: Loss, pairs: Sequence[pairwise.Pair], **given: Any) -> tuple[training.Curve, dict[str, int]]:
    """The curve, and of rankings and ratings the counts of what was learned by query.

    given  what `pairwise.train` and `rankings.train` take beside the rows
    """
    if loss == "pairs":
        return pairwise.train(pairs, **given), {}
    rows = rankings.of_queries(pairs, loss, given["base_model"], given["settings"].max_length)
    counts = {
        "queries": len(rows),
        "queries_left_out": len({pair["query_id"] for pair in pairs}) - len(rows),
        "responses": sum(len(query["responses"]) for query in rows),
    }
    return rankings.train(rows, **given), counts
