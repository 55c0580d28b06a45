"""People's raw files as the files that the stages read, each cut in a half to train on and one to measure with.

hh_harmless_test.jsonl.gz            hh_heldout.jsonl                    {prompt, chosen, rejected}
pandalm_testset.json                 pandalm_community.jsonl             {question, answers: [{text, votes, accepted}]}
                                     people_train.jsonl                  {prompt, chosen, rejected}
                                     pandalm_heldout.jsonl               {question, answers, verdicts}
vicuna_80.jsonl                      seed_queries.txt                    a question a line
self_instruct_user_oriented.jsonl    eval_questions.txt                  a question a line
                                     heldout_text.jsonl                  {text}, an answer that a person wrote
hhh_alignment_221.json               hhh.jsonl                           as it is, all of it to measure with
truthfulqa_mc.json                   truthfulqa.jsonl                    the same

The side of a row hangs on a hash of its first human message or its instruction, so every row about it is on one side.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synthalign.core import row_file, words
from synthalign.core.errors import UserError, each
from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.dialogue import chat
from synthalign.feedback import human_pairs
from synthalign.queries.similarity import Pool

STEP = "bring it with `python -m synthalign bring data/sources/pocket.yaml`, or put it there yourself"

ANNOTATORS = ("annotator1", "annotator2", "annotator3")

HELDOUT = 0.5
"""Share of prompts and of instructions that is held out, where nobody says another."""

AS_IS = 0.25
"""Share of the questions that are trained on of which the As-is reward model learns; the judge learns of the rest."""

SHORTEST_TEXT = 100
"""Characters of a text on which a loss is measured; many answers are one word."""

ON_TRAINED = "its question is on the side that is trained on"

Side = Literal["train", "heldout"]


@dataclass(frozen=True)
class Limits:
    """What a question of a text file must keep."""

    shortest: int = 30
    longest: int = 250
    """Characters; those of `mine_queries`, so that a few fit into one prompt."""

    rouge: float = 0.5
    """ROUGE-L F1 from which on two questions are too much alike."""


def side(text: str, heldout: float) -> Side:
    """The side of all rows about a text; case and punctuation do not count.

    heldout  the share of the texts that is to be held out, from 0 to 1
    """
    return "heldout" if int(content_id("people", *words.key(text)), 16) < heldout * 2**64 else "train"


def items(file: Path) -> list[Any]:
    """The items of a file of HHH or TruthfulQA as they are; `judging.benchmarks` reads them.  UserError for a file that
    is no JSON."""
    return [row for _, row in row_file.rows(file, "item", step=STEP)]


# -- HH-RLHF ----------------------------------------------------------------------------------------------------------


def hh_pairs(file: Path, heldout: float) -> tuple[dict[Side, list[Row]], Counter[str]]:
    """The pairs of HH-RLHF, {prompt, chosen, rejected} each, by the side of the first human message, and how many are
    left out, by reason; UserError as `human_pairs.load`, and for a row that is malformed."""
    found: dict[Side, list[Row]] = {"train": [], "heldout": []}
    rows, left_out = human_pairs.load(file, feedback="people")
    for row in rows:
        first = next(message["content"] for message in row["prompt"] if message["role"] == "user")
        answers = {name: row[name][0]["content"] for name in human_pairs.SIDES}
        found[side(first, heldout)].append({"prompt": row["prompt"], **answers})
    return found, left_out


# -- PandaLM ----------------------------------------------------------------------------------------------------------


def pandalm(file: Path, heldout: float) -> tuple[dict[Side, list[Row]], Counter[str]]:
    """PandaLM's pairs, {question, answers, verdicts} each, by the side of the instruction, and how many are left out.

    verdicts  of each annotator: 1 or 2 for the better answer, 0 for a tie

    An answer that is no text (PandaLM has six that are a JSON `true`), an empty one, one with our markers, equal
    answers, no question, and a pair that came before in either order are left out.  UserError names all rows where a
    key is missing or a verdict is none of the three.
    """
    found: dict[Side, list[Row]] = {"train": [], "heldout": []}
    left_out: Counter[str] = Counter()
    seen = set()
    for instruction, row in each(row_file.rows(file, "pair", step=STEP), _verdicts):
        reason = _unusable(row["question"], row["answers"]) if row["question"] else "nothing is asked"
        pair = (row["question"], frozenset(map(str, row["answers"])))
        if reason is None and pair in seen:
            reason = "the same pair came before"
        if reason is not None:
            left_out[reason] += 1
            continue
        seen.add(pair)
        found[side(instruction, heldout)].append(row)
    # an instruction with its input may read as another one without
    trained = {_key(row["question"]) for row in found["train"]}
    kept = [row for row in found["heldout"] if _key(row["question"]) not in trained]
    if dropped := len(found["heldout"]) - len(kept):
        left_out[ON_TRAINED] = dropped
    return {"train": found["train"], "heldout": kept}, left_out


def _key(question: str) -> tuple[str, ...]:
    return tuple(words.key(question))


def _verdicts(given: tuple[str, Any]) -> tuple[str, Row]:
    """The instruction of a row of PandaLM, and the row as ours."""
    place, row = given
    instruction, more = _text(row, "instruction", place), _text(row, "input", place)
    answers = [_present(row, f"response{number}", place) for number in (1, 2)]
    verdicts = [_present(row, name, place) for name in ANNOTATORS]
    for name, verdict in zip(ANNOTATORS, verdicts, strict=True):
        if type(verdict) is not int or verdict not in (0, 1, 2):
            raise UserError(f"{place}: {name} is {verdict!r}; allowed: 1, 2, or 0 for a tie")
    question = asked(instruction, more, "\n\n")
    return instruction.strip() or question, {"question": question, "answers": answers, "verdicts": verdicts}


def _unusable(question: str, answers: Sequence[Any]) -> str | None:
    if not all(isinstance(answer, str) for answer in answers):
        return "an answer is no text"
    if not all(answer.strip() for answer in answers):
        return "an answer is empty"
    if any(chat.marker_in(answer) for answer in answers):
        return "an answer holds the marker of a turn"
    if chat.marker_in(question):
        return "its question holds the marker of a turn"
    return "both answers say the same" if answers[0].strip() == answers[1].strip() else None


def community(pair: Row) -> Row:
    """A pair of PandaLM as a community's question: an answer's votes are the annotators who chose it."""
    votes = [sum(verdict == number for verdict in pair["verdicts"]) for number in (1, 2)]
    answers = [
        {"text": text, "votes": count, "accepted": False} for text, count in zip(pair["answers"], votes, strict=True)
    ]
    return {"question": pair["question"], "answers": answers}


def as_is_and_judge(pairs: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """PandaLM's pairs for the As-is reward model (AS_IS of the questions) and for the judge, by a hash of the question,
    so that the two learn from other people's votes."""
    hashed = [int(content_id("half", *words.key(pair["question"])), 16) < AS_IS * 2**64 for pair in pairs]
    as_is = [pair for pair, is_in in zip(pairs, hashed, strict=True) if is_in]
    return as_is, [pair for pair, is_in in zip(pairs, hashed, strict=True) if not is_in]


def preferences(pairs: Sequence[Row]) -> list[Row]:
    """What the judge learns of PandaLM's training pairs: those of the second part of which one answer is preferred."""
    return [row for row in map(preference, as_is_and_judge(pairs)[1]) if row is not None]


def preference(pair: Row) -> Row | None:
    """A pair of PandaLM as {prompt, chosen, rejected}: what more annotators chose; None where as many chose each."""
    for_first, for_second = (sum(verdict == number for verdict in pair["verdicts"]) for number in (1, 2))
    if for_first == for_second:
        return None
    chosen, rejected = pair["answers"] if for_first > for_second else reversed(pair["answers"])
    prompt = [{"role": "user", "content": pair["question"]}]
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


# -- questions --------------------------------------------------------------------------------------------------------


def seed_queries(file: Path, limits: Limits) -> tuple[list[str], Counter[str]]:
    """The first turns of the Vicuna questions that keep the limits, and how many do not, by reason; UserError names all
    rows without a turn."""
    given = row_file.rows(file, "question", step=STEP)
    return _apart([(question, None) for question in each(given, _first_turn)], [], limits)


def eval_questions(
    file: Path, heldout: float, seeds: Sequence[str], limits: Limits, *, trained: Sequence[str] = ()
) -> tuple[list[str], Counter[str]]:
    """The user-oriented instructions with their inputs that keep the limits, are on the held-out side, and are like no
    seed query and no other of them; and how many are not, by reason.

    trained  questions on the other side, none of which is asked

    PandaLM's pairs are about the same instructions, so those that `pandalm_community.jsonl` may hold are left out here.
    UserError names all rows without an instruction or an instance.
    """
    asked_for, known = [], {_key(question) for question in trained}
    for instruction, question in each(row_file.rows(file, "instruction", step=STEP), _instruction):
        reason = ON_TRAINED if _key(question) in known else None
        if side(instruction, heldout) == "train":
            reason = "its instruction is on the side that is trained on"
        asked_for.append((question, reason))
    return _apart(asked_for, seeds, limits)


def heldout_texts(file: Path, heldout: float) -> tuple[list[Row], int]:
    """The answers that people wrote to the user-oriented instructions of the held-out side, {text} each, those of at
    least SHORTEST_TEXT characters, and how many are shorter; UserError as `eval_questions`."""
    given = row_file.rows(file, "instruction", step=STEP)
    sides = [side(instruction, heldout) for instruction, _ in each(given, _instruction)]
    answers = [_text(row["instances"][0], "output", f"{place}, instance 1").strip() for place, row in given]
    texts = [text for text, of in zip(answers, sides, strict=True) if of == "heldout"]
    kept: list[Row] = [{"text": text} for text in texts if len(text) >= SHORTEST_TEXT]
    return kept, len(texts) - len(kept)


def asked(instruction: str, more: str, between: str) -> str:
    """An instruction and what it is about as one question."""
    return between.join(part.strip() for part in (instruction, more) if part.strip())


def _apart(
    asked_for: Sequence[tuple[str, str | None]], others: Sequence[str], limits: Limits
) -> tuple[list[str], Counter[str]]:
    """The questions that may stand in a file of one a line, none like another or like `others`.

    asked_for  each with the reason why it may not be taken, where there is one
    """
    foreign, own = Pool(others), Pool()
    kept: list[str] = []
    left_out: Counter[str] = Counter()
    for question, reason in asked_for:
        reason = reason or _unfit(question, limits)
        if reason is None and foreign.nearest(question)[1] >= limits.rouge:
            reason = "like a seed query"
        if reason is None and own.nearest(question)[1] >= limits.rouge:
            reason = "like a question before it"
        if reason is not None:
            left_out[reason] += 1
            continue
        own.add(question)
        kept.append(question)
    return kept, left_out


def _unfit(question: str, limits: Limits) -> str | None:
    if len(question.splitlines()) > 1:
        return "more than one line"
    if len(question) < limits.shortest:
        return f"under {limits.shortest} characters"
    if len(question) > limits.longest:
        return f"over {limits.longest} characters"
    return "it holds the marker of a turn" if chat.marker_in(question) else None


def _first_turn(given: tuple[str, Any]) -> str:
    place, row = given
    turns = _present(row, "turns", place)
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str) or not turns[0].strip():
        raise UserError(f"{place}: turns is {str(turns)[:60]!r}; write a list that begins with a question")
    return turns[0].strip()


def _instruction(given: tuple[str, Any]) -> tuple[str, str]:
    """The instruction of a user-oriented row, and the question that it makes with its first instance."""
    place, row = given
    instruction, instances = _text(row, "instruction", place), _present(row, "instances", place)
    if not isinstance(instances, list) or not instances:
        raise UserError(f"{place}: instances is {str(instances)[:60]!r}; write a list of {{input, output}}")
    question = asked(instruction, _text(instances[0], "input", f"{place}, instance 1"), " ")
    return instruction.strip() or question, question


# -- rows -------------------------------------------------------------------------------------------------------------


def _present(row: Any, key: str, place: str) -> Any:
    if not isinstance(row, dict) or key not in row:
        has = ", ".join(map(str, row)) if isinstance(row, dict) else repr(row)[:60]
        raise UserError(f"{place}: {key} is missing (it has {has}); {STEP}")
    return row[key]


def _text(row: Any, key: str, place: str) -> str:
    value = _present(row, key, place)
    if not isinstance(value, str):
        raise UserError(f"{place}: {key} is {str(value)[:60]!r} where a text belongs; {STEP}")
    return value
