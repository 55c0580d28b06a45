"""Put the held-out tasks to a model, zero- and few-shot: what it writes, or which option it finds most probable."""

from pathlib import Path

from pydantic import BaseModel, Field

from synthalign.core import stage, tables
from synthalign.flan import instructions, mixture, task_answers, task_scores
from synthalign.flan.instructions import Example
from synthalign.generation import models, parallel
from world import tasks
from world.entities import World


class Subject(BaseModel, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """The model's folder."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    source: str | None = Field(min_length=1)
    """Folder of a world, or a .jsonl or .parquet file of instruction data; null for none: then nothing is answered."""

    written: list[str]
    """Direct tasks whose answers are written and have to match."""

    chosen: list[str]
    """Direct tasks whose options' log-probabilities are compared."""

    reasoned: list[str]
    """Tasks whose answers are written after reasoning."""

    task_examples: int = Field(gt=0)
    """Examples made of each task of a world."""

    items: int = Field(gt=0)
    """Items of each task; solved examples are none of them."""

    shots: list[int] = Field(min_length=1)
    """How many solved examples stand in front; every item is asked with each of these numbers."""

    templates: int = Field(gt=0)
    """How many templates the items of a task are spread over."""

    max_new_tokens: int = Field(gt=0)
    """Longest answer."""

    batch_size: int = Field(gt=0)
    """Texts that are scored at once; does not change the result but for rounding."""

    seed: int = Field(ge=0)
    """Draws items, templates and solved examples."""

    subjects: dict[str, Subject]
    """Who answers, by name."""


def examples(params: Params, task: str) -> list[Example]:
    """The examples of a task."""
    assert params.source is not None
    source = Path(params.source)
    if source.is_dir():
        return tasks.make(World.load(source / "world.json"), task, limit=params.task_examples, seed=params.seed)
    found = instructions.by_task(instructions.load(source))
    mixture.check_allowed([task], known=list(found), blocked=[])
    return instructions.folded(found[task])


def main(params: Params, subject: str) -> None:
    if not stage.is_main_process():
        return
    folder = stage.member("answer_tasks", "subject", params.subjects, subject).model
    if params.source is None:
        print("answer_tasks: source is null: there are no held-out tasks, so nothing is answered", flush=True)
        tables.write([], f"task_answers/{subject}", key=("item_id", "shots"), schema=task_scores.SCHEMA)
        return
    asked: list[task_answers.Item] = []
    kinds: list[tuple[task_answers.Metric, bool, list[str]]] = [
        ("exact", False, params.written),
        ("choice", False, params.chosen),
        ("exact", True, params.reasoned),
    ]
    for metric, cot, names in kinds:
        for task in names:
            asked += task_answers.items(
                examples(params, task),
                metric,
                cot=cot,
                subject=subject,
                shots=params.shots,
                each=params.items,
                templates=params.templates,
                seed=params.seed,
            )
    rows = task_answers.answered(
        models.load_causal(folder).to(parallel.alone()),
        models.load_tokenizer(folder),
        asked,
        max_new_tokens=params.max_new_tokens,
        batch_size=params.batch_size,
        seed=params.seed,
    )
    tables.write(rows, f"task_answers/{subject}", key=("item_id", "shots"), schema=task_scores.SCHEMA)


if __name__ == "__main__":
    stage.run(main, "answer_tasks", Params)
