"""What a judge says of the responses of vanilla configurations: points, and the differences between configurations."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from synthalign.core import measures
from synthalign.core.tables import Row
from synthalign.judging.verdicts import Oracle


def scored(rows: Iterable[Row], questions: Mapping[str, str], oracle: Oracle, traits: Sequence[str]) -> list[Row]:
    """The judge's points, in all and by trait, for every response to one of the questions {query_id: text}."""
    found = []
    for row in rows:
        scores = oracle.score(questions.get(row["query_id"], ""), row["text"])
        if scores is not None:
            points = {trait: getattr(scores, trait) for trait in traits}
            found.append(points | {"query_id": row["query_id"], "total": scores.total, "characters": len(row["text"])})
    return found


def report(
    responses: Mapping[str, Sequence[Row]],
    differences: Mapping[str, Sequence[str]],
    traits: Sequence[str],
    *,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """The mean points of every configuration with its interval, and of the differences {name: [better, worse]}.

    responses  {configuration: rows of `scored`}
    """
    totals = {
        config: measures.by_question([(row["query_id"], row["total"]) for row in rows])
        for config, rows in responses.items()
    }
    gaps = measures.effects(totals, differences)
    return {
        "configurations": {
            config: measures.mean(totals[config], seed=seed).metrics()
            | {name: round(fmean(row[name] for row in rows), 6) for name in (*traits, "characters")}
            for config, rows in responses.items()
        },
        "differences": {name: measures.gap(gap, seed=seed).metrics() for name, gap in gaps.items()},
    }
