"""What held-out tasks say about models: when an answer is right, scores with chance taken out, and differences.

A score is normalised as (raw - chance) / (1 - chance), so that 0 is guessing and 1 is all right, and may be below 0;
over several tasks it is the mean of the tasks, whatever their numbers of items (Chung et al. 2022, sections 2 and 3).
"""

import re
from collections.abc import Mapping, Sequence
from statistics import fmean

import pyarrow as pa

from synthalign.core import measures, statistics, words
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval
from synthalign.core.tables import Row
from synthalign.flan.templates import ANSWER_IS, EXEMPLARS

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("subject", "item_id", "task", "family", "template")]
    + [("shots", pa.int64()), ("cot", pa.bool_()), ("metric", pa.string()), ("query", pa.string())]
    + [("target", pa.string()), ("text", pa.string()), ("finish_reason", pa.string())]
    + [("right", pa.bool_()), ("chance", pa.float64())]
)
"""One item of a held-out task as a model took it.

    metric         exact: the model wrote an answer; choice: the log-probabilities of the options were compared
    text           what it wrote, or the option it found most probable; empty where two were equally so
    finish_reason  how what it wrote ended; NULL for an option
    chance         how often a guess is right: 1 / options, and 0 for a free answer
"""

PARTS = ("all", "direct", "cot")
"""All held-out tasks, those that want an answer and no more, those that want reasoning."""


def answer_of(text: str, *, cot: bool) -> str:
    """The answer in what a model wrote: all of it, or for reasoning what follows the last "the answer is".

    "The answer is", at the beginning of a sentence, is it as well.  Reasoning that never comes to it counts as an
    answer as a whole, so that a bare answer can be right.
    """
    text = words.folded(text)
    at = text.rfind(ANSWER_IS) if cot else -1
    return plain(text[at + len(ANSWER_IS) :] if at >= 0 else text)


def plain(answer: str) -> str:
    """An answer without case (`words.folded`), outer blanks and a full stop of any script."""
    return " ".join(words.folded(answer).split()).rstrip(".!。।۔").strip()


def is_right(text: str, targets: Sequence[str], *, cot: bool) -> bool:
    """Whether the answer in a text is one of the targets (exact match)."""
    return answer_of(text, cot=cot) in map(plain, targets)


def normalised(raw: float, chance: float) -> float:
    """0 for chance, 1 for all right."""
    return (raw - chance) / (1 - chance)


def part_of(rows: Sequence[Row], part: str) -> list[Row]:
    """The rows of one of PARTS."""
    wanted = {"all": (True, False), "direct": (False,), "cot": (True,)}[part]
    return [row for row in rows if row["cot"] in wanted]


def contributions(rows: Sequence[Row]) -> dict[tuple[str, int], float]:
    """What each row, by item and shots, adds to the score of the tasks it is of; their mean is that score.

    score = mean over tasks of ( mean over the task's rows of normalised(right) )
    """
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["task"]] = sizes.get(row["task"], 0) + 1
    weight = {task: len(rows) / len(sizes) / size for task, size in sizes.items()}
    return {
        (row["item_id"], row["shots"]): normalised(row["right"], row["chance"]) * weight[row["task"]] for row in rows
    }


def score(rows: Sequence[Row], *, seed: int) -> Interval:
    """The normalised score of the rows with an interval over items."""
    found = contributions(rows)
    return statistics.mean_interval(list(found.values()), [item for item, _ in found], seed=seed)


def difference(one: Sequence[Row], other: Sequence[Row], *, seed: int) -> Interval:
    """one - other, paired by item and shots."""
    first, second = contributions(one), contributions(other)
    _check_same(first, second)
    return statistics.difference_interval(
        list(first.values()), [second[key] for key in first], [item for item, _ in first], seed=seed
    )


def by_task(rows: Sequence[Row]) -> dict[str, float]:
    """The normalised score of each task; their mean is the score of the rows."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["task"], []).append(normalised(row["right"], row["chance"]))
    return {task: fmean(scores) for task, scores in found.items()}


def difference_over_tasks(one: Sequence[Row], other: Sequence[Row]) -> Interval:
    """The same figure as `difference`, with the task as the unit: what another set of tasks may bring.

    Items of a task resemble each other, and what is claimed is about tasks that were not seen.  Tasks are few, so the
    interval is Student's (`statistics.student_interval`).
    """
    gaps = measures.paired(by_task(one), by_task(other))
    return statistics.student_interval(list(gaps.values()), [1.0] * len(gaps))


def share_of_gain_over_tasks(before: Sequence[Row], last: Sequence[Row], base: Sequence[Row]) -> Interval | None:
    """The same figure as `share_of_gain`, with the task as the unit and Student's interval."""
    end, middle, start = by_task(last), by_task(before), by_task(base)
    step, gain = [end[task] - middle[task] for task in end], [end[task] - start[task] for task in end]
    shown = statistics.student_interval(gain, [1.0] * len(gain))
    return statistics.student_interval(step, gain) if _is_gain(shown) else None


def share_of_gain(before: Sequence[Row], last: Sequence[Row], base: Sequence[Row], *, seed: int) -> Interval | None:
    """How much of the gain over the base model the last step brought: (last - before) / (last - base).

    None where no gain is shown: shares of a gain that may be none, or a loss, have no bounds.
    """
    end, middle, start = contributions(last), contributions(before), contributions(base)
    _check_same(end, middle)
    _check_same(end, start)
    step = [end[key] - middle[key] for key in end]
    gain = [end[key] - start[key] for key in end]
    items = [item for item, _ in end]
    shown = statistics.mean_interval(gain, items, seed=seed)
    return statistics.ratio_interval(step, gain, items, seed=seed) if _is_gain(shown) else None


def _is_gain(shown: Interval) -> bool:
    """Equal gains, or few, have no interval: then the figure says it."""
    return (shown.value if shown.low is None else shown.low) > 0


def check_unseen(rows: Sequence[Row], mixtures: Mapping[str, Sequence[Row]]) -> None:
    """UserError when a task of the evaluation, or an item as it is put to a model, template and all, is in a mixture,
    asked or shown solved.

    A question that a mixture has in another template is not found.
    """
    tasks, queries = {row["task"] for row in rows}, {row["query"] for row in rows}
    for name, mixed in mixtures.items():
        for row in mixed:
            told = [row["query"], *_solved(row)]
            seen = queries.intersection(told) or (row["task"] in tasks and {row["query"]})
            if seen:
                raise UserError(
                    f"data/mixtures/{name}.parquet: {row['mixture_id']} is of the task {row['task']!r} and has "
                    f"{min(seen)!r}, which the evaluation has too; put the task on build_mixture.block_list"
                )


def _solved(row: Row) -> list[str]:
    """What is asked in the solved examples in front of a mixture's row."""
    if not row["shots"]:
        return []
    before, behind = EXEMPLARS[int(row["template"].rpartition("-")[2])][0].split("{input}")
    end = behind.partition("{target}")[0]
    return re.findall(f"{re.escape(before)}(.*?){re.escape(end)}", row["messages"][0]["content"], re.DOTALL)


def _check_same(one: Mapping[tuple[str, int], float], other: Mapping[tuple[str, int], float]) -> None:
    if set(one) != set(other):
        raise UserError("two models answered different items of the held-out tasks; run answer_tasks again for both")
