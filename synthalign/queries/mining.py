"""Queries out of queries: Self-Instruct (Wang et al. 2023) for the inputs alone, as in ALMoST (section 2.1).

A few queries are shown to the model, which writes the next one.  What passes the filter is shown in later rounds.

    Query: Where does the red fox live?
    Query: How do I bake a plum cake?
    Query:

Here the immediate completion is the new query.  (The released code throws it away and takes the second, and its
length rule keeps short queries that end with a question mark; neither is followed.)
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Self

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, Field, model_validator

from synthalign.core import text_file, words
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.dialogue import chat
from synthalign.queries.similarity import Pool

LABEL = "Query:"
STOPS = ("\n",)

QUERIES = pa.schema(
    [
        ("query_id", pa.string()),
        ("text", pa.string()),
        ("origin", pa.string()),
        ("split", pa.string()),
        ("nearest_id", pa.string()),
        ("nearest_rouge_l", pa.float64()),
    ]
)
"""The queries that everything else is about: origin seed, mined or eval; split train or eval."""

REJECTED = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("round", pa.int64()),
        ("text", pa.string()),
        ("reject_reason", pa.string()),
        ("nearest_text", pa.string()),
        ("nearest_rouge_l", pa.float64()),
    ]
)
"""What was written and not used, and why."""


def read_queries(path: str) -> list[str]:
    """The queries of a file, one a line; UserError names the first that is empty or there twice."""
    queries = [line.strip() for line in text_file.lines(path, step="write one query a line")]
    first: dict[str, int] = {}
    for number, query in enumerate(queries, start=1):
        if not query:
            raise UserError(f"{path}, line {number}: the query is empty; remove the line")
        if marker := chat.marker_in(query):
            raise UserError(f"{path}, line {number}: {query!r} brings our own {marker!r}; write the question alone")
        if query in first:
            raise UserError(f"{path}, line {number}: {query!r} stands in line {first[query]} already; remove one")
        first[query] = number
    if not queries:
        raise UserError(f"{path} holds no query; write one a line")
    return queries


def read_apart(seed_queries: str, eval_questions: str) -> tuple[list[str], list[str]]:
    """The queries of both files; UserError when a query of one has the words of a query of the other."""
    seeds, questions = read_queries(seed_queries), read_queries(eval_questions)
    asked = {words.key(question): question for question in questions}
    for seed in seeds:
        if question := asked.get(words.key(seed)):
            found = "is also" if question == seed else f"has the words of {question!r}"
            raise UserError(
                f"{seed_queries}: {seed!r} {found} in {eval_questions}; a question must not be trained on and judged "
                "by; remove it from one of the two"
            )
    return seeds, questions


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
    too_short       fewer than `min_characters`, or nothing at all
    too_long        more than `max_characters`
    keyword         it holds one of the words that are not wanted, as a word and in any case
    duplicate       it is there already, to the letter
    eval_question   ROUGE-L F1 with an evaluation question is at least the threshold, or it is one, so it would leak
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
        self._asked = set(eval_questions)
        self._known = set(seeds)
        self._pool = Pool(seeds)
        self._eval_pool = Pool(eval_questions)
        self._min, self._max, self._threshold = min_characters, max_characters, rouge_threshold
        self._keywords = words.finder(keywords)

    def judge(self, text: str, *, finished: bool = True) -> Candidate:
        """The candidate with its reject reason; without one it is among the accepted from now on."""
        reason = None
        if not finished:
            reason = "unfinished"
        elif not text or len(text) < self._min:
            reason = "too_short"
        elif len(text) > self._max:
            reason = "too_long"
        elif self._keywords and self._keywords.search(words.folded(text)):
            reason = "keyword"
        if reason:
            return Candidate(text, reason, None, None)
        if text in self._known:
            return Candidate(text, "duplicate", text, 1.0)
        if text in self._asked:  # which may have no word
            return Candidate(text, "eval_question", text, 1.0)
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


@dataclass(frozen=True)
class Mined:
    """What mining has come to after some rounds."""

    accepted: list[Candidate] = field(default_factory=list)
    rejected: list[tuple[int, Candidate]] = field(default_factory=list)
    """With the round that each was written in."""

    @property
    def reasons(self) -> dict[str, int]:
        """How often each reason rejected a candidate, the most frequent first."""
        return dict(Counter(str(candidate.reject_reason) for _, candidate in self.rejected).most_common())

    @property
    def acceptance_rate(self) -> float:
        """The share of candidates that were accepted, to six digits."""
        return round(len(self.accepted) / (len(self.accepted) + len(self.rejected)), 6)


class Settings(BaseModel, frozen=True, extra="forbid", strict=True):
    """How much is mined, and what a query must be."""

    shots: int = Field(gt=0)
    """Queries shown in a prompt, drawn from seeds and accepted queries alike."""

    target: int = Field(gt=0)
    """How many new queries are wanted."""

    max_rounds: int = Field(gt=0)
    """After so many rounds mining ends, target or not."""

    round_size: int = Field(gt=0)
    """Prompts in a round; what a round accepts is shown from the next round on."""

    min_characters: int = Field(ge=0)
    """A shorter query is dropped."""

    max_characters: int = Field(gt=0)
    """A longer query is dropped."""

    keywords: list[Annotated[str, AfterValidator(words.phrase)]]
    """A query with one of these in it, in any case, is dropped; may be empty."""

    rouge_threshold: float = Field(gt=0, le=1)
    """ROUGE-L F1 with an older query or an evaluation question from which on a query is too similar."""

    seed: int = Field(ge=0)
    """Draws the shots and the tokens."""

    @model_validator(mode="after")
    def _leaves_a_length(self) -> Self:
        if self.min_characters > self.max_characters:
            raise ValueError(
                f"min_characters = {self.min_characters} is above max_characters = {self.max_characters}, so every "
                "query would be dropped; turn them round"
            )
        return self


Write = Callable[[int, Mapping[str, str]], Sequence[tuple[str, bool]]]
"""(round, prompts by name) -> what a model writes after them, in their order, and whether each ended by itself."""


def rounds(
    judge: Filter, write: Write, *, target: int, max_rounds: int, round_size: int, shots: int, seed: int
) -> Iterator[Mined]:
    """Mine in rounds, and tell after each what there is: always the same object, which grows.

    The prompts of a round show what was accepted before it. Mining ends with the candidate that makes `target`, or
    after `max_rounds`.
    """
    mined = Mined()
    for round in range(max_rounds):
        pool = list(judge.accepted)
        names = [f"{round}:{place}" for place in range(round_size)]
        for text, finished in write(round, {name: prompt(pool, shots, seed=seed, name=name) for name in names}):
            if len(mined.accepted) == target:
                break
            candidate = judge.judge(cleaned(text), finished=finished)
            if candidate.reject_reason is None:
                mined.accepted.append(candidate)
            else:
                mined.rejected.append((round, candidate))
        yield mined
        if len(mined.accepted) == target:
            break


def cleaned(text: str) -> str:
    """The query in what a model wrote: a model may write the cue once more, or the next query in the same line."""
    return text.strip().removeprefix(LABEL).partition(LABEL)[0].strip()


def query_row(text: str, origin: str, split: str, nearest: str | None = None, rouge_l: float | None = None) -> Row:
    """A row of `QUERIES`."""
    return {
        "query_id": content_id("query", text),
        "text": text,
        "origin": origin,
        "split": split,
        "nearest_id": None if nearest is None else content_id("query", nearest),
        "nearest_rouge_l": rouge_l,
    }


def query_rows(seeds: Sequence[str], accepted: Sequence[Candidate], eval_questions: Sequence[str]) -> list[Row]:
    """The rows of `QUERIES`: what to train on, and the evaluation questions."""
    return [
        *(query_row(text, "seed", "train") for text in seeds),
        *(query_row(one.text, "mined", "train", one.nearest, one.rouge_l) for one in accepted),
        *(query_row(text, "eval", "eval") for text in eval_questions),
    ]


def rejected_rows(rejected: Sequence[tuple[int, Candidate]]) -> list[Row]:
    """The rows of `REJECTED`; an id goes by the place, as the same text may be rejected more than once."""
    return [
        {
            "candidate_id": content_id("candidate", place),
            "round": round,
            "text": candidate.text,
            "reject_reason": candidate.reject_reason,
            "nearest_text": candidate.nearest,
            "nearest_rouge_l": candidate.rouge_l,
        }
        for place, (round, candidate) in enumerate(rejected)
    ]
