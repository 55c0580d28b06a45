"""Whose text is it: a classifier by character n-grams, the usual judge of authorship (Stamatatos 2009, section 2.2).

    classes   every author's other texts, and texts of nobody of them
    features  tf-idf of the sequences of 2 to 4 characters within words
    style     the probability of the author's class, from a logistic regression that weighs all classes alike

It learns from texts that no method ever sees, and says how often it is right on those of them that it was not shown.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline

from synthalign.core import statistics, text_file
from synthalign.core.errors import UserError

NOBODY = "nobody"
"""The class of texts by none of the authors."""

FOLDS = 5


class Judge:
    """Fitted on texts by class; UserError with fewer than two classes, or fewer than five texts in one."""

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        if len(texts) < 2:
            raise UserError(f"texts of {list(texts)}: to tell authors apart takes two classes; name `plain` as well")
        short = [name for name, given in texts.items() if len(given) < FOLDS]
        if short:
            raise UserError(f"{short[0]}: {len(texts[short[0]])} texts are too few to learn from; {FOLDS} is the least")
        self._texts = [text for given in texts.values() for text in given]
        self._names = [name for name, given in texts.items() for _ in given]
        self._model = _classifier().fit(self._texts, self._names)

    def styles(self, author: str, texts: Sequence[str]) -> list[float]:
        """For each text the probability that it is the author's, among all classes."""
        if not texts:
            return []
        column = list(self._model.classes_).index(author)
        return [round(float(row[column]), 6) for row in self._model.predict_proba(list(texts))]

    def accuracy(self, *, seed: int) -> dict[str, float | int | dict[str, float]]:
        """The share of its texts that it assigns right when it has learned from four fifths of all, the others.

        With an interval over texts, by class, and `chance`: what always saying the commonest class would be right on.
        """
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        said = cross_val_predict(_classifier(), self._texts, self._names, cv=folds)
        right = [float(name == guess) for name, guess in zip(self._names, said, strict=True)]
        counts = Counter(self._names)
        by_class = {
            name: round(sum(ok for ok, own in zip(right, self._names, strict=True) if own == name) / count, 6)
            for name, count in counts.items()
        }
        return {
            **statistics.mean_interval(right, range(len(right)), seed=seed).metrics(),
            "chance": round(max(counts.values()) / len(right), 6),
            "by_class": by_class,
        }


def _classifier() -> Pipeline:
    return make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
        LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000),
    )


def learned(files: Mapping[str, str], plain: str) -> Judge:
    """The judge of the authors whose other texts are in these files, one a line; `plain` has those of nobody.

    UserError as `Judge`, or when a file cannot be read.
    """
    step = "score_ditto.texts and score_ditto.plain name the files that the classifier learns"
    return Judge({name: text_file.lines(file, step=step) for name, file in {**files, NOBODY: plain}.items()})
