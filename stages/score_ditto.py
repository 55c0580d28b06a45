"""Say how much of the author is in every method's answers, and which has more of it: by the style oracle of a world, or
by a classifier that has learned other texts of the authors."""

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import stage, tables
from synthalign.core.tables import Row
from synthalign.ditto import style_report
from world.authors import AUTHORS, features, style_score
from world.oracle import Oracle

if TYPE_CHECKING:
    from synthalign.ditto import authorship


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose authors are scored; null where there is none."""

    texts: dict[str, str] | None
    """Where there is no oracle: a file of other texts of each author, one a line, below data/general/authors/texts;
    null where there are none, and then nothing is measured."""

    plain: str = Field(min_length=1)
    """Texts of none of them, one a line, for the classifier to know; not read without `texts`."""

    authors: list[str] = Field(min_length=1)
    """Whose answers are scored."""

    @model_validator(mode="after")
    def _knows_the_authors(self) -> Self:
        for name in self.authors:
            if self.oracle is not None and name not in AUTHORS:
                raise ValueError(
                    f"authors: {name!r} is none of the world's, who are {', '.join(AUTHORS)}; leave it out, or set "
                    "oracle to null and name files of texts in texts"
                )
            if self.oracle is None and self.texts is not None and name not in self.texts:
                raise ValueError(f"texts has no {name!r}; name a file of other texts of theirs")
        return self


def by_oracle(params: Params, oracle: Oracle) -> list[Row]:
    """All answers with their author, style, its features, and the points of the world's oracle."""
    rows = []
    for author in params.authors:
        for row in answers(author):
            points = oracle.score(row["prompt"], row["text"])
            style, found = style_score(AUTHORS[author], row["text"]), features(AUTHORS[author], row["text"])
            rows.append(row | {"style": style, "features": found, "points": points.total if points else 0.0})
    return rows


def by_classifier(params: Params, judge: "authorship.Judge") -> list[Row]:
    """All answers with their author and style, which is how sure the classifier is of that author."""
    rows = []
    for author in params.authors:
        given = answers(author)
        styles = judge.styles(author, [row["text"] for row in given])
        rows += [row | {"style": style} for row, style in zip(given, styles, strict=True)]
    return rows


def answers(author: str) -> list[Row]:
    """All answers as an author; the same prompt as another author is another prompt."""
    return [
        row | {"author": author, "prompt_id": f"{author}/{row['prompt_id']}"}
        for row in tables.rows(f"ditto_answers/{author}")
    ]


def main(params: Params) -> None:
    judge: dict[str, object] = {}
    if params.oracle is not None:
        rows = by_oracle(params, Oracle.load(params.oracle))
    elif params.texts is not None:
        from synthalign.ditto import authorship  # with scikit-learn, which an oracle does not need

        learned = authorship.learned(params.texts, params.plain)
        rows, judge["classifier"] = by_classifier(params, learned), learned.accuracy(seed=params.seed)
    else:
        stage.write_metrics("score_ditto")
        return
    stage.write_metrics("score_ditto", **style_report.report(rows, params.seed), **judge)


if __name__ == "__main__":
    stage.run(main, "score_ditto", Params)
