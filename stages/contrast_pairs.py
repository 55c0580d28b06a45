"""RLCD: answer every prompt twice, with a phrase for an attribute and with its opposite; that is the label."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, Field

from synthalign import chat, comparisons, contrast, engines, parallel, prompts, stage, tables
from synthalign.comparisons import Pair, Response
from synthalign.contrast import SIDES, Cleaned
from synthalign.errors import UserError
from synthalign.ids import content_id

ORIGIN = [
    ("affix", pa.int64()),
    ("chosen_affix", pa.string()),
    ("rejected_affix", pa.string()),
    ("attempts", pa.int64()),
]
"""How a pair was made, for audit: the stored prompt has no affix. The attempts are those of both sides."""


class Simulation(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the simulating model, or file of an endpoint."""

    affixes: str = Field(min_length=1)
    """File of the phrases."""

    task: str = Field(min_length=1)
    """Which of the file's tasks."""

    contrast: contrast.Contrast
    """opposite: p+ against p-. equal: p+ twice, the ablation. none: p twice, for a labeller to judge."""

    prompts: str = Field(min_length=1)
    """data/queries.parquet for the mined training queries, or a .jsonl file of dialogues that end with the user."""

    matching: str | None
    """A regular expression that the last message must hold; null for all."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    simulations: dict[str, Simulation]
    """The members of the family by name."""

    max_prompts: int = Field(gt=0)
    """At most so many prompts, drawn by a hash of their content."""

    attempts: int = Field(gt=0)
    """How often a side is sampled before its prompt is given up (the released code: 5)."""

    max_new_tokens: int = Field(gt=0)
    """Longest answer; one that is cut off here is sampled again."""

    temperature: float = Field(gt=0)
    """Of the sampling (the paper: 1)."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from (the paper: 1)."""

    engine: engines.Engine
    """What continues texts with a model folder."""

    seed: int = Field(ge=0)
    """Draws the phrases and the tokens."""


def mined() -> dict[str, list[chat.Message]]:
    """The training queries as dialogues."""
    train = (row for row in tables.rows("queries") if row["split"] == "train")
    return {row["query_id"]: [{"role": "user", "content": row["text"]}] for row in train}


def main(params: Params, name: str) -> None:
    if name not in params.simulations:
        raise UserError(f"contrast_pairs has no simulation {name!r}; it has {', '.join(params.simulations)}")
    chosen = params.simulations[name]
    task = contrast.load(chosen.affixes, chosen.task)
    given = mined() if chosen.prompts == str(tables.path("queries")) else prompts.load(chosen.prompts)
    dialogues = prompts.chosen(given, matching=chosen.matching, most=params.max_prompts)
    index = {query: contrast.draw(len(task.positive), seed=params.seed, row=query) for query in dialogues}
    phrases = {query: task.phrases(index[query], chosen.contrast) for query in dialogues}

    settings = params.model_dump(include={"max_new_tokens", "temperature", "top_p", "seed"})
    work = stage.work_dir(
        "contrast_pairs",
        name,
        chosen,
        str(settings),
        str(dialogues),
        *engines.inputs(chosen.model, params.engine),
        *map(Path, (chosen.affixes, __file__, chat.__file__, contrast.__file__)),
    )
    made: dict[tuple[str, contrast.Side], Cleaned] = {}
    attempts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    with engines.opened(chosen.model, params.engine, work) as write:
        for attempt in range(params.attempts):
            todo = [(query, side) for query in dialogues for side in SIDES if not done(made.get((query, side)))]
            if not todo:
                break
            texts = parallel.generated(
                write,
                folder=work,
                name=f"contrast_pairs@{name} {attempt + 1}",
                prefix="",
                suffixes=[contrast.prompt(dialogues[q], phrases[q], side, task.lead_in) for q, side in todo],
                row_ids=[f"{query}:{side}:{attempt}" for query, side in todo],
                stops=contrast.STOPS,
                **settings,
            )
            for query, side in todo:
                [one] = texts[f"{query}:{side}:{attempt}"]
                own = dict(zip(SIDES, phrases[query] or ("", ""), strict=True))
                made[query, side] = contrast.clean(one.text, one.finish_reason, own[side])
                attempts[query] += 1
                failures[f"{made[query, side].reason}"] += 1

    kept, dropped = [], []
    for query, messages in dialogues.items():
        sides = []
        for place, side in enumerate(SIDES):
            text = f"{task.lead_in} {made[query, side].text}".strip()
            config = f"{name}:{side}"
            sides.append(Response(content_id("response", config, query, text), config, place, text))
        reason = next((f"{side}:{made[query, side].reason}" for side in SIDES if not done(made[query, side])), None)
        reason = reason or ("identical" if sides[0].text == sides[1].text else None)
        label = 0.5 if chosen.contrast == "none" else 1.0
        row = comparisons.row(
            Pair(sides[0], sides[1]),
            query_id=query,
            question=messages[-1]["content"],
            feedback=name,
            p_chosen=label,
        )
        affixes = dict(zip(("chosen_affix", "rejected_affix"), phrases[query] or (None, None), strict=True))
        row |= {"prompt": messages, "affix": index[query] if phrases[query] else None, "attempts": attempts[query]}
        if reason is None:
            kept.append(row | affixes)
        else:
            dropped.append(row | affixes | {"drop_reason": reason})
    if not kept:
        raise UserError(f"none of {len(dialogues)} prompts gave a pair ({dict(failures)}); see what the model writes")

    if stage.is_main_process():
        columns = [*comparisons.SCHEMA, *(pa.field(*column) for column in ORIGIN)]
        tables.write(kept, f"comparisons/{name}", key="comparison_id", schema=pa.schema(columns))
        columns = [*comparisons.DROPPED_SCHEMA, *(pa.field(*column) for column in ORIGIN)]
        tables.write(dropped, f"comparisons_dropped/{name}", key="comparison_id", schema=pa.schema(columns))
        failures.pop("None", None)
        stage.write_metrics(
            f"contrast_pairs/{name}",
            prompts=len(dialogues),
            failures=dict(failures),
            dropped=dict(Counter(row["drop_reason"] for row in dropped)),
            **comparisons.summary(kept),
        )
    parallel.finish(work)


def done(side: Cleaned | None) -> bool:
    """Whether a side was sampled and may be used."""
    return side is not None and side.reason is None


if __name__ == "__main__":
    stage.run(main, "contrast_pairs", Params)
