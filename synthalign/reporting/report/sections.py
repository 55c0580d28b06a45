"""The sections of the report, from what one run left behind; ALMoST's tables are in `almost`, curves in `curves`."""

from collections.abc import Mapping
from typing import Any

import yaml

from synthalign.core.statistics import FEWEST
from synthalign.reporting import claims, seeds
from synthalign.reporting.report import almost, charts, curves, dpo, people, ratings
from synthalign.reporting.report.parts import (
    NOTHING,
    Answers,
    Block,
    Cell,
    Figure,
    Folded,
    Section,
    Table,
    at,
    both,
    count,
    counted,
    figure,
    interval,
    number,
    ordered,
    share,
    word,
)
from synthalign.reporting.report.run import Run


def sections(run: Run) -> list[Section]:
    """The whole report, in the order of reading."""
    parts = [
        summary(run),
        setup(run),
        claimed(run),
        Section("ALMoST, table by table", "almost", [PAPER], almost.tables(run)),
        *people.sections(run),
        filters(run),
        curves.learning(run),
        curves.frontier(run),
        curves.best_of_n(run),
        *dpo.sections(run),
        wins(run),
        tax(run),
    ]
    if run.methods:
        parts.append(methods(run.methods, run.recorded))
    return [*parts, answers(run), inputs(run)]


PAPER = (
    "Kim et al. 2023, Aligning Large Language Models through Synthetic Feedback (arXiv 2305.13735). Its models, "
    "questions and judges are others than here, so what is compared is the direction of an effect, not its size. "
    "An effect is there when its 95% interval lies on one side of no effect; with several seeds recorded, theirs "
    "decides."
)


# -- summary ----------------------------------------------------------------------------------------------------------


def summary(run: Run) -> Section:
    """What was done and what came of it, in a few sentences and one chart."""
    said: list[Block] = [aligned(run)]
    if run.claims:
        said.append(f"Of {len(run.claims)} claims measured here, {run.recorded}, {seeds.outcome(run.claims)}.")
    said.append(
        "Intervals are 95% bootstrap intervals over questions (or queries), which is also what n counts: answers to "
        "one question resemble each other. Win rates count a tie as half, and both orders of a question as one sample. "
        "The oracle judges and trains nothing but the upper bound `gold`; the judge `reward` is the reward model that "
        "the policies were trained to please."
    )
    drawn = win_chart(run)
    if drawn:
        said.append(drawn)
    return Section("In short", "summary", said)


def aligned(run: Run) -> str:
    """What was aligned, with what, in a sentence or two."""
    settings = run.settings
    base = str(at(settings, "train_sft", "model") or "")
    size = base.rsplit("/", 1)[-1]
    source = at(settings, "base_models", size, "source") or base
    mined, pairs = at(run.metrics, "mine_queries", "accepted"), at(run.metrics, "validate_comparisons", "kept")
    said = f"The {size or 'base'} vanilla model ({source}) was aligned without a human label: "
    if mined:
        said += f"{mined:,} queries were mined from {at(run.metrics, 'mine_queries', 'seeds') or 0:,} seeds, "
    if pairs:
        said += f"vanilla configurations answered them, and {pairs:,} comparisons were left by the filters. "
    reward = at(settings, "train_ppo", "policies", "almost", "reward")
    said += "A reward model learned from them; SFT on self-play that it guided, then DPO and PPO"
    said += f" against {reward}," if reward else ","
    pairs = [pair.split("_vs_") for pair in at(run.metrics, "judge_answers") or {} if "_vs_" in pair]
    named = dict.fromkeys(name for pair in pairs for name in pair)
    return f"{said} made the policies compared here: {', '.join(named)}." if named else f"{said} followed."


def win_chart(run: Run) -> Figure | None:
    """Win rates of all pairs, a mark for each judge."""
    judged = pairs_of(run)
    judges = sorted({judge for _, found in judged for judge in found})
    rows = [
        (name, {judges.index(judge): interval(figures, "win_rate") for judge, figures in found.items()})
        for name, found in judged
    ]
    if not any(figure for _, row in rows for figure in row.values()):
        return None
    drawn = charts.dots(rows, title="Win rate of the first policy", x="win rate, ties half", reference=0.5)
    caption = "Win rate of the first policy of each pair by judge, with 95% intervals over questions; one seed."
    return Figure(caption, [drawn], [(judge, place) for place, judge in enumerate(judges)])


def pairs_of(run: Run) -> list[tuple[str, Mapping[str, Any]]]:
    """The judged pairs by a readable name, with the figures of each judge."""
    judged = at(run.metrics, "judge_answers") or {}
    pairs = ordered(judged, almost.pairs_asked(run)).items()
    return [(pair.replace("_vs_", "–"), found) for pair, found in pairs if "_vs_" in pair]


# -- settings and inputs ----------------------------------------------------------------------------------------------


def setup(run: Run) -> Section:
    """The models and the settings that matter, and all settings folded away."""
    models = [
        [word(size), word(found.get("source")), word(found.get("revision"))]
        for size, found in (at(run.settings, "base_models") or {}).items()
    ]
    given = at(run.settings, "sample_responses", "configurations") or {}
    ranking = at(run.settings, "build_comparisons", "ranking") or []
    groups = [[group] if isinstance(group, str) else group for group in ranking]
    ranks = {name: place for place, group in enumerate(groups, start=1) for name in group}
    configurations = [
        [word(name), count(ranks.get(name)), word(found.get("model")), word(found.get("demonstrations")),
         count(found.get("shots")), count(found.get("max_new_tokens"))]
        for name, found in given.items()
    ]  # fmt: skip
    policies = [
        [word(name), word(found.get("model")), count(found.get("shots"))]
        for name, found in (at(run.settings, "sample_answers", "policies") or {}).items()
    ]
    tables = [
        Table("Vanilla models.", ["size", "source", "commit"], models),
        Table(
            "Configurations that answer the queries; rank 1 is taken to be the best, those without a rank are probes.",
            ["configuration", "rank", "model", "demonstrations", "shots", "longest answer, tokens"],
            configurations,
        ),
        Table(
            "What was trained, from what, on what.",
            ["stage", "starts from", "learns from", "learning rate", "epochs", "steps", "batch", "seed"],
            trained(run),
        ),
        Table("Policies whose answers are compared.", ["policy", "model", "shots"], policies),
    ]
    said = "The settings that matter most; all of params.yaml is folded below them."
    whole = yaml.safe_dump(dict(run.settings), sort_keys=False, allow_unicode=True)
    blocks: list[Block] = [said, *(table for table in tables if table.rows), Folded("All settings", whole)]
    return Section("What was aligned, and with what", "setup", blocks)


def trained(run: Run) -> list[list[Cell]]:
    """A row for every trained stage of params.yaml."""
    rows = []
    for stage, found in run.settings.items():
        if not stage.startswith("train_") or not isinstance(found, Mapping):
            continue
        start = found.get("model") or found.get("policy")
        source = found.get("comparisons") or found.get("reward") or found.get("community_qa")
        members = [name.split("/")[1] for name in run.metrics if name.startswith(f"{stage}/")]
        source = source or ", ".join(members) or None
        rate, batch = found.get("learning_rate"), found.get("batch_size") or found.get("rollout_batch")
        cells = [word(stage), word(start), word(source)]
        cells += [NOTHING if rate is None else Cell(f"{rate:g}", rate), count(found.get("epochs"))]
        rows.append([*cells, count(found.get("steps")), count(batch), count(found.get("seed"))])
    return rows


def inputs(run: Run) -> Section:
    """The hash of everything that the page was made from."""
    rows = [[word(one.path), word(one.md5), count(one.size)] for one in run.inputs]
    table = Table("Files that this page was made from.", ["file", "MD5", "bytes"], rows)
    return Section(
        "From which inputs",
        "inputs",
        [
            "This page is a function of the files below: the same files give the same bytes. The hashes are those "
            "under which DVC knows them, so `dvc.lock` says which stage made a file, from what, and with "
            "which settings.",
            Folded(f"{len(rows)} files and their hashes", table=table),
        ],
    )


# -- claims -----------------------------------------------------------------------------------------------------------


def claimed(run: Run) -> Section:
    """The claims of the papers with their verdicts: over several seeds where those are of this run, else by its own."""
    here = [claim for claim in claims.claims([run.metrics]) if claim["value"] is not None]
    if not here:
        return Section(
            "Claims",
            "claims",
            ["The claims need an oracle and the metrics that ask it; this run has none, so no claim is tested."],
        )
    now, ours = {claim["id"]: claim["value"] for claim in here}, {claim["id"] for claim in run.claims}
    alone = [claim for claim in here if claim["id"] not in ours]
    blocks: list[Block] = [
        "Whether a claim holds is computed from the numbers alone: the whole interval of each of its figures has to "
        "lie where the rule says. `Holm` is whether it still does when all claims are decided at once. A figure of "
        f"fewer than {FEWEST} units, or of units that are all alike, has no interval and shows nothing."
    ]
    columns = ["claim", "source", "verdict", "Holm", "has to be", "figure", "95% interval", "n", "besides", "seeds"]
    if run.claims:
        blocks.append(
            f"Those of the first table are {run.recorded}; this run is the first of these: its figures are the same. "
            "The last column is this run's one seed."
        )
        rows = [[*verdict(claim), number(now.get(claim["id"]))] for claim in run.claims]
        caption = "Claims of the papers. 95% interval over questions and seeds; n counts questions or queries."
        blocks.append(Table(caption, [*columns, "this run"], rows))
    if alone:
        blocks.append("`make claims` has recorded no figures over several seeds for what this run measured.")
        caption = "Claims as this run alone has them. 95% interval over questions; n counts questions or queries."
        blocks.append(Table(caption, columns, [verdict(claim) for claim in alone]))
    if run.elsewhere:
        caption = f"Claims about methods that are no part of this page, {run.recorded}."
        table = Table(caption, columns, [verdict(claim) for claim in run.elsewhere])
        blocks.append(Folded(f"{len(run.elsewhere)} claims about other methods", table=table))
    return Section("Claims", "claims", blocks)


def verdict(claim: Mapping[str, Any]) -> list[Cell]:
    """A row of a table of claims."""
    why = seeds.verdict(claim) if claim["why"] else f"not shown{seeds.verdict(claim).removeprefix('no')}"
    said = Cell("holds", mark="good") if claim["holds"] else Cell(why, mark="open")
    holm = NOTHING if claim["p_holm"] is None else word("holds" if claim["holds_holm"] else "not shown")
    source, rule = word(claim["source"].split(";")[0]), word(seeds.rule(claim))
    besides = word(seeds.all_figures(claim, after=1).replace("-", "−") or None)
    return [word(claim["claim"]), source, said, holm, rule, *counted(interval(claim)), besides, count(claim["seeds"])]


# -- filters ----------------------------------------------------------------------------------------------------------


def filters(run: Run) -> Section:
    """What is left at every step of the data, and why the rest is not."""
    mined, built = at(run.metrics, "mine_queries") or {}, at(run.metrics, "build_comparisons") or {}
    checked = at(run.metrics, "validate_comparisons") or {}
    steps: list[tuple[str, str, int, Mapping[str, int]]] = []
    if mined:
        steps.append(("Queries written by the model", "accepted", mined["accepted"], mined["rejected"]))
    if built:
        rejected = built["rejected"]
        usable = built["responses"] - sum(rejected.values())
        steps.append(("Responses of the configurations", "usable", usable, rejected))
    if checked:
        steps.append(("Pairs by the rule of thumb", "kept", checked["kept"], checked["dropped"]))
    if not steps:
        return Section("What the filters drop", "filters", ["No stage that filters has written its metrics yet."])
    rows, drawn = [], []
    for title, kept, n, dropped in steps:
        whole = n + sum(dropped.values())
        reasons = sorted(dropped.items(), key=lambda pair: (-pair[1], pair[0]))
        for reason, found in [(kept, n), *reasons]:
            good = "good" if reason == kept else ""
            rows.append([word(title), Cell(reason, mark=good), count(found), share(found, whole)])
        shown = [(kept, n), *((reason.replace("rejected_response:", "response "), found) for reason, found in reasons)]
        drawn.append(
            charts.bars(
                [(name.replace("_", " "), float(found)) for name, found in shown],
                title=f"{title}: {whole:,}",
                kept=[kept],
            )
        )
    return Section(
        "What the filters drop",
        "filters",
        [
            "Nothing disappears: what a filter drops is kept in a table with its reason "
            "(data/queries_rejected.parquet, reject_reason in data/responses/, data/comparisons_dropped/).",
            Figure("What is left (full bars) and what was dropped for which reason (hatched bars).", drawn),
            Table(
                "Filter funnel. Counts of this run; the first reason that holds is the one given.",
                ["step", "outcome", "count", "share"],
                rows,
            ),
        ],
    )


# -- who wins ---------------------------------------------------------------------------------------------------------

KNOWN = {
    "win", "tie", "loss", "win_rate", "similar_length", "longer_wins",
    "characters_a", "characters_b", "tokens_a", "tokens_b",
}  # fmt: skip


def wins(run: Run) -> Section:
    """Every win rate with the lengths of the answers beside it, and whatever else the judging measured."""
    title, anchor = "Who wins, and how long the answers are", "wins"
    rows, others = [], []
    for name, judges in pairs_of(run):
        for judge, found in sorted(judges.items()):
            if not isinstance(found, Mapping):
                continue
            lengths = [both(found.get("characters_a"), found.get("characters_b"))]
            lengths.append(both(found.get("tokens_a"), found.get("tokens_b"), 1))
            similar = interval(found, "similar_length")
            cells = [word(name), word(judge), *counted(interval(found, "win_rate")), number(found.get("tie"))]
            cells += [*lengths, number(found.get("longer_wins")), *counted(similar)]
            rows.append(cells)
            for key in sorted(key for key in set(found) - KNOWN if key != "unjudged" or found[key]):
                others += [
                    [word(name), word(judge), word(part.replace("_", " ")), *cells]
                    for part, cells in measured(key, found[key])
                ]
    if not rows:
        return Section(title, anchor, ["No pair of policies was judged."])
    blocks: list[Block] = [
        "A judge may simply like length. Beside each win rate stand the mean lengths of both sides, the share of "
        "decided answers that the longer one won, and the win rate among answers of similar length (at "
        "most a fifth longer).",
        Table(
            "Win rates of the first policy. Ties half, both orders of a question as one sample; one seed; 95% "
            "bootstrap interval over questions; n counts questions. Answers without a verdict count nowhere here.",
            ["policies", "judge", "win rate", "95% interval", "n", "ties", "characters", "tokens",
             "longer wins", "similar length", "95% interval", "n"],
            rows,
        ),
    ]  # fmt: skip
    blocks += ratings.blocks(run)
    if others:
        caption = "What else the judging measured, for the first policy of each pair; 95% interval over questions."
        blocks.append(Table(caption, ["policies", "judge", "measure", "figure", "95% interval", "n"], others))
    return Section(title, anchor, blocks)


def measured(name: str, value: Any) -> list[tuple[str, tuple[Cell, Cell, Cell]]]:
    """A figure of any form as (name, cells): an interval, a number, words, or a group of those."""
    found = interval(value)
    if found:
        return [(name, counted(found))]
    if isinstance(value, Mapping):
        return [line for key, part in value.items() for line in measured(f"{name}: {key}", part)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [(name, (number(value), NOTHING, NOTHING))]
    return [] if value is None else [(name, (word(value), NOTHING, NOTHING))]


def tax(run: Run) -> Section:
    """What alignment costs elsewhere."""
    rows = []
    for stage, found in run.metrics.items():
        subject = stage.removeprefix("score_benchmarks/")
        if subject != stage:
            loss, cloze = interval(found, "heldout_text", "loss_per_token"), interval(found, "cloze", "accuracy")
            if loss or cloze:
                rows.append([word(subject), *counted(loss), *counted(cloze)])
    said = "In the paper PPO lowers zero-shot MMLU and LAMBADA; its text states no figures. Here: plain held-out text "
    said += "of the kind that the vanilla models were trained on, and facts to finish."
    columns = ["policy", "loss per token", "95% interval", "n", "cloze accuracy", "95% interval", "n"]
    caption = "Alignment tax. One seed; 95% bootstrap interval over texts or items, which n counts."
    blocks: list[Block] = [said, Table(caption, columns, rows)] if rows else [
        "No held-out text and no cloze items are set, so what alignment costs was not measured."
    ]  # fmt: skip
    return Section("Alignment tax", "tax", blocks)


def methods(found: Mapping[str, Mapping[str, Any]], recorded: str) -> Section:
    """The table of all methods, from metrics/methods.json: a row for each method, a column for each measure.

    found     {method: {measure: number, words or {value, low, high, n}}}; n is shown of the first interval
    recorded  of which run they are, in words
    """
    measures_of = list(dict.fromkeys(key for row in found.values() for key in row))
    wide = [key for key in measures_of if any(interval(row.get(key)) for row in found.values())]
    columns, lines = ["method"], []
    for key in measures_of:
        columns += [key.replace("_", " "), "95% interval"] if key in wide else [key.replace("_", " ")]
    for method, row in found.items():
        cells = [word(method)]
        for key in measures_of:
            if key in wide:
                cells += figure(interval(row.get(key)), 0 if key == "elo" else 3)
            else:
                cells.append(_plain(row.get(key)))
        lines.append(cells + [counted(interval(row.get(key)))[-1] for key in wide[:1]])
    caption = (
        f"All methods on the same evaluation questions, {recorded}; 95% interval, n counts questions. Reward and KL "
        "are those of answers at temperature 1; seconds are of the training stage, with whatever ran beside it; "
        "flagged counts the seeds whose gain in reward is not to be believed; elo puts all on one scale, by what they "
        "won against the first two (mean 1,000; 100 points more are a win rate of .64)."
    )
    return Section("Methods beside each other", "methods", [Table(caption, columns + ["n"] * bool(wide), lines)])


def _plain(value: Any) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return count(value) if isinstance(value, int) else number(value)
    return word(value)


# -- answers ----------------------------------------------------------------------------------------------------------


def answers(run: Run) -> Section:
    """The browser of side-by-side answers."""
    title, anchor = "Answers side by side", "answers"
    if not run.questions:
        return Section(title, anchor, ["No policy has answered the evaluation questions yet."])
    shown = f"{len(run.questions):,} of {run.questions_in_all:,}"
    part = "All" if len(run.questions) == run.questions_in_all else f"To keep the page small, {shown}"
    said = f"{part} evaluation questions with the answers of every policy, in the order of a hash of their ids. "
    said += "Texts are as sampled. The figures below an answer are its tokens and its score by each judge that scores."
    browser = Answers("Search and filter need JavaScript; the answers are in data/answers/.")
    return Section(title, anchor, [said, browser])
