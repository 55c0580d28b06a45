"""A mixture of tasks for instruction tuning: how much of each, in which words, with how many solved examples in front.

A part is a list of tasks with a weight: the direct tasks, those with reasoning. Within a part a task of n examples has
the share min(n, cap) / sum of them all (Raffel et al. 2020, section 3.5.2: examples-proportional mixing), between parts
the weights decide (Chung et al. 2022, Table 23). What is chosen for a row depends on the seed and its example alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import pyarrow as pa

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.tables import MESSAGES, Row
from synthalign.dialogue.chat import Message
from synthalign.flan import templates
from synthalign.flan.instructions import Example

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("mixture_id", "example_id", "task", "family", "template")]
    + [("shots", pa.int64()), ("cot", pa.bool_()), ("inverted", pa.bool_()), ("query", pa.string())]
    + [("messages", MESSAGES)]
)
"""One row to learn from.

    example_id  the task's example; it returns when its task runs out of others
    template    which words stand around the question, and behind a dash how solved examples are shown, where there are
    shots       solved examples in front
    cot         whether the target reasons before it answers
    inverted    whether the answer is given and the question or the reasoning wanted
    query       what is asked, without the solved examples
    messages    the solved examples as a system message, what is asked, and the target
"""

NATIVE = 0
"""The way to show solved examples that is the format of every dialogue here."""


@dataclass(frozen=True)
class Part:
    """Tasks that share a weight.

    cot  whether their examples are shown with their reasoning
    """

    tasks: tuple[str, ...]
    weight: float
    cot: bool


@dataclass(frozen=True)
class Draw:
    """How rows are drawn.

    examples        rows in all
    cap             examples of a task that count, and are asked; what is shown solved comes from all
    few_shot        share of the rows with solved examples in front
    shots           how many those have, each as often
    inversions      share of the rows that are turned round
    max_characters  what is asked and the solved examples together; those that do not fit are left away, the last first
    """

    examples: int
    cap: int
    few_shot: float
    shots: tuple[int, ...]
    inversions: float
    max_characters: int
    seed: int


def rates(parts: Sequence[Part], sizes: Mapping[str, int], *, cap: int) -> dict[tuple[int, str], float]:
    """The share of each task of each part, by the part's place and the task's name; they sum to 1.

        rate = weight / sum of the weights * min(n, cap) / sum of min(n', cap) over the part's tasks

    sizes  examples of each task

    UserError when the weights sum to zero or are no weights, or when a part with a weight has no tasks.
    """
    weights = [part.weight for part in parts]
    if any(not math.isfinite(weight) or weight < 0 for weight in weights) or sum(weights) <= 0:
        raise UserError(f"the weights are {weights}; they have to be 0 or above and at least one above 0")
    shares = {}
    for place, part in enumerate(parts):
        if part.weight and not part.tasks:
            raise UserError(f"part {place} has the weight {part.weight} and no task; give it one, or the weight 0")
        total = sum(min(sizes[task], cap) for task in part.tasks)
        for task in part.tasks if part.weight else ():
            shares[place, task] = part.weight / sum(weights) * min(sizes[task], cap) / total
    return shares


def check_allowed(tasks: Sequence[str], *, known: Sequence[str], blocked: Sequence[str]) -> None:
    """UserError when a task is unknown, on the block-list (it is for evaluation alone), or named twice."""
    for task in tasks:
        if task in blocked:
            raise UserError(f"{task!r} is on the block-list: it is for evaluation alone; take it out of the mixture")
        if task not in known:
            raise UserError(f"there is no task {task!r}; there are {', '.join(sorted(known))}")
        if tasks.count(task) > 1:
            raise UserError(f"{task!r} is named twice; its share is set by its part's weight and the cap")


def check_shots(pool: Mapping[str, Sequence[Example]], tasks: Sequence[str], shots: int) -> None:
    """UserError when a task has too few examples to show `shots` of them in front of one that asks something else."""
    for task in tasks:
        alike = max(map(len, _alike(pool[task]).values()), default=1)
        if len(pool[task]) - alike < shots:
            raise UserError(
                f"{task!r} has {len(pool[task])} examples; {shots} in front of another need at least {shots + 1}"
                + (f", and more here, where {alike} ask or say the same" if alike > 1 else "")
            )


def check_reasons(pool: Mapping[str, Sequence[Example]], tasks: Sequence[str]) -> None:
    """UserError when a task that is to be shown with reasoning has an example without."""
    for task in tasks:
        without = [one for one in pool[task] if one.rationale is None]
        if without:
            raise UserError(f"{task!r} has {len(without)} examples without a rationale; it is no task to reason about")


def draw(pool: Mapping[str, Sequence[Example]], parts: Sequence[Part], how: Draw) -> list[Row]:
    """The rows of a mixture, from the examples of each task.

    UserError when the parts cannot be drawn from (`rates`, `check_shots`, `check_reasons`).
    """
    mixed = [task for part in parts if part.weight for task in part.tasks]
    check_shots(pool, mixed, max(how.shots, default=0) if how.few_shot else 0)
    share = rates(parts, {task: len(found) for task, found in pool.items()}, cap=how.cap)
    check_reasons(pool, [task for place, task in share if parts[place].cot])
    order = {task: _capped(pool[task], how) for _, task in share}
    alike = {task: _alike(pool[task]) for task in order}
    taken = dict.fromkeys(share, 0)
    chooser = Random(content_id(how.seed, "tasks"))
    rows = []
    for place, task in chooser.choices(list(share), list(share.values()), k=how.examples):
        repeat, at = divmod(taken[place, task], len(order[task]))
        taken[place, task] += 1
        example = order[task][at]
        telling = alike[task][example.example_id]
        apart = [other for other in pool[task] if other.example_id not in telling]
        rows.append(_row(example, repeat, apart, cot=parts[place].cot, how=how))
    return rows


def _capped(examples: Sequence[Example], how: Draw) -> list[Example]:
    """The examples of a task that are asked, at most `cap`, in an order that hashes give."""
    return sorted(examples, key=lambda one: content_id(how.seed, "order", one.example_id))[: how.cap]


def _alike(pool: Sequence[Example]) -> dict[str, set[str]]:
    """By the id of each example those that would give it away (`gives_away`), itself among them."""
    telling = {one.example_id: _telling(one) for one in pool}
    sharing: dict[object, set[str]] = {}
    for example_id, keys in telling.items():
        for key in keys:
            sharing.setdefault(key, set()).add(example_id)
    return {example_id: set().union(*(sharing[key] for key in keys)) for example_id, keys in telling.items()}


def _row(example: Example, repeat: int, apart: Sequence[Example], *, cot: bool, how: Draw) -> Row:
    """A row that asks an example, with solved ones from those `apart`. Turned round, two examples may ask the same, as
    what is asked is made of the answer: then the other is not shown."""
    choose = Random(content_id(how.seed, "row", int(cot), example.example_id, repeat))
    inverted = choose.random() < how.inversions
    template, wanted = _template(choose, example, cot=cot, inverted=inverted)
    few = choose.random() < how.few_shot
    count = choose.choice(how.shots) if few else 0
    shown = choose.sample(apart, count) if few else []
    look = choose.randrange(len(templates.EXEMPLARS))
    wording = choose.randrange(len(example.asks))
    query, target = fill(example, wanted, wording)
    solved = [fill(other, wanted, choose.randrange(len(other.asks))) for other in shown]
    solved = [one for one in solved if one[0] != query]
    while solved and len(exemplars(solved, look)) + len(query) > how.max_characters:
        solved.pop()
    system = [{"role": "system", "content": exemplars(solved, look)}] if solved else []
    return {
        "mixture_id": content_id(example.example_id, int(cot), repeat),
        "example_id": example.example_id,
        "task": example.task,
        "family": example.family,
        "template": f"{template}-{look}" if solved else template,
        "shots": len(solved),
        "cot": cot and not inverted,
        "inverted": inverted,
        "query": query,
        "messages": [*system, {"role": "user", "content": query}, {"role": "assistant", "content": target}],
    }


def _template(choose: Random, example: Example, *, cot: bool, inverted: bool) -> tuple[str, tuple[str, str]]:
    """The name of a template, and the template as (input, target)."""
    if inverted:
        found = templates.INVERTED_COT if cot else templates.INVERTED_DIRECT
        at = choose.randrange(len(found))
        return f"inverted_{'cot' if cot else 'direct'}/{at}", found[at]
    at = choose.randrange(len(templates.COT) if cot else len(templates.DIRECT[example.kind]))
    return plain(example.kind, at, cot=cot)


def plain(kind: str, at: int, *, cot: bool) -> tuple[str, tuple[str, str]]:
    """The name and (input, target) of the template at a place, for an answer of a kind or for reasoning."""
    if cot:
        return f"cot/{at}", (templates.COT[at], templates.COT_TARGET)
    return f"{kind}/{at}", (templates.DIRECT[kind][at], "{answer}")


def fill(example: Example, template: tuple[str, str], wording: int) -> tuple[str, str]:
    """Input and target of an example in a template, its question in the wording at a place."""
    values = {"question": example.asks[wording], "answer": example.target, "rationale": example.rationale or ""}
    return _filled(template[0], values), _filled(template[1], values)


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The template with its values; braces within a value stay what they are."""
    for name in ("question", "rationale", "answer"):
        text = text.replace("{" + name + "}", f"\0{name}\0")
    for name, value in values.items():
        text = text.replace(f"\0{name}\0", value)
    return text


def exemplars(solved: Sequence[tuple[str, str]], look: int) -> str:
    """Solved examples, (input, target) each, as the text in front of a question."""
    one, between = templates.EXEMPLARS[look]
    text = between.join(_shown(one, given, target) for given, target in solved)
    return text + between.rstrip() if solved else text


def _shown(one: str, given: str, target: str) -> str:
    before, behind = one.split("{input}")
    return before + given + behind.replace("{target}", target)


def evaluation(
    pool: Sequence[Example], *, items: int, spare: int, shots: int, used: int, cot: bool, seed: int
) -> list[tuple[Example, str, list[Message]]]:
    """Items of a held-out task with the name of their template and their prompts as messages.

    items  how many; fewer where the task has fewer than `items` + `spare` examples
    spare  examples that are no items: solved examples come from those that are left
    shots  solved examples in front of an item, at most `spare`
    used   templates that the items are spread over

    Items and templates are the first ones in orders that hashes give. All items with one template see the same solved
    examples, in the format of dialogues, but for those that would give an item's answer away (`gives_away`). UserError
    when no item is left, or too little to show.
    """
    assert shots <= spare, f"{shots} solved examples cannot be had from {spare}"
    ordered = sorted(pool, key=lambda one: content_id(seed, "evaluation", one.example_id))
    chosen = ordered[: max(0, min(items, len(ordered) - spare))]
    if not chosen:
        raise UserError(f"{pool[0].task!r} has {len(pool)} examples; {spare} in front of one need {spare + 1}")
    others, task = ordered[len(chosen) :], ordered[0].task
    count = len(templates.COT if cot else templates.DIRECT[ordered[0].kind])
    places = sorted(range(count), key=lambda at: content_id(seed, task, "template", at))[:used]
    found = []
    for one in chosen:
        at = places[int(content_id(seed, one.example_id, "template"), 16) % len(places)]
        name, wanted = plain(one.kind, at, cot=cot)
        apart = [other for other in others if not gives_away(other, one)]
        if len(apart) < shots:
            raise UserError(
                f"{task!r} has {len(apart)} examples to show in front of {one.asks[0]!r}, and {shots} are wanted; it "
                "needs more that ask something else, or ask for fewer items (`items`) or shots"
            )
        shown = sorted(apart, key=lambda other: content_id(seed, "shown", at, other.example_id))[:shots]
        system = exemplars([fill(other, wanted, _wording(other, seed)) for other in shown], NATIVE)
        query, _ = fill(one, wanted, _wording(one, seed))
        messages = [{"role": "system", "content": system}] if system else []
        found.append((one, name, [*messages, {"role": "user", "content": query}]))
    return found


def gives_away(solved: Example, item: Example) -> bool:
    """Whether an example, shown solved, says an item's answer: it asks the same, or its answer states the same fact."""
    return bool(_telling(solved) & _telling(item))


def _telling(example: Example) -> set[tuple[str, str]]:
    """What an example has in common with those that give it away: a question, or a sentence that is its answer."""
    said = [("says", example.target)] if example.kind == "sentence" else []
    return {*(("asks", one) for one in example.asks), *said}


def _wording(example: Example, seed: int) -> int:
    """The place of a wording, of those that show the options where there are such."""
    places = example.shown()
    return places[int(content_id(seed, example.example_id, "wording"), 16) % len(places)]
