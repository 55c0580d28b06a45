"""What people's data say where there is no oracle, and whose eyes a win rate is seen with."""

from collections.abc import Mapping
from typing import Any

from synthalign.reporting.report.parts import (
    Block,
    Cell,
    Section,
    Table,
    at,
    count,
    figure,
    interval,
    number,
    ordered,
    share,
    word,
)
from synthalign.reporting.report.run import Run

EYES = {"oracle": "the oracle's eyes", "people": "the eyes of the reward model trained on people's pairs"}

JUDGES = {
    "oracle": "the oracle.",
    "people": "the reward model trained on people's pairs, as this profile has no oracle.",
    "reward": "the reward model that the policies were trained to please, as this profile has no oracle: it shows what "
    "they learned, not whether they are better.",
}

FILES = {
    "human_pairs": "Held-out pairs of people's. Share ranked as people do",
    "votes": "Pairs with the verdicts of several people. Share ranked as most of them do",
}

ENDING = "one seed; 95% bootstrap interval over questions; n counts questions."


def best_judge(run: Run) -> str | None:
    """The oracle where it judged, else people's reward model where that did."""
    known = {judge for judges in (at(run.metrics, "judge_answers") or {}).values() for judge in judges}
    return next((judge for judge in EYES if judge in known), None)


def sections(run: Run) -> list[Section]:
    """The section on people's data; none where nothing is measured with them."""
    blocks = [*_scorers(run), *_scores(run), *_labels(run), *_accidents(run)]
    if not blocks:
        return []
    said = "This profile has no oracle. What people preferred takes its place: pairs and votes that nothing here was "
    said += "trained on, and a reward model trained on other pairs of people's, which scores what people never read."
    return [Section("People's data", "people", [said, *blocks])]


def _scorers(run: Run) -> list[Block]:
    blocks: list[Block] = []
    for kind, said in FILES.items():
        found: dict[str, Any] = {}
        for stage in ("score_rewards", "score_scorers"):
            given = at(run.metrics, stage, kind) or {}
            found |= given.get("scorers") or {}
            alphas = given.get("alpha") or {}
            for name in alphas.keys() & found.keys():
                found[name] = found[name] | {"alpha": alphas[name]}
        rows: list[list[Cell]] = [
            [word(name), *figure(interval(one, "accuracy")), *figure(interval(one, "minus_longer")),
             *figure(interval(one, "ratio_to_upper_bound")), *figure(interval(one, "alpha")),
             count(at(one, "accuracy", "n"))]
            for name, one in found.items()
        ]  # fmt: skip
        if rows:
            header = ["scorer", "right", "95% interval", "over the longer", "95% interval", "share of the bound",
                      "95% interval", "alpha with people", "95% interval", "n"]  # fmt: skip
            blocks.append(Table(f"{said}; {ENDING}", header, rows))
    return blocks


def _scores(run: Run) -> list[Block]:
    blocks: list[Block] = []
    for stage, part, one in (
        ("score_comparisons", "configurations", "configuration"),
        ("score_policies", "policies", "policy"),
    ):
        found = at(run.metrics, stage, "people", part) or {}
        rows: list[list[Cell]] = [
            [word(name), *figure(interval(given)), number(given["characters"], 0), count(given["n"])]
            for name, given in ordered(found, at(run.settings, stage, part) or []).items()
        ]
        if rows:
            caption = f"Mean score by people's reward model, in deviations of its own; {ENDING}"
            blocks.append(Table(caption, [one, "score", "95% interval", "characters", "n"], rows))
    return blocks


def _labels(run: Run) -> list[Block]:
    found: Mapping[str, Any] = at(run.metrics, "score_comparisons", "people", "labels") or {}
    rows: list[list[Cell]] = [
        [word(name), *figure(interval(given, "agreement")), *figure(interval(given, "over_first")),
         share(given["coverage"], 1), count(given["pairs"])]
        for name, given in ordered(found, at(run.settings, "score_comparisons", "filters") or []).items()
    ]  # fmt: skip
    header = ["filter", "agree", "95% interval", "over the first", "95% interval", "pairs kept", "pairs"]
    caption = f"Labels. Share on which people's reward model agrees; {ENDING}"
    return [Table(caption, header, rows)] if rows else []


def _accidents(run: Run) -> list[Block]:
    found: Mapping[str, Any] = at(run.metrics, "score_comparisons", "accidents") or {}
    names = sorted({name for given in found.values() for name in given})
    rows: list[list[Cell]] = [
        [word(config), *(share(given[name]["value"], 1) for name in names)] for config, given in found.items()
    ]
    caption = (
        "Accidents. Share of each configuration's responses; `any` leaves out `next turn`, as a base model ends so."
    )
    return [Table(caption, ["configuration", *(name.replace("_", " ") for name in names)], rows)] if rows else []
