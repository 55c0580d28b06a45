"""Held-out tasks as a model takes them: what it writes, or which option it finds most probable."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.dialogue import chat
from synthalign.flan import mixture, task_scores
from synthalign.flan.instructions import Example
from synthalign.generation import generate
from synthalign.judging import benchmark_models, benchmarks

Metric = Literal["exact", "choice"]


class Item(NamedTuple):
    """An example of a task as it is put to a model, and its row of task_scores.SCHEMA, not answered yet."""

    row: Row
    example: Example
    prompt: str


def items(
    pool: Sequence[Example],
    metric: Metric,
    *,
    cot: bool,
    subject: str,
    shots: Sequence[int],
    each: int,
    templates: int,
    seed: int,
) -> list[Item]:
    """So many items of a task, each with every number of solved examples in front; none of these is an item.

    UserError when options are to be compared and an example has none, or when solved examples are to reason and one
    has no reasoning.
    """
    task = pool[0].task
    if cot and max(shots):
        mixture.check_reasons({task: pool}, [task])
    if metric == "choice" and not all(one.options for one in pool):
        raise UserError(f"answer_tasks.chosen: {task!r} has examples without options; put it into `written`")
    found = []
    for number in shots:
        for one, template, messages in mixture.evaluation(
            pool, spare=max(shots), cot=cot, items=each, shots=number, used=templates, seed=seed
        ):
            row: Row = {
                "subject": subject, "item_id": one.example_id, "task": task, "family": one.family,
                "template": template, "shots": number, "cot": cot, "metric": metric,
                "query": messages[-1]["content"], "target": one.target,
                "chance": 1 / len(one.options) if one.options else 0.0,
            }  # fmt: skip
            found.append(Item(row, one, chat.prompt(messages)))
    return found


def answered(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    given: Sequence[Item],
    *,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
) -> list[Row]:
    """The items' rows with what the model says, and whether that is right; items keep their order."""
    _write(model, tokenizer, [item for item in given if item.row["metric"] == "exact"], max_new_tokens, seed)
    _choose(model, tokenizer, [item for item in given if item.row["metric"] == "choice"], batch_size)
    return [item.row for item in given]


def _write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    given: Sequence[Item],
    max_new_tokens: int,
    seed: int,
) -> None:
    """Greedy answers, right where they match the target or another accepted one."""
    made = generate.generate(
        model,
        tokenizer,
        prefix="",
        suffixes=[item.prompt for item in given],
        row_ids=[f"{item.row['item_id']}:{item.row['shots']}" for item in given],
        stops=chat.STOPS,
        samples=1,
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    for (row, one, _), [said] in zip(given, made, strict=True):
        row["text"], row["finish_reason"] = chat.ended(said.text, said.finish_reason)
        row["right"] = task_scores.is_right(row["text"], [one.target, *one.accepted], cot=row["cot"])


def _choose(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, given: Sequence[Item], batch_size: int) -> None:
    """The option of the highest log-probability, its end of sequence with it, as it was taught; of two equals none.

    Without the end no option could win over one that it begins with: P(" 10") is at most P(" 1").
    """
    pairs = [(prompt, chat.completion(option)) for _, one, prompt in given for option in one.options]
    scores = iter(benchmark_models.continuation_log_probs(model, tokenizer, pairs, batch_size=batch_size, ends=True))
    for row, one, _ in given:
        found = [next(scores) for _ in one.options]
        best = [at for at in range(len(found)) if benchmarks.strictly_highest(found, at)]
        row["text"], row["finish_reason"] = one.options[best[0]] if best else "", None
        row["right"] = row["text"] == one.target
