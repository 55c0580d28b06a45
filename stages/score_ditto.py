"""Ask the style oracle how much of the author is in every method's answers, and which method has more of it."""

from collections.abc import Mapping
from itertools import permutations
from statistics import fmean
from typing import Any

from pydantic import BaseModel, Field

from synthalign.core import measures, stage, tables
from synthalign.core.tables import Row
from synthalign.judging import verdicts, win_rates
from synthalign.judging.verdicts import Answer
from world.authors import AUTHORS, features, style_score
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose authors are scored; null where there is none, and then nothing is measured."""

    authors: list[str] = Field(min_length=1)
    """Whose answers are scored."""


def scored(params: Params, oracle: Oracle) -> list[Row]:
    """All answers with their author, style and the points of the world's oracle; a prompt is one author's."""
    rows = []
    for author in params.authors:
        for row in tables.rows(f"ditto_answers/{author}"):
            points = oracle.score(row["prompt"], row["text"])
            style = style_score(AUTHORS[author], row["text"])
            rows.append(row | {"author": author, "style": style, "points": points.total if points else 0.0})
    return rows


def report(rows: list[Row], seed: int) -> dict[str, object]:
    """The style of one method's answers with an interval over prompts, by author and feature; and what they say."""
    names = sorted({row["author"] for row in rows})
    found = [features(AUTHORS[row["author"]], row["text"]) for row in rows]
    return {
        **measures.mean(measures.by_question([(row["prompt_id"], row["style"]) for row in rows]), seed=seed).metrics(),
        "by_author": {name: round(fmean(row["style"] for row in rows if row["author"] == name), 6) for name in names},
        "features": {name: round(fmean(one[name] for one in found), 6) for name in found[0]},
        "oracle": round(fmean(row["points"] for row in rows), 6),
        "characters": round(fmean(len(row["text"]) for row in rows), 3),
        "cut_off": round(fmean(row["finish_reason"] == "length" for row in rows), 6),
    }


def head_to_head(by_method: Mapping[str, list[Row]], seed: int) -> dict[str, dict[str, Any]]:
    """`win_rates.summary` of every ordered pair of methods, the judge being the style oracle."""
    answers = {
        method: [Answer(row["prompt_id"], row["sample_index"], row["text"], row["tokens"]) for row in rows]
        for method, rows in by_method.items()
    }
    # A prompt stands here for its id, which is one author's.
    styles = {(row["prompt_id"], row["text"]): row["style"] for rows in by_method.values() for row in rows}
    prompts = {prompt: prompt for prompt, _ in styles}
    judge = verdicts.by_score(lambda given: [styles[one] for one in given])
    found: dict[str, dict[str, Any]] = {}
    for a, b in permutations(by_method, 2):
        rows = verdicts.judgements(verdicts.duels(answers, [(a, b)], prompts), "style", judge)
        found[f"{a}_vs_{b}"] = win_rates.summary(rows, seed=seed)
    return found


def round_robin(summaries: Mapping[str, Mapping[str, Any]], policy: str) -> float:
    """The mean win rate of one against all others, from the summaries by "a_vs_b" of every ordered pair.

    The mean of this over all is 1/2, for what one wins the other loses.
    """
    return fmean(found["win_rate"]["value"] for name, found in summaries.items() if name.startswith(f"{policy}_vs_"))


def main(params: Params) -> None:
    if params.oracle is None:
        stage.write_metrics("score_ditto")
        return
    rows = scored(params, Oracle.load(params.oracle))
    methods = dict.fromkeys(row["method"] for row in rows)
    by_method = {method: [row for row in rows if row["method"] == method] for method in methods}
    styles = {
        method: measures.by_question([(row["prompt_id"], row["style"]) for row in given])
        for method, given in by_method.items()
    }

    wins = head_to_head(by_method, params.seed)
    stage.write_metrics(
        "score_ditto",
        methods={method: report(given, params.seed) for method, given in by_method.items()},
        ditto_minus={
            other: measures.difference(styles["ditto"], styles[other], seed=params.seed).metrics()
            for other in methods
            if other != "ditto"
        },
        head_to_head=wins,
        win_rate_against_all={method: round(round_robin(wins, method), 6) for method in methods},
    )


if __name__ == "__main__":
    stage.run(main, "score_ditto", Params)
