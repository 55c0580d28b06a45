"""The graph as a picture: every stage of dvc.yaml in its room and on its method's lane, as plain SVG.

    python -m synthalign.reporting.graph_figure            write docs/figures/graph.svg
    python -m synthalign.reporting.graph_figure --check    exit 1 when the picture is not that of dvc.yaml

Stages, the number of their members and what reads what come from dvc.yaml and params.yaml; this module only says where
a stage stands and which of the graph's arrows are drawn. A stage without a place, a place without a stage, and an arrow
that is not in the graph are errors.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.core.graph import members, paths

FILE = Path("docs/figures/graph.svg")

ROOMS = {
    "queries": ("a few seeds", "become many"),
    "answers": ("by models that", "are not aligned"),
    "pairs": ("which answer", "should be better"),
    "reward": ("a model learns", "from the pairs"),
    "policies": ("and its scores", "align others"),
    "judging": ("who answers", "better, and by", "whose word"),
    "report": ("all of it", "on one page"),
}
"""The rooms from the top down, each with a line or two on what happens there."""

COLUMNS = {"side": (118, 196), "main": (332, 190), "aside": (332, 160), "rlcd": (534, 122), "rlaif": (668, 122),
           "flan": (802, 108), "ditto": (922, 108)}  # fmt: skip
"""Left edge and width of each column, in pixels; `aside` is the main column with room for the path to pass by."""

LANES = {"main": ("#1d4ed8", "ALMoST"), "rlcd": ("#0f766e", "RLCD"), "rlaif": ("#b45309", "RLAIF"),
         "flan": ("#be123c", "FLAN"), "ditto": ("#7e22ce", "DITTO")}  # fmt: skip
COLOURS = {lane: colour for lane, (colour, _) in LANES.items()} | {
    "rrhf": "#4d7c0f", "group": "#0e7490", "all": "#64748b", "almost": "#1d4ed8"
}  # fmt: skip
"""A stage's outline: its method's colour, grey where it serves several; `main` is ALMoST's path, `almost` beside it."""

WIDTH, TOP, STEP, HEIGHT, PAD = 1046, 76, 38, 26, 14
"""The picture's width, where rooms begin, from one line of stages to the next, a stage's height, a room's margin."""

INK, PAPER, FAINT = "#0f172a", "#fcfcfa", "#64748b"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SANS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Place:
    """Where a stage stands: its room, the line in it, from which column to which, and whose it is."""

    room: str
    line: int
    columns: tuple[str, str]
    lane: str
    part: tuple[int, int] = (0, 1)
    """Which of how many equal parts of the columns' width."""


def _at(room: str, line: int, columns: str, lane: str, part: tuple[int, int] = (0, 1)) -> Place:
    first, _, last = columns.partition(" ")
    return Place(room, line, (first, last or first), lane, part)


PLACES = {
    "check_settings": _at("queries", 0, "side", "almost"),
    "base_models": _at("queries", 1, "side", "almost"),
    "mine_queries": _at("queries", 1, "main", "main"),
    "build_mixture": _at("queries", 1, "flan", "flan"),
    "sample_responses": _at("answers", 0, "main", "main"),
    "contrast_pairs": _at("answers", 0, "rlcd", "rlcd"),
    "revise_answers": _at("policies", 0, "rlaif", "rlaif"),
    "build_comparisons": _at("pairs", 0, "main", "main"),
    "train_asis_reward": _at("pairs", 1, "side", "almost"),
    "label_gold": _at("pairs", 0, "side", "almost"),
    "validate_comparisons": _at("pairs", 1, "main", "main"),
    "label_pairs": _at("pairs", 0, "rlaif", "rlaif"),
    "train_reward": _at("reward", 0, "main rlaif", "main"),
    "simulate_demonstrations": _at("policies", 0, "main", "main"),
    "distill_context": _at("policies", 0, "rlcd", "rlcd"),
    "train_sft": _at("policies", 1, "main rlaif", "main"),
    "train_ppo": _at("policies", 2, "main rlaif", "main"),
    "sample_preferences": _at("policies", 1, "side", "almost"),
    "train_dpo": _at("policies", 2, "side", "almost", (0, 2)),
    "train_rrhf": _at("policies", 2, "side", "rrhf", (1, 2)),
    "train_group_rl": _at("policies", 3, "side", "group"),
    "train_flan": _at("policies", 1, "flan", "flan"),
    "train_ditto": _at("policies", 1, "ditto", "ditto"),
    "train_spin": _at("policies", 2, "ditto", "ditto"),
    "snapshot_dpo": _at("judging", 0, "side", "all"),
    "sample_answers": _at("judging", 0, "main rlaif", "main"),
    "answer_tasks": _at("judging", 0, "flan", "flan"),
    "sample_ditto": _at("judging", 0, "ditto", "ditto"),
    "score_snapshots": _at("judging", 1, "side", "all"),
    "judge_answers": _at("judging", 1, "main", "main"),
    "compare_methods": _at("judging", 1, "rlcd rlaif", "all"),
    "score_tasks": _at("judging", 1, "flan", "flan"),
    "score_ditto": _at("judging", 1, "ditto", "ditto"),
    "score_policies": _at("judging", 2, "side", "almost"),
    "score_comparisons": _at("judging", 2, "aside", "almost"),
    "score_pairs": _at("judging", 2, "rlcd", "all"),
    "score_revisions": _at("judging", 2, "rlaif", "rlaif"),
    "score_candidates": _at("judging", 3, "side", "almost"),
    "score_rewards": _at("judging", 3, "aside", "almost"),
    "score_scorers": _at("judging", 3, "rlcd", "all"),
    "score_benchmarks": _at("judging", 3, "rlaif", "almost"),
    "report": _at("report", 0, "main", "main"),
}

SPINE = ("mine_queries", "sample_responses", "build_comparisons", "validate_comparisons", "train_reward",
         "simulate_demonstrations", "train_sft", "train_ppo", "sample_answers", "judge_answers", "report")  # fmt: skip
"""ALMoST's path, which is drawn thick."""

ARROWS = [
    ("check_settings", "base_models"), ("base_models", "mine_queries"), ("train_asis_reward", "validate_comparisons"),
    ("contrast_pairs", "label_pairs"), ("contrast_pairs", "train_reward"), ("label_pairs", "train_reward"),
    ("distill_context", "train_sft"), ("revise_answers", "train_sft"), ("build_comparisons", "label_gold"),
    ("train_sft", "sample_preferences"), ("sample_preferences", "train_dpo"), ("train_sft", "train_rrhf"),
    ("train_sft", "train_group_rl"), ("build_mixture", "train_flan"), ("train_flan", "answer_tasks"),
    ("answer_tasks", "score_tasks"), ("train_ditto", "train_spin"), ("train_spin", "sample_ditto"),
    ("sample_ditto", "score_ditto"), ("sample_answers", "compare_methods"), ("snapshot_dpo", "score_snapshots"),
    *itertools.pairwise(SPINE),
]  # fmt: skip


# -- the graph --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """What one run of a stage reads and writes; a stage that is no family has one member."""

    reads: frozenset[str]
    writes: frozenset[str]


def stages(graph: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, list[Member]]:
    """The stages of dvc.yaml and their members, with `${...}` filled in from params.yaml.

    graph     the content of dvc.yaml
    settings  the content of params.yaml
    """
    return {
        name: [
            Member(
                frozenset(paths(body.get("deps", []), values)),
                frozenset(paths([*body.get("outs", []), *body.get("metrics", [])], values)),
            )
            for body, values in members(stage, settings).values()
        ]
        for name, stage in graph["stages"].items()
    }


def reads(reader: Member, writer: Member) -> bool:
    """Whether one reads a file or folder that the other writes, or a folder that holds one."""
    return any(
        path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/")
        for path in reader.reads
        for out in writer.writes
    )


# -- the picture ------------------------------------------------------------------------------------------------------


def svg(found: Mapping[str, Sequence[Member]]) -> str:
    """The picture of these stages.

    Raises UserError where `PLACES` and the stages differ, or an arrow of `ARROWS` is not in the graph.
    """
    if lost := sorted(set(found) ^ set(PLACES)):
        raise UserError(f"dvc.yaml and the places in graph_figure.py differ in {', '.join(lost)}; give each a place")
    for source, target in ARROWS:
        if not any(reads(reader, writer) for reader in found[target] for writer in found[source]):
            raise UserError(f"graph_figure.py draws {source} → {target}, but in dvc.yaml {target} reads nothing of it")
    tops, height = _tops()
    runs = sum(map(len, found.values()))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" font-family="{SANS}">',
        f"<title>The {len(found)} stages of dvc.yaml, from seed queries to the report</title>",
        *_markers(),
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="10" fill="{PAPER}" stroke="#d6d3d1"/>',
        *_lanes(height),
        *_rooms(tops),
        *(_arrow(source, target, tops) for source, target in ARROWS),
        *(_stage(name, len(members), tops) for name, members in found.items()),
        *_legend(height, tops, len(found), runs),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _tops() -> tuple[dict[str, int], int]:
    """Where each room begins, and the height of the picture."""
    lines = {room: 1 + max(place.line for place in PLACES.values() if place.room == room) for room in ROOMS}
    tops, y = {}, TOP
    for room, count in lines.items():
        tops[room] = y
        y += count * STEP - (STEP - HEIGHT) + 2 * PAD + 8
    return tops, y + 44


def _box(name: str, tops: Mapping[str, int]) -> tuple[float, float, float, float]:
    """Left, top, width and height of a stage."""
    place = PLACES[name]
    (left, _), (right, width) = COLUMNS[place.columns[0]], COLUMNS[place.columns[1]]
    number, parts = place.part
    share = (right + width - left - 8 * (parts - 1)) / parts
    return left + number * (share + 8), tops[place.room] + PAD + place.line * STEP, share, HEIGHT


def _markers() -> Iterator[str]:
    yield "<defs>"
    for colour in sorted(set(COLOURS.values())):
        yield (
            f'<marker id="to-{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
            f' markerUnits="userSpaceOnUse" orient="auto"><path d="M0 .5 8 4 0 7.5z" fill="{colour}"/></marker>'
        )
    yield "</defs>"


def _lanes(height: int) -> Iterator[str]:
    for lane, (colour, title) in LANES.items():
        left, width = COLUMNS[lane]
        if lane == "main":
            width += left - COLUMNS["side"][0]
            left = COLUMNS["side"][0]
        yield (
            f'<rect x="{left - 4}" y="16" width="{width + 8}" height="{height - 72}" rx="8" fill="{colour}"'
            ' fill-opacity=".07"/>'
        )
        command = "make repro" if lane == "main" else "make methods"
        yield _text(left + width / 2, 42, title, 17, colour, "700")
        yield _text(left + width / 2, 62, command, 11.5, FAINT, family=MONO)


def _rooms(tops: Mapping[str, int]) -> Iterator[str]:
    for room, top in tops.items():
        yield _text(16, top + 20, room, 16, INK, "700", "start")
        for place, line in enumerate(ROOMS[room]):
            yield _text(16, top + 35 + 12 * place, line, 10.5, FAINT, anchor="start")
        if top > TOP:
            yield f'<path d="M10 {top - 4}H{WIDTH - 10}" stroke="#cbd5e1" stroke-dasharray="2 4"/>'


def _stage(name: str, members: int, tops: Mapping[str, int]) -> str:
    x, y, width, height = _box(name, tops)
    lane = PLACES[name].lane
    colour, spine = COLOURS[lane], name in SPINE
    fill, ink = (colour, "#ffffff") if spine else ("#ffffff", INK)
    dashes = ' stroke-dasharray="4 3"' if name.startswith(("score_", "compare_")) else ""
    drawn = (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="6" fill="{fill}" stroke="{colour}"'
        f' stroke-width="1.4"{dashes}/>'
    )
    drawn += _text(x + width / 2, y + 17, name, 12.2, ink, "700" if spine else "400", family=MONO)
    if members > 1:
        drawn += f'<rect x="{x + width - 20:g}" y="{y - 7:g}" width="24" height="14" rx="7" fill="{colour}"'
        drawn += f' stroke="{PAPER}"/>' + _text(x + width - 8, y + 3.5, f"×{members}", 9, "#ffffff", "700")
    return drawn


def _arrow(source: str, target: str, tops: Mapping[str, int]) -> str:
    """An arrow from box to box: across or down where they face each other, else down the gap and in at the side."""
    ax, ay, aw, ah = _box(source, tops)
    bx, by, bw, bh = _box(target, tops)
    spine = source in SPINE and target in SPINE
    colour = COLOURS[PLACES[target if PLACES[source].lane == "main" else source].lane]
    low, high = max(ax, bx), min(ax + aw, bx + bw)
    if ay == by:
        path = f"M{ax + aw:g} {ay + ah / 2:g}H{bx - 1:g}" if ax < bx else f"M{ax:g} {ay + ah / 2:g}H{bx + bw + 1:g}"
    elif low < high:
        left, across = COLUMNS["main"]
        x = left + across / 2 if spine else (low + high) / 2
        between = (box for name in PLACES if ay < (box := _box(name, tops))[1] < by)
        if any(box[0] <= x <= box[0] + box[2] for box in between):
            x = high - 14
        path = f"M{x:g} {ay + ah:g}V{by - 1:g}"
    elif bx < ax:
        middle = by + bh / 2
        path = f"M{ax:g} {ay + ah - 7:g}q-8 0 -8 8V{middle - 8:g}q0 8 -8 8H{bx + bw + 1:g}"
    else:
        x = bx + bw / 2
        path = f"M{ax + aw:g} {ay + ah / 2:g}H{x - 10:g}q10 0 10 10V{by - 1:g}"
    thick = 4 if spine else 1.5
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{thick}" marker-end="url(#to-{colour[1:]})"/>'


def _legend(height: int, tops: Mapping[str, int], count: int, runs: int) -> Iterator[str]:
    left, width = COLUMNS["side"]
    y = tops["policies"] + PAD + 8
    yield _text(left + width / 2, y, "from the same reward model:", 11, FAINT)
    for name, lane, x in (("DPO", "almost", 24), ("RRHF", "rrhf", 79), ("RLOO, GRPO", "group", 151)):
        yield _text(left + x, y + 18, name, 12.5, COLOURS[lane], "700")
    said = (
        f"{count} stages, {runs} runs with members (×n), read from dvc.yaml. Blue: make repro; filled: ALMoST's path. "
        "Grey: serves several methods. Dashed: measures."
    )
    yield _text(16, height - 20, said, 12, FAINT, anchor="start")


def _text(x: float, y: float, words: str, size: float, colour: str, weight: str = "400", anchor: str = "middle",
          family: str = "") -> str:  # fmt: skip
    face = f' font-family="{family}"' if family else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" font-weight="{weight}" text-anchor="{anchor}"'
        f"{face}>{words}</text>"
    )


def main(arguments: Sequence[str]) -> None:
    name, summary = "python -m synthalign.reporting.graph_figure", __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog=name, description=summary)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when it is not up to date")
    given = parser.parse_args(arguments)

    graph, settings = (yaml_file.load(Path(name).read_text(encoding="utf-8")) for name in ("dvc.yaml", "params.yaml"))
    drawn = svg(stages(graph, settings))
    if not given.check:
        FILE.write_text(drawn, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != drawn:
        raise UserError(f"{FILE} is not the picture of dvc.yaml; run `make readme`")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"graph_figure: {error}", file=sys.stderr)
        raise SystemExit(1) from error
