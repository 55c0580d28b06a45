"""Keep a synthetic comparison only if the As-is reward model, which never saw one, prefers the same response.

Pairs that differ in model size alone join afterwards: the As-is model judges by style, and they have one style."""

from collections import Counter

import pyarrow as pa
from accelerate.utils import gather_object
from pydantic import BaseModel, Field

from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from synthalign.feedback import comparisons
from synthalign.generation import models, parallel
from synthalign.reward import scoring

SCORES = [("asis_chosen", pa.float64()), ("asis_rejected", pa.float64())]

CHUNK = 1024
"""Responses between two steps of the progress bar."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    max_length: int = Field(gt=1)
    """Tokens of query and response that are read, counted from the end."""


def scores(dialogues: list[list[dict[str, str]]], params: Params) -> list[float]:
    """The As-is scores of the dialogues, computed by all processes together and known to each."""
    processes = parallel.state()
    tokenizer = models.load_tokenizer("models/asis_reward")
    model = models.load_reward("models/asis_reward").to(processes.device)
    scored: list[float] = []
    for start in stage.progress(
        range(0, len(dialogues), CHUNK), total=-(-len(dialogues) // CHUNK), desc="as-is scores", unit="chunk"
    ):
        with processes.split_between_processes(dialogues[start : start + CHUNK]) as mine:
            part = scoring.score(model, tokenizer, mine, max_length=params.max_length)
        scored += [round(one, 6) for one in gather_object(part)]  # what a batch's rows round differs by less
    return scored


def main(params: Params) -> None:
    ranked, same_style = tables.rows("comparisons_ranked"), tables.rows("comparisons/size")
    survivors = [row for row in ranked if row["drop_reason"] is None]
    if not survivors:
        raise UserError("data/comparisons_ranked.parquet: the heuristic filter kept no comparison; see its drop_reason")
    sides = ("chosen", "rejected")
    dialogues = {row[f"{side}_id"]: [*row["prompt"], *row[side]] for row in survivors for side in sides}
    score = dict(zip(dialogues, scores(list(dialogues.values()), params), strict=True))
    kept, dropped = [], [row | {"feedback": "almost"} for row in ranked if row["drop_reason"] is not None]
    for row in survivors:
        chosen, rejected = score[row["chosen_id"]], score[row["rejected_id"]]
        judged = row | {"feedback": "almost", "asis_chosen": chosen, "asis_rejected": rejected}
        if chosen > rejected:
            kept.append({name: value for name, value in judged.items() if name != "drop_reason"})
        else:
            dropped.append(judged | {"drop_reason": "asis_disagrees"})

    if stage.is_main_process():
        columns = [*comparisons.SCHEMA, *(pa.field(*column) for column in SCORES)]
        tables.write(kept, "comparisons/almost", key="comparison_id", schema=pa.schema(columns))
        both = [{name: row[name] for name in comparisons.SCHEMA.names} for row in [*kept, *same_style]]
        tables.write(both, "comparisons/almost_size", key="comparison_id", schema=comparisons.SCHEMA)
        tables.write(
            dropped,
            "comparisons_dropped/almost",
            key="comparison_id",
            schema=pa.schema([*columns, ("drop_reason", pa.string())]),
        )
        stage.write_metrics(
            "validate_comparisons",
            ranked=len(ranked),
            heuristic=len(survivors),
            kept=len(kept),
            with_size_pairs=len(both),
            coverage=round(len(kept) / len(ranked), 6),
            agreement=round(len(kept) / len(survivors), 6),
            dropped=dict(Counter(row["drop_reason"] for row in dropped)),
        )


if __name__ == "__main__":
    stage.run(main, "validate_comparisons", Params)
