"""Preferences of a question-and-answer site: votes and the accepted mark say which of two answers is better."""

import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from synthalign.core import row_file
from synthalign.core.errors import UserError, each
from synthalign.core.ids import content_id

FORM = "it needs the columns question and answers, a list of {text, votes, accepted}"


def load(file: Path) -> list[dict[str, Any]]:
    """The questions of a community file with their answers, {text, score} each.

        {"question": text, "answers": [{"text": …, "votes": 7, "accepted": true}]}         plain text
        {"question": text, "answers": [{"text": …, "pm_score": 4, "selected": true}]}      HTML

    The second layout is stack-exchange-preferences, which has `answer_score` ready; its HTML becomes plain text.
    UserError names all rows with a null or another value that does not belong there.
    """
    questions = each(row_file.rows(file, "question", step=f"not a community file: {FORM}"), _question)
    if not questions:
        raise UserError(f"{file}: not a community file: no rows; {FORM}")
    return questions


def _question(given: tuple[str, Any]) -> dict[str, Any]:
    place, row = given
    answers = row.get("answers") if isinstance(row, dict) else None
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        raise UserError(f"{place}: not a community file: answers is {str(answers)[:60]!r}; {FORM}")
    question = _value(row, "question", str, place)
    is_html = any("pm_score" in answer for answer in answers)
    return {
        "question": plain(question) if is_html else question,
        "answers": [_answer(answer, f"{place}, answer {number}") for number, answer in enumerate(answers, start=1)],
    }


def _answer(answer: dict[str, Any], place: str) -> dict[str, Any]:
    text = _value(answer, "text", str, place)
    if "pm_score" in answer:
        return {"text": plain(text), "score": int(_value(answer, "pm_score", int, place))}
    votes, accepted = _value(answer, "votes", int, place), _value(answer, "accepted", bool, place)
    return {"text": text, "score": answer_score(int(votes), bool(accepted))}


def _value(row: dict[str, Any], column: str, kind: type, place: str) -> Any:
    """A value of its kind; a whole number may be a float and a truth 0 or 1, as pandas writes columns with gaps."""
    value = row.get(column)
    fits = isinstance(value, str) and value.strip() if kind is str else value in (0, 1)
    if kind is int:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    if not fits:
        raise UserError(
            f"{place}: not a community file: {column} is {value!r} where a {KINDS[kind]} belongs; fill it in, or leave "
            f"the row out ({FORM})"
        )
    return value


KINDS = {str: "text", int: "whole number", bool: "yes or no"}


def plain(html: str) -> str:
    """HTML as plain text: a blank line between paragraphs, a hyphen before an entry of a list, links by their text."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = [line.rstrip() for line in "".join(reader.parts).strip().split("\n")]
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.is_code = False
        """Within <pre>, where line ends and blanks count."""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if not (tag == "p" and self.parts and self.parts[-1] == ENTRY):  # the first paragraph of an entry
            self._append({"br": "\n", "li": ENTRY}.get(tag, "\n\n" if tag in BLOCKS else ""))
        self.is_code = self.is_code or tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        self._append("\n\n" if tag in BLOCKS else "")
        self.is_code = self.is_code and tag != "pre"

    def _append(self, part: str) -> None:
        if part:
            self.parts.append(part)

    def handle_data(self, data: str) -> None:
        begins_a_line = not self.parts or self.parts[-1].endswith(("\n", ENTRY))
        words = re.sub(r"\s+", " ", data)
        self._append(data if self.is_code else words.lstrip() if begins_a_line else words)


ENTRY = "\n- "
"""Before an entry of a list."""

BLOCKS = ("p", "pre", "ul", "ol", "blockquote", "h1", "h2", "h3", "hr", "table", "tr")


def answer_score(votes: int, accepted: bool) -> int:
    """round(log2(1 + votes)), plus 1 for the accepted answer; -1 for an answer voted below zero.

    The score of Askell et al. 2021 as the stack-exchange-preferences data set defines it: the step from one
    vote to three counts as much as the step from three to seven.
    """
    return -1 if votes < 0 else round(math.log2(1 + votes)) + int(accepted)


def answer_pairs(question: str, answers: Sequence[dict[str, Any]], *, limit: int, seed: int) -> list[tuple[int, int]]:
    """Which answer is better than which: positions (better, worse), at most `limit` pairs of one question.

    answers  {text, score} each

    Ties and equal texts give no pair. Above the limit the choice depends on the seed and the texts alone, so a popular
    question with many answers does not outweigh the others and another question's answers change nothing here.
    """
    scores = [answer["score"] for answer in answers]
    pairs = [
        (better, worse)
        for better in range(len(answers))
        for worse in range(len(answers))
        if scores[better] > scores[worse] and answers[better]["text"].strip() != answers[worse]["text"].strip()
    ]
    if len(pairs) > limit:
        pairs.sort(key=lambda pair: content_id(seed, question, *(answers[one]["text"] for one in pair)))
    return sorted(pairs[:limit])
