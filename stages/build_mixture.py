"""Mix many tasks into instruction data: proportions with caps, zero- and few-shot, direct and with reasoning."""

from collections import Counter
from pathlib import Path

from pydantic import BaseModel, Field

from synthalign.core import stage, tables
from synthalign.flan import instructions, mixture
from synthalign.flan.instructions import Example
from world import tasks
from world.entities import World


class Mixture(BaseModel, frozen=True, extra="forbid", strict=True):
    direct: int = Field(ge=0)
    """How many of the direct tasks it has, the first ones."""

    cot: int = Field(ge=0)
    """How many of the tasks with reasoning it has, the first ones."""

    direct_weight: float = Field(ge=0)
    """Weight of the direct tasks together."""

    cot_weight: float = Field(ge=0)
    """Weight of the tasks with reasoning together."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    source: str | None = Field(min_length=1)
    """Folder of a world that tasks are made of, or a .jsonl or .parquet file of instruction data; null for none: then
    the mixtures are empty."""

    direct_tasks: list[str]
    """The tasks whose targets are answers and no more, the order in which mixtures take them."""

    cot_tasks: list[str]
    """The tasks whose targets reason first, likewise."""

    block_list: list[str]
    """Tasks that are for evaluation; a mixture that names one is refused."""

    task_examples: int = Field(gt=0)
    """Examples made of each task of a world; a task may have fewer."""

    examples: int = Field(gt=0)
    """Rows of a mixture."""

    cap: int = Field(gt=0)
    """Examples of a task that count for its share, and are asked; those that are shown solved come from all."""

    few_shot: float = Field(ge=0, le=1)
    """Share of the rows with solved examples in front."""

    shots: list[int] = Field(min_length=1)
    """How many those have, each as often."""

    inversions: float = Field(ge=0, le=1)
    """Share of the rows that give the answer and want the question, or the reasoning."""

    max_characters: int = Field(gt=0)
    """What is asked and its solved examples together; solved examples that do not fit are left away."""

    seed: int = Field(ge=0)
    """Draws examples, templates, and solved examples."""

    mixtures: dict[str, Mixture]
    """The members of the family by name."""


def main(params: Params, name: str) -> None:
    chosen = stage.member("build_mixture", "mixture", params.mixtures, name)
    if params.source is None:
        print("build_mixture: source is null: there are no instruction data, so the mixture is empty", flush=True)
        tables.write([], f"mixtures/{name}", key="mixture_id", schema=mixture.SCHEMA)
        stage.write_metrics(f"build_mixture/{name}", rows=0)
        return
    parts = [
        mixture.Part(tuple(params.direct_tasks[: chosen.direct]), chosen.direct_weight, cot=False),
        mixture.Part(tuple(params.cot_tasks[: chosen.cot]), chosen.cot_weight, cot=True),
    ]
    pool = examples(params, [task for part in parts for task in part.tasks])
    how = mixture.Draw(
        examples=params.examples,
        cap=params.cap,
        few_shot=params.few_shot,
        shots=tuple(params.shots),
        inversions=params.inversions,
        max_characters=params.max_characters,
        seed=params.seed,
    )
    rows = mixture.draw(pool, parts, how)

    tables.write(rows, f"mixtures/{name}", key="mixture_id", schema=mixture.SCHEMA)
    stage.write_metrics(
        f"build_mixture/{name}",
        rows=len(rows),
        tasks=dict(Counter(row["task"] for row in rows)),
        examples=len({row["example_id"] for row in rows}),
        templates=len({row["template"] for row in rows}),
        few_shot=sum(row["shots"] > 0 for row in rows),
        cot=sum(row["cot"] for row in rows),
        inverted=sum(row["inverted"] for row in rows),
    )


def examples(params: Params, names: list[str]) -> dict[str, list[Example]]:
    """The examples of the tasks of a mixture."""
    assert params.source is not None
    source = Path(params.source)
    found = None if source.is_dir() else instructions.by_task(instructions.load(source))
    mixture.check_allowed(names, known=list(tasks.TASKS if found is None else found), blocked=params.block_list)
    if found is not None:
        return {name: found[name] for name in names}
    world = World.load(source / "world.json")
    made = {name: tasks.make(world, name, limit=params.task_examples, seed=params.seed) for name in names}
    return {name: instructions.by_task(found).get(name, []) for name, found in made.items()}


if __name__ == "__main__":
    stage.run(main, "build_mixture", Params)
