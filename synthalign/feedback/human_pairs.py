"""Read a file of people's preferences as comparisons, in the layouts that public data sets have.

    {"prompt": "Where does the red fox live?", "chosen": "In the forest.", "rejected": "Who knows."}
    {"prompt": "Where …?", "chosen": [{"role": "user", "content": "Where …?"}, {"role": "assistant", …}], "rejected": …}
    {"chosen": "\\n\\nHuman: Where …?\\n\\nAssistant: In the forest.", "rejected": "\\n\\nHuman: …"}

Each of the three is a text or a list of messages; a text with our own markers is taken apart at them.  What the sides
share with the prompt, or with each other, is the prompt and stands in no side.  A text in a column `system` is the
system message of the conversation.  A ranking of K responses is a row too,
the best first, or each with its rank or its score:

    {"prompt": "Where …?", "responses": ["In the forest.", "Outside.", "Who knows."]}
    {"prompt": "Where …?", "responses": ["Outside.", "In the forest.", "Who knows."], "ranks": [2, 1, 2]}
    {"prompt": "Where …?", "answers": [{"answer": "Outside.", "rank": 2}, {"answer": "In the forest.", "rank": 1}]}

It becomes all of its pairs, up to K (K - 1) / 2, without those of equal ranks (Ouyang et al. 2022, section 3.5).
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import Any

from synthalign.core import row_file
from synthalign.core.errors import UserError, together
from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.dialogue import chat, transcripts
from synthalign.dialogue.chat import Message
from synthalign.dialogue.transcripts import NoDialogue

SIDES = ("chosen", "rejected")
RANKED = ("responses", "answers")

WHO = {"user": "the person", "assistant": "the assistant", "system": "a system message"}


def load(file: Path, *, feedback: str) -> tuple[list[Row], Counter[str]]:
    """The pairs of a file (.jsonl, .json, .parquet; .jsonl.gz) as rows of a comparisons table, and how many cannot be
    used, by reason, of which stdout says the first places: line, side, and message with its role.

    A pair that is there twice counts once, one with equal sides not at all.  What cannot be used is the same in a text
    with markers and in a list of messages.  UserError names the file and the places of pairs that are malformed: a side
    is missing or null, a message without text, a role unknown.
    """
    rows: dict[str, Row] = {}
    wrong: list[str] = []
    left_out: dict[str, list[str]] = {}
    given = row_file.rows(file, "pair", step="fetch it, or name another file in params.yaml")
    pairs: list[tuple[str, Any, bool]] = []
    for place, row in given:
        try:
            pairs += of_row(row, place)
        except UserError as error:
            wrong.append(str(error))
    for place, pair, tied in pairs:
        try:
            if tied:
                raise NoDialogue("both sides have one rank")
            prompt, answers = taken_apart(pair, place)
            row = _row(prompt, answers, feedback)
            if answers[0] == answers[1]:
                raise NoDialogue("both sides say the same")
            if row["comparison_id"] in rows:
                raise NoDialogue("the same pair came before")
            rows[row["comparison_id"]] = row
        except UserError as error:
            wrong.append(str(error))
        except NoDialogue as error:
            where = f"{place.removeprefix(f'{file}, ')} {error.where}".rstrip()
            left_out.setdefault(str(error), []).append(where)
    if wrong:
        raise together(wrong)
    for reason, places in sorted(left_out.items()):
        print(f"{file}: {len(places):,} of {len(pairs):,} pairs left out, {reason} (first: {', '.join(places[:3])})")
    return list(rows.values()), Counter({reason: len(places) for reason, places in left_out.items()})


def of_row(row: Any, place: str) -> list[tuple[str, Any, bool]]:
    """A row as pairs, each with its place and whether it is a tie: the row itself, or every two responses of a ranking.

    A table has every column in every row, so what is null there is not there. UserError when a ranking has fewer than
    two responses, or not a number for each.
    """
    if not isinstance(row, dict) or not {*RANKED} & row.keys():
        return [(place, row, False)]
    given = {name for name in (*RANKED, *SIDES) if row.get(name) is not None}
    if {*SIDES} & given or (not given and {*SIDES} & row.keys()):
        return [(place, row, False)]
    responses, ranks = _ranked(row, place)
    found = []
    for one, other in combinations(range(len(responses)), 2):
        better, worse = (one, other) if ranks[one] <= ranks[other] else (other, one)
        shared = {"system": row.get("system"), "prompt": row.get("prompt")}
        pair = shared | {"chosen": responses[better], "rejected": responses[worse]}
        found.append((f"{place}, responses {better + 1} and {worse + 1}", pair, ranks[one] == ranks[other]))
    return found


def _ranked(row: dict[str, Any], place: str) -> tuple[list[Any], list[float]]:
    """The responses of a ranking and the rank of each, the lowest being the best."""
    there = [name for name in RANKED if name in row]
    name = next((name for name in there if row[name] is not None), there[0])
    responses = row[name]
    if not isinstance(responses, list) or len(responses) < 2:
        raise UserError(f"{place}: {name} is {repr(responses)[:60]}; a ranking is a list of two responses or more")
    if name == "answers":
        if not all(isinstance(one, dict) and {"answer", "rank"} <= one.keys() for one in responses):
            raise UserError(f"{place}: each of answers needs answer and rank; or write responses, a list of texts")
        numbers, sign = [one["rank"] for one in responses], 1
        responses = [one["answer"] for one in responses]
    elif row.get("scores") is not None and row.get("ranks") is not None:
        raise UserError(f"{place}: it has ranks and scores; leave one of them out")
    elif row.get("scores") is not None:
        numbers, sign = row["scores"], -1
    elif row.get("ranks") is not None:
        numbers, sign = row["ranks"], 1
    else:
        for other, value in row.items():
            if isinstance(value, list) and len(value) == len(responses) and all(map(_is_number, value)):
                raise UserError(
                    f"{place}: {other} has a number for each of {name}, and without ranks or scores they would be read "
                    "as the best first; call it scores (the highest is the best) or ranks (the lowest), or leave it out"
                )
        numbers, sign = [*range(len(responses))], 1
    if not isinstance(numbers, list) or len(numbers) != len(responses) or not all(map(_is_number, numbers)):
        raise UserError(f"{place}: {repr(numbers)[:60]} are not {len(responses)} numbers, one for each response")
    for number, response in enumerate(responses, start=1):
        _given(response, f"{place}: response {number}")
    return responses, [sign * one for one in numbers]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def taken_apart(pair: Any, place: str) -> tuple[list[Message], tuple[str, str]]:
    """The prompt of a pair, which ends with the user, and its two answers.

    NoDialogue when they are not two answers to one prompt, UserError when the row has not what a pair needs.
    """
    if not isinstance(pair, dict) or not pair.keys() >= {*SIDES}:
        has = ", ".join(map(str, pair)) if isinstance(pair, dict) else repr(pair)[:60]
        raise UserError(f"{place}: it has {has}; a pair needs chosen and rejected, and a prompt beside texts")
    parts = ["prompt", *SIDES] if pair.get("prompt") is not None else [*SIDES]
    given = {name: _given(pair[name], f"{place}: {name}") for name in parts}
    said = {name: _messages(given[name], name) for name in parts}
    prompt = said.get("prompt", [])
    if prompt and prompt[-1]["role"] != "user":
        raise NoDialogue(f"the prompt ends with {WHO[prompt[-1]['role']]}", _last("prompt", prompt))
    contexts, answers = [], []
    for name in SIDES:
        *context, answer = said[name]
        if answer["role"] != "assistant":
            raise NoDialogue(f"{name} ends with {WHO[answer['role']]}", _last(name, said[name]))
        contexts.append(_context(prompt, context))
        answers.append(answer["content"])
    if contexts[0] != contexts[1]:
        raise NoDialogue("the sides answer different conversations")
    if not contexts[0]:
        raise UserError(f"{place}: prompt is missing, and chosen and rejected are answers alone")
    if contexts[0][0]["role"] == "assistant":
        raise NoDialogue("the conversation begins with the assistant")
    return _under(pair.get("system"), contexts[0]), (answers[0], answers[1])


def _under(system: Any, context: list[Message]) -> list[Message]:
    """The conversation behind what stands in a column `system`, where there is one and it is a text."""
    if not isinstance(system, str) or not system.strip():
        return context
    message: Message = {"role": "system", "content": system.strip()}
    if chat.marker_in(system):
        raise NoDialogue("a turn holds the marker of another one", "system")
    if context[0]["role"] != "system":
        return [message, *context]
    if context[0] != message:
        raise NoDialogue("the column system and the conversation say different things")
    return context


def _given(value: Any, place: str) -> str | list[Message]:
    """A prompt or side as it is, its roles ours; UserError when it is malformed."""
    if isinstance(value, list):
        return transcripts.listed(value, place)
    if not isinstance(value, str):
        raise UserError(f"{place} is {value!r}; it must be a text or a list of messages with role and content")
    return value


def _messages(given: str | list[Message], name: str) -> list[Message]:
    """A prompt or side as messages; a text without markers is one message."""
    role = "user" if name == "prompt" else "assistant"
    found = given if isinstance(given, list) else [{"role": role, "content": given}]
    try:
        transcripts.full(found)
        if isinstance(given, list):
            transcripts.in_turns(found)
        elif transcripts.begins_with_a_marker(given):
            found = transcripts.parsed(transcripts.without_cue(given) if role == "user" else given)
        for number, message in enumerate(found, start=1):
            if chat.marker_in(message["content"]):
                raise NoDialogue("a turn holds the marker of another one", f"message {number} ({message['role']})")
    except NoDialogue as error:
        raise NoDialogue(str(error), f"{name} {error.where}".rstrip()) from error
    return transcripts.stripped(found)


def _last(name: str, found: Sequence[Message]) -> str:
    """The place of the last message of a prompt or side."""
    return f"{name} message {len(found)} ({found[-1]['role']})"


def _context(prompt: list[Message], before: list[Message]) -> list[Message]:
    """What an answer answers: the prompt, of which its side may repeat the end, or the turns before it where these hold
    the prompt."""
    if not before or prompt[-len(before) :] == before:
        return prompt
    if not _holds(before, prompt):
        raise NoDialogue("a side does not begin with the prompt")
    return before


def _holds(whole: Sequence[Message], part: Sequence[Message]) -> bool:
    """Whether the messages of `part` stand in `whole` one after the other."""
    starts = range(len(whole) - len(part) + 1)
    return any(list(whole[start : start + len(part)]) == list(part) for start in starts)


def _row(prompt: list[Message], answers: tuple[str, str], feedback: str) -> Row:
    query_id = content_id("human", *(message["content"] for message in prompt))
    chosen_id, rejected_id = (content_id("human", query_id, answer) for answer in answers)
    chosen, rejected = ([{"role": "assistant", "content": answer}] for answer in answers)
    return {
        "comparison_id": content_id("comparison", chosen_id, rejected_id),
        "query_id": query_id,
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_id": chosen_id,
        "rejected_id": rejected_id,
        "chosen_config": "human",
        "rejected_config": "human",
        "chosen_finish_reason": None,
        "rejected_finish_reason": None,
        "feedback": feedback,
        "p_chosen": 1.0,
    }
