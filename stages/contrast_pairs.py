"""RLCD: answer every prompt twice, with a phrase for an attribute and with its opposite; that is the label."""

from collections import Counter
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from synthalign.core import code, stage, tables
from synthalign.core.errors import UserError
from synthalign.dialogue import chat, prompts
from synthalign.feedback import comparisons, contrast, contrast_sampling, contrast_table
from synthalign.generation import engines, parallel


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

    @field_validator("matching")
    @classmethod
    def _is_an_expression(cls, matching: str | None) -> str | None:
        prompts.expression(matching or "")
        return matching


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
    chosen = stage.member("contrast_pairs", "simulation", params.simulations, name)
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
        Path(chosen.affixes),
        *code.of(__file__),
    )
    with engines.opened(chosen.model, params.engine, work) as write:
        sampled = contrast_sampling.sides(
            write,
            dialogues,
            phrases,
            lead_in=task.lead_in,
            attempts=params.attempts,
            folder=work,
            name=f"contrast_pairs@{name}",
            **settings,
        )

    kept, dropped = contrast_table.rows(dialogues, sampled, name=name, task=task, index=index, contrast=chosen.contrast)
    if not kept:
        raise UserError(
            f"none of {len(dialogues)} prompts gave a pair ({dict(sampled.failures)}); see what the model writes"
        )

    if stage.is_main_process():
        tables.write(kept, f"comparisons/{name}", key="comparison_id", schema=contrast_table.KEPT)
        tables.write(dropped, f"comparisons_dropped/{name}", key="comparison_id", schema=contrast_table.DROPPED)
        stage.write_metrics(
            f"contrast_pairs/{name}",
            prompts=len(dialogues),
            failures=dict(sampled.failures),
            dropped=dict(Counter(row["drop_reason"] for row in dropped)),
            **comparisons.summary(kept),
            **engines.bill([chosen.model], work),
        )
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "contrast_pairs", Params, in_shards=True)
