"""Queries out of queries: Self-Instruct (Wang et al. 2023) for the inputs alone, as in ALMoST (section 2.1).

A few queries are shown to the model, which writes the next one.  What passes the filter is shown in later rounds.

    Query: Where does the red fox live?
    Query: How do I bake a plum cake?
    Query:

Here the immediate completion is the new query.  (The released code throws it away and takes the second, and its
length rule keeps short queries that end with a question mark; neither is followed.)
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthalign.errors import UserError
from synthalign.similarity import Pool

LABEL = "Query:"
STOPS = ("\n",)


def read_queries(path: str) -> list[str]:
    """The queries of a file, one a line; UserError names the first that is empty or there twice."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); write one query a line") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        value = error.object[error.start]
        raise UserError(f"{path}, line {line}: byte 0x{value:02x} is not UTF-8; save the file as UTF-8") from error
    if lines and not lines[-1]:
        lines.pop()
    queries = [line.strip() for line in lines]
    first: dict[str, int] = {}
    for number, query in enumerate(queries, start=1):
        if not query:
            raise UserError(f"{path}, line {number}: the query is empty; remove the line")
        if query in first:
            raise UserError(f"{path}, line {number}: {query!r} stands in line {first[query]} already; remove one")
        first[query] = number
    if not queries:
        raise UserError(f"{path} holds no query; write one a line")
    return queries


def prompt(pool: Sequence[str], shots: int, *, seed: int, name: str) -> str:
    """A prompt with `shots` queries of the pool, drawn uniformly without replacement by seed and name."""
    drawn = random.Random(f"{seed}\0{name}").sample(pool, min(shots, len(pool)))
    return "".join(f"{LABEL} {query}\n" for query in drawn) + LABEL


@dataclass(frozen=True)
class Candidate:
    text: str
    reject_reason: str | None
    """Why it is not used, the first reason that holds (see `judge`); None for a new query."""

    nearest: str | None
    """The most similar query that was there before it, when it got so far."""

    rouge_l: float | None


class Filter:
    """Decide on candidates one after the other; every accepted one is what later ones must differ from.

    unfinished      it had not ended after `max_new_tokens`
    too_short       fewer than `min_characters`
    too_long        more than `max_characters`
    keyword         it holds one of the words that are not wanted, in any case
    duplicate       it is there already, to the letter
    eval_question   ROUGE-L F1 with an evaluation question is at least the threshold, so it would leak
    near_duplicate  ROUGE-L F1 with a query that is there is at least the threshold
    """

    def __init__(
        self,
        seeds: Sequence[str],
        eval_questions: Sequence[str],
        *,
        min_characters: int,
        max_characters: int,
        keywords: Sequence[str],
        rouge_threshold: float,
    ) -> None:
        self.accepted: list[str] = list(seeds)
        self._eval_questions = list(eval_questions)
        self._known = set(seeds)
        self._pool = Pool(seeds)
        self._eval_pool = Pool(eval_questions)
        self._min, self._max, self._threshold = min_characters, max_characters, rouge_threshold
        self._keywords = [word.lower() for word in keywords]

    def judge(self, text: str, *, finished: bool = True) -> Candidate:
        """The candidate with its reject reason; without one it is among the accepted from now on."""
        reason = None
        if not finished:
            reason = "unfinished"
        elif len(text) < self._min:
            reason = "too_short"
        elif len(text) > self._max:
            reason = "too_long"
        elif any(word in text.lower() for word in self._keywords):
            reason = "keyword"
        if reason:
            return Candidate(text, reason, None, None)
        if text in self._known:
            return Candidate(text, "duplicate", text, 1.0)
        place, alike = self._eval_pool.nearest(text)
        if alike >= self._threshold:
            return Candidate(text, "eval_question", self._eval_questions[place], alike)
        place, alike = self._pool.nearest(text)
        nearest = self.accepted[place] if place >= 0 else None
        if alike >= self._threshold:
            return Candidate(text, "near_duplicate", nearest, alike)
        self.accepted.append(text)
        self._known.add(text)
        self._pool.add(text)
        return Candidate(text, None, nearest, alike)
