"""Preferences of a question-and-answer site: votes and the accepted mark say which of two answers is better."""

import math
from collections.abc import Sequence
from typing import Any

from synthalign.core.ids import content_id


def answer_score(votes: int, accepted: bool) -> int:
    """round(log2(1 + votes)), plus 1 for the accepted answer; -1 for an answer voted below zero.

    The score of Askell et al. 2021 as the stack-exchange-preferences data set defines it: the step from one
    vote to three counts as much as the step from three to seven.
    """
    return -1 if votes < 0 else round(math.log2(1 + votes)) + int(accepted)


def answer_pairs(question: str, answers: Sequence[dict[str, Any]], *, limit: int, seed: int) -> list[tuple[int, int]]:
    """Which answer is better than which: positions (better, worse), at most `limit` pairs of one question.

    answers  {text, votes, accepted} each

    Ties and equal texts give no pair. Above the limit the choice depends on the seed and the texts alone, so a popular
    question with many answers does not outweigh the others and another question's answers change nothing here.
    """
    scores = [answer_score(answer["votes"], answer["accepted"]) for answer in answers]
    pairs = [
        (better, worse)
        for better in range(len(answers))
        for worse in range(len(answers))
        if scores[better] > scores[worse] and answers[better]["text"].strip() != answers[worse]["text"].strip()
    ]
    if len(pairs) > limit:
        pairs.sort(key=lambda pair: content_id(seed, question, *(answers[one]["text"] for one in pair)))
    return sorted(pairs[:limit])
