"""How alike two short texts are: ROUGE-L F1 (Lin 2004), the same value as the `rouge_score` package's, at C speed."""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

CHUNK = 8192
"""Texts that are compared at once."""


def words(text: str) -> list[str]:
    """The words that ROUGE counts: runs of a-z and 0-9 of the lowercased text."""
    return re.findall(r"[a-z0-9]+", text.lower())


class Pool:
    """Texts to compare a new one with; it grows.

    Every distinct word stands for one character, so that a text is a short string and the longest common subsequence
    is found with bit-parallel arithmetic.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._letters: dict[str, str] = {}
        self._coded: list[str] = []
        self._lengths = np.zeros(1024, dtype=np.int64)
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._coded)

    def add(self, text: str) -> None:
        if len(self) == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        coded = self._code(text)
        self._lengths[len(self)] = len(coded)
        self._coded.append(coded)

    def nearest(self, text: str) -> tuple[int, float]:
        """Place and ROUGE-L F1 of the most similar text, the first of several; (-1, 0.0) when nothing is shared.

        The common subsequence is no longer than the shorter text, which bounds F1 by the lengths alone: texts are
        compared from the highest bound down, until no bound is left that could reach the best one found.
        """
        coded = self._code(text)
        if not coded or not self._coded:
            return -1, 0.0
        lengths = self._lengths[: len(self)]
        bounds = f1(np.minimum(lengths, len(coded)), len(coded), lengths)
        order = np.argsort(-bounds, kind="stable")
        best, place = 0.0, -1
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            if bounds[chunk[0]] < best or bounds[chunk[0]] == 0:
                break
            [common] = process.cdist([coded], [self._coded[at] for at in chunk], scorer=LCSseq.similarity)
            scores = f1(common.astype(np.int64), len(coded), lengths[chunk])
            high = float(scores.max())
            if high > 0 and high >= best:
                first = int(chunk[scores == high].min())
                place = first if high > best else min(place, first)
                best = high
        return place, best

    def _code(self, text: str) -> str:
        return "".join(self._letter(word) for word in words(text))

    def _letter(self, word: str) -> str:
        if word not in self._letters:
            number = len(self._letters)
            self._letters[word] = chr(number if number < 0xD800 else number + 0x800)  # past the surrogates
        return self._letters[word]


def f1(common: NDArray[np.int64], one: int, other: NDArray[np.int64]) -> NDArray[np.float64]:
    """ROUGE-L F1 from the lengths of the common subsequence and of the two texts, as `rouge_score` rounds it."""
    precision = common / one
    recall = np.divide(common, other, out=np.zeros(len(other)), where=other > 0)
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros(len(other)), where=total > 0)


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L F1 of two texts; symmetric, 1 for equal words, 0 when either has none."""
    return Pool([other]).nearest(one)[1]
