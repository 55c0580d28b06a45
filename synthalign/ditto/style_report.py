"""How much of the author every method has: with intervals, by author, and against DITTO and each other."""

from statistics import fmean
from typing import Any

from synthalign.core import measures
from synthalign.core.tables import Row
from synthalign.ditto import round_robin


def report(rows: list[Row], seed: int) -> dict[str, Any]:
    """All methods, from their answers with method, author, prompt_id and style; of a world's authors with `features`
    and `points` too."""
    methods = dict.fromkeys(row["method"] for row in rows)
    by_method = {method: [row for row in rows if row["method"] == method] for method in methods}
    styles = {method: styles_of(given) for method, given in by_method.items()}
    wins = round_robin.head_to_head(by_method, seed)
    return {
        "methods": {method: of_method(given, seed) for method, given in by_method.items()},
        "ditto_minus": {
            other: measures.difference(styles["ditto"], styles[other], seed=seed).metrics()
            for other in methods
            if f"ditto_vs_{other}" in wins
        },
        "head_to_head": wins,
        "win_rate_against_all": {
            method: round(rate, 6) for method in methods if (rate := round_robin.against_all(wins, method)) is not None
        },
    }


def styles_of(rows: list[Row]) -> dict[str, float]:
    """The mean style of the answers to every prompt."""
    return measures.by_question([(row["prompt_id"], row["style"]) for row in rows])


def of_method(rows: list[Row], seed: int) -> dict[str, Any]:
    """The style of one method's answers with an interval over prompts, by author, and how long they are; of a world's
    authors by feature too, and what its oracle thinks of them."""
    names = sorted({row["author"] for row in rows})
    of_world: dict[str, Any] = {}
    if "points" in rows[0]:
        features = rows[0]["features"]
        of_world["features"] = {name: round(fmean(row["features"][name] for row in rows), 6) for name in features}
        of_world["oracle"] = round(fmean(row["points"] for row in rows), 6)
    return {
        **measures.mean(styles_of(rows), seed=seed).metrics(),
        "by_author": {name: round(fmean(row["style"] for row in rows if row["author"] == name), 6) for name in names},
        **of_world,
        "characters": round(fmean(len(row["text"]) for row in rows), 3),
        "cut_off": round(fmean(row["finish_reason"] == "length" for row in rows), 6),
    }
