"""Put the held-out tasks to a model, zero- and few-shot: what it writes, or which option it finds most probable."""

from pathlib import Path

from accelerate import PartialState
from pydantic import BaseModel, Field

from synthalign import (
    benchmark_models,
    benchmarks,
    chat,
    generate,
    instructions,
    mixture,
    models,
    stage,
    tables,
    task_scores,
)
from synthalign.errors import UserError
from synthalign.instructions import Example
from synthalign.tables import Row
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
    return found[task]


def main(params: Params, subject: str) -> None:
    if not stage.is_main_process():
        return
    if subject not in params.subjects:
        raise UserError(f"answer_tasks has no subject {subject!r}; it has {', '.join(params.subjects)}")
    if params.source is None:
        print("answer_tasks: source is null: there are no held-out tasks, so nothing is answered", flush=True)
        tables.write([], f"task_answers/{subject}", key=("item_id", "shots"), schema=task_scores.SCHEMA)
        return
    asked: list[tuple[Row, Example, str]] = []
    for metric, cot, names in (
        ("exact", False, params.written),
        ("choice", False, params.chosen),
        ("exact", True, params.reasoned),
    ):
        for task in names:
            pool = examples(params, task)
            if metric == "choice" and not all(one.options for one in pool):
                raise UserError(f"answer_tasks.chosen: {task!r} has examples without options; put it into `written`")
            for shots in params.shots:
                how = {"items": params.items, "shots": shots, "used": params.templates, "seed": params.seed}
                for one, template, messages in mixture.evaluation(pool, spare=max(params.shots), cot=cot, **how):
                    row: Row = {
                        "subject": subject, "item_id": one.example_id, "task": task, "family": one.family,
                        "template": template, "shots": shots, "cot": cot, "metric": metric,
                        "query": messages[-1]["content"], "target": one.target,
                        "chance": 1 / len(one.options) if one.options else 0.0,
                    }  # fmt: skip
                    asked.append((row, one, chat.prompt(messages)))

    folder = params.subjects[subject].model
    model, tokenizer = models.load_causal(folder).to(PartialState().device), models.load_tokenizer(folder)
    write = [(row, one, prompt) for row, one, prompt in asked if row["metric"] == "exact"]
    made = generate.generate(
        model,
        tokenizer,
        prefix="",
        suffixes=[prompt for _, _, prompt in write],
        row_ids=[f"{row['item_id']}:{row['shots']}" for row, _, _ in write],
        stops=chat.STOPS,
        samples=1,
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=params.max_new_tokens,
        seed=params.seed,
    )
    for (row, one, _), [said] in zip(write, made, strict=True):
        row["text"] = chat.clean(said.text)
        row["right"] = task_scores.is_right(row["text"], [one.target, *one.accepted], cot=row["cot"])
    choose = [(row, one, prompt) for row, one, prompt in asked if row["metric"] == "choice"]
    pairs = [(prompt, chat.completion(option)) for _, one, prompt in choose for option in one.options]
    scores = iter(benchmark_models.continuation_log_probs(model, tokenizer, pairs, batch_size=params.batch_size))
    for row, one, _ in choose:
        found = [next(scores) for _ in one.options]
        best = [at for at in range(len(found)) if benchmarks.strictly_highest(found, at)]
        row["text"] = one.options[best[0]] if best else None
        row["right"] = row["text"] == one.target
    rows = [row for row, _, _ in asked]
    tables.write(rows, f"task_answers/{subject}", key=("item_id", "shots"), schema=task_scores.SCHEMA)


if __name__ == "__main__":
    stage.run(main, "answer_tasks", Params)
