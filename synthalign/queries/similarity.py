"""How alike two short texts are: ROUGE-L F1 (Lin 2004), at C speed.

Between ASCII texts it is the value of the `rouge_score` package, to the bit. That package drops all other letters; here
the words of every script count (`core.words`).
"""

from array import array
from collections.abc import Iterable
from math import ceil

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from synthalign.core.words import words


class Pool:
    """Texts to compare a new one with; it grows.

    Every distinct word stands for one character, so that a text is a short string and the longest common subsequence
    is found with bit-parallel arithmetic.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._letters: dict[str, str] = {}
        self._coded: list[str] = []
        self._lengths = np.zeros(1024, dtype=np.int64)
        self._places: dict[tuple[str, int], array[int]] = {}
        """Which texts have a letter for the first, the second ... time."""
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._coded)

    def add(self, text: str) -> None:
        if len(self) == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        coded = self._code(text)
        self._lengths[len(self)] = len(coded)
        for letter in numbered(coded):
            self._places.setdefault(letter, array("q")).append(len(self))
        self._coded.append(coded)

    def nearest(self, text: str) -> tuple[int, float]:
        """Place and ROUGE-L F1 of the most similar text, the first of several; (-1, 0.0) when nothing is shared.

        The common subsequence is no longer than the number of words that are shared in any order, which bounds F1. The
        shortest of the texts that share most are compared first; then all those whose bound reaches the best of them.
        A text is as long as what it shares at least, so that most are left out by the number of shared words alone.
        """
        coded = self._code(text)
        places = [self._places[letter] for letter in numbered(coded) if letter in self._places]
        if not places:
            return -1, 0.0
        shared = np.bincount(np.concatenate(places), minlength=len(self))
        most = np.flatnonzero(shared == shared.max())
        lengths = self._lengths[most]
        least = self._scores(coded, most[lengths == lengths.min()]).max()
        enough = least * len(coded) / (2 - least)  # shared words s with 2 s / (len(coded) + s) = least
        close = np.flatnonzero(shared >= max(1, ceil(enough - 1e-6)))
        close = close[f1(shared[close], len(coded), self._lengths[close]) >= least]
        scores = self._scores(coded, close)
        return int(close[scores.argmax()]), float(scores.max())

    def _scores(self, coded: str, places: NDArray[np.int64]) -> NDArray[np.float64]:
        [common] = process.cdist([coded], [self._coded[place] for place in places], scorer=LCSseq.similarity)
        return f1(common.astype(np.int64), len(coded), self._lengths[places])

    def _code(self, text: str) -> str:
        return "".join(self._letter(word) for word in words(text))

    def _letter(self, word: str) -> str:
        if word not in self._letters:
            number = len(self._letters)
            self._letters[word] = chr(number if number < 0xD800 else number + 0x800)  # past the surrogates
        return self._letters[word]


def numbered(coded: str) -> list[tuple[str, int]]:
    """Each letter with how many of the same are before it: two texts share as many of these as they share words."""
    return [(letter, coded.count(letter, 0, place)) for place, letter in enumerate(coded)]


def f1(common: NDArray[np.int64], one: int, other: NDArray[np.int64]) -> NDArray[np.float64]:
    """ROUGE-L F1 from the lengths of the common subsequence and of the two texts, as `rouge_score` rounds it."""
    precision = common / one
    recall = np.divide(common, other, out=np.zeros(len(other)), where=other > 0)
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros(len(other)), where=total > 0)


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L F1 of two texts; symmetric, 1 for equal words, 0 when either has none."""
    return Pool([other]).nearest(one)[1]
