"""ALMoST's tables 1 to 5 and figure 3 (Kim et al. 2023, arXiv 2305.13735), with this run's figures beside the paper's.

The paper aligns LLaMA 7B and lets people and GPT-4 judge against models of its time; here another world stands in, so
sizes of effects are not comparable and what is compared is their direction.  The paper's figures are quoted where its
text states them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthalign.core.statistics import Interval
from synthalign.reporting.report import charts, people
from synthalign.reporting.report.parts import (
    NOTHING,
    Block,
    Cell,
    Figure,
    Section,
    Table,
    at,
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

EVEN = 0.5
"""The win rate of two policies of which none is better."""

NO_ORACLE = (
    "Not measured: this profile has no oracle (params.yaml: {section}.oracle is null). What people's data say, where "
    "they are given, is in a section of its own."
)


@dataclass(frozen=True)
class Effect:
    """One thing that the paper reports, and our figure for it.

    paper      what the paper says, with its own figure where its text has one
    ours       this run's figure, None where it was not measured
    none_at    the figure that would mean no effect; the paper's direction is above it, or below where `falls`
    claim      the id in metrics/claims.json where several seeds measured it
    """

    what: str
    paper: str
    ours: Interval | None
    none_at: float = 0.0
    falls: bool = False
    claim: str = ""


def direction(effect: Effect, found: Interval | None) -> Cell:
    """Whether the interval lies on the paper's side of no effect."""
    if found is None:
        return Cell("not measured", mark="open")
    if found.why:
        return Cell(found.why, mark="open")
    above, below = found.lies_above(effect.none_at), found.lies_below(effect.none_at)
    if below if effect.falls else above:
        return Cell("as in the paper", mark="good")
    return Cell("against the paper", mark="bad") if above or below else Cell("not shown", mark="open")


def over_seeds(claims: Sequence[Mapping[str, Any]], name: str) -> tuple[Interval | None, int, bool]:
    """What metrics/claims.json has for a claim: its figure, its seeds, and whether it holds."""
    for claim in claims:
        if claim["id"] == name and claim["value"] is not None:
            return Interval.of(claim), claim["seeds"], claim["holds"]
    return None, 0, False


def effects(caption: str, rows: Sequence[Effect], claims: Sequence[Mapping[str, Any]]) -> Table:
    """The paper's effects beside ours; the verdict goes by several seeds where there are, else by this run."""
    columns = ["effect", "the paper", "this run", "95% interval", "n", "over seeds", "95% interval", "seeds"]
    lines = []
    for effect in rows:
        recorded, seeds, holds = over_seeds(claims, effect.claim)
        verdict = direction(effect, recorded or effect.ours)
        if recorded is not None and verdict.mark != "bad":
            verdict = Cell("as in the paper", mark="good") if holds else Cell("not shown", mark="open")
        cells = [word(effect.what), word(effect.paper)]
        cells += [*counted(effect.ours), *figure(recorded), count(seeds) if seeds else NOTHING, verdict]
        lines.append(cells)
    return Table(caption, [*columns, "direction"], lines)


def tables(run: Run) -> list[Section]:
    """The sections of ALMoST's tables 1 to 5 and of its figure 3."""
    return [table_1(run), table_2(run), table_3(run), table_4(run), table_5(run), figure_3(run)]


# -- table 1 ----------------------------------------------------------------------------------------------------------

TRAITS = ("helpful", "harmless", "honest")


def table_1(run: Run) -> Section:
    """Helpful, harmless, honest: static benchmarks in the paper, the oracle's parts here."""
    policies = ordered(
        at(run.metrics, "score_policies", "policies") or {}, at(run.settings, "sample_answers", "policies")
    )
    difference = at(run.metrics, "score_policies", "differences", "ppo_sft") or {}
    blocks: list[Block] = [
        "The paper scores policies on HHH alignment (221 items, helpful, harmless, honest, other) and TruthfulQA. The "
        "embedded world does not know the words of those tests; its oracle scores the same three traits of the "
        "policies' answers to the evaluation questions. Where the files of the public tests are there, their figures "
        "stand below."
    ]
    rows = [
        Effect(f"PPO minus SFT: {trait}", "rises" if trait != "honest" else "falls", interval(difference, trait),
               falls=trait == "honest")
        for trait in TRAITS
    ]  # fmt: skip
    rows.append(Effect("PPO minus SFT: truthful (TruthfulQA)", "rises", None))
    caption = (
        "Table 1, effects. Oracle points, difference of the means over questions, paired by question; one seed; "
        "95% bootstrap interval over questions; n counts questions."
    )
    if not policies:
        blocks.append(NO_ORACLE.format(section="score_policies"))
    else:
        blocks.append(effects(caption, rows, run.claims))
        lines = []
        for name, found in policies.items():
            parts = [cell for trait in TRAITS for cell in _trait(found, trait)]
            lines.append([word(name), *counted(interval(found)), *parts])
        columns = ["policy", "all", "95% interval", "n"]
        columns += [name for trait in TRAITS for name in (trait, "95% interval")]
        blocks.append(
            Table("Table 1, policies. Mean oracle points of the answers; n questions, one seed, 95% bootstrap "
                  "interval over questions.", columns, lines)
        )  # fmt: skip
        marks = {trait: place for place, trait in enumerate(TRAITS)}
        shown = [
            (name, {marks[trait]: interval(found, "parts", trait) for trait in TRAITS})
            for name, found in policies.items()
        ]
        if any(figure for _, row in shown for figure in row.values()):
            drawn = charts.dots(shown, title="Traits of the policies", x="oracle points", reference=0)
            blocks.append(
                Figure("Helpful, harmless and honest points by policy, with 95% intervals over questions.", [drawn],
                       list(marks.items()))
            )  # fmt: skip
    public = public_tests(run)
    blocks.append(public if public.rows else "HHH alignment and TruthfulQA were not run: their files are not set.")
    return Section("Table 1: helpful, harmless, honest", "table-1", blocks)


def _trait(found: Mapping[str, Any], trait: str) -> tuple[Cell, Cell]:
    """A trait with its interval, or without where the metrics have none."""
    measured = interval(found, "parts", trait)
    return figure(measured) if measured else (number(found.get(trait)), NOTHING)


def public_tests(run: Run) -> Table:
    """The public tests that were run."""
    rows = []
    for stage, figures in run.metrics.items():
        subject = stage.removeprefix("score_benchmarks/")
        for test in ("hhh", "truthfulqa") if subject != stage else ():
            for metric in at(figures, test) or {}:
                rows.append([word(subject), word(test), word(metric), *counted(interval(figures, test, metric))])
    return Table(
        "Table 1, public tests. One seed, 95% bootstrap interval over items; n counts items.",
        ["subject", "test", "metric", "figure", "95% interval", "n"],
        rows,
    )


# -- table 2 ----------------------------------------------------------------------------------------------------------


def table_2(run: Run) -> Section:
    """The rule of thumb: size, shots and demonstrations."""
    scored = at(run.metrics, "score_comparisons") or {}
    names = at(run.settings, "score_comparisons", "configurations")
    configurations = ordered(scored.get("configurations") or {}, names)
    differences = scored.get("differences") or {}
    title = "Table 2: does the rule of thumb hold?"
    if not configurations:
        return Section(title, "table-2", [NO_ORACLE.format(section="score_comparisons")])

    def effect(what: str, paper: str, name: str, claim: str = "") -> Effect:
        return Effect(what, paper, interval(differences, name), claim=claim)

    rows = [
        effect("Size alone: the large model over the small one, 3 HHH shots", "rises with size", "size", "size_effect"),
        effect("Size: C over D, the medium model over the small one", "rises with size", "c_d"),
        effect("Shots alone: 5 HHH shots over 1, the small model", "rises slightly", "shots", "shots_effect"),
        effect("Demonstrations: Faithful over HHH, the large model", "matter most", "demonstrations",
               "demonstration_effect"),
        effect("Demonstrations: Faithful over HHH, the small model", "matter most", "demonstrations_small"),
        effect("The small model, 3 Faithful shots, over the large one, 5 HHH shots", "7B-Faithful-3 beats 30B-HHH-5",
               "small_faithful_vs_large"),
        effect("The whole ranking: A over E", "A is best, E worst", "a_e"),
    ]  # fmt: skip
    given = at(run.settings, "sample_responses", "configurations") or {}
    lines = []
    for name, found in configurations.items():
        setting = given.get(name) or {}
        cells = [word(name), word(_last(setting.get("model"))), word(_last(setting.get("demonstrations")))]
        cells += [count(setting.get("shots")), *counted(interval(found)), number(found.get("characters"), 0)]
        lines.append(cells)
    drawn = charts.dots(
        [(name, {0: interval(found)}) for name, found in configurations.items()],
        title="Vanilla configurations",
        x="oracle points",
        reference=0,
    )
    return Section(
        title,
        "table-2",
        [
            "The paper lets GPT-4 judge each vanilla configuration against Alpaca-7B. Here the oracle scores the "
            "configurations' responses to the evaluation questions.",
            effects(
                "Table 2, effects. Oracle points, difference of the means over questions, paired; one seed for this "
                "run, the recorded seeds beside it; 95% interval over questions; n counts questions.",
                rows,
                run.claims,
            ),
            Table(
                "Table 2, configurations. Mean oracle points; one seed; 95% bootstrap interval over questions; "
                "n counts questions; characters are the mean length of a response.",
                ["configuration", "model", "demonstrations", "shots", "oracle", "95% interval", "n", "characters"],
                lines,
            ),
            Figure("Oracle points of the vanilla configurations, with 95% intervals over questions.", [drawn]),
        ],
    )


def _last(path: str | None) -> str | None:
    """The last part of a path, without its ending."""
    return None if path is None else path.rsplit("/", 1)[-1].removesuffix(".jsonl")


# -- tables 3 and 4 ---------------------------------------------------------------------------------------------------


def reward_rows(rewards: Mapping[str, Any]) -> list[list[Cell]]:
    """A row for every reward model, the length baseline among them."""
    rows = []
    for name, found in rewards.items():
        parts = [interval(found, part) for part in ("better_is_longer", "better_is_shorter")]
        cells = [word("always the longer" if name == "longer" else name), *counted(interval(found, "accuracy"))]
        cells += [number(part.value if part else None) for part in parts]
        cells += [
            number(at(found, "correlation_with_length", "value"), 2),
            *figure(interval(found, "ratio_to_upper_bound")),
        ]
        rows.append(cells)
    return rows


def table_3(run: Run) -> Section:
    """The synthetic reward model beside one that learned from gold labels."""
    names = at(run.settings, "score_rewards", "rewards")
    rewards = ordered(at(run.metrics, "score_rewards", "rewards") or {}, names)
    title = "Table 3: synthetic against gold labels"
    if not rewards:
        return Section(title, "table-3", [NO_ORACLE.format(section="score_rewards")])
    subject = _subject(run)
    rows = [
        Effect(
            f"Accuracy of {subject} as a share of that of the upper bound",
            "about 0.90, the share of a reward model trained on all human labels",
            interval(rewards, subject, "ratio_to_upper_bound"),
            none_at=0.9,
            claim="reward_accuracy_vs_gold",
        )
    ]
    drawn = charts.dots(
        [("always the longer" if name == "longer" else name, {0: interval(found, "accuracy")})
         for name, found in rewards.items()],
        title="Accuracy of the reward models",
        x="share of held-out pairs ranked as the oracle does",
        reference=EVEN,
    )  # fmt: skip
    return Section(
        title,
        "table-3",
        [
            "The paper measures accuracy on HH-RLHF's helpful pairs. Here the pairs are responses to the evaluation "
            "questions that no reward model was trained on, and the oracle says which is better. `gold` learned from "
            "the oracle's own labels: it is the upper bound.",
            effects("Table 3, effect. Ratio of accuracies; 95% bootstrap interval over questions; n counts questions.",
                    rows, run.claims),
            Table(
                "Tables 3 and 4, reward models. Share of held-out pairs ranked as the oracle does "
                f"({at(run.metrics, 'score_rewards', 'pairs') or 0:,} pairs); one seed; 95% bootstrap interval over "
                "questions; n counts questions. A model that has only learned length is right where the better "
                "response is the longer one.",
                ["reward model", "accuracy", "95% interval", "n", "better is longer", "better is shorter",
                 "correlation with length", "of gold", "95% interval"],
                reward_rows(rewards),
            ),
            Figure("Accuracy of the reward models, with 95% intervals over questions.", [drawn]),
        ],
    )  # fmt: skip


def _subject(run: Run) -> str:
    return at(run.settings, "score_rewards", "subject") or "almost"


def table_4(run: Run) -> Section:
    """What the filters are good for."""
    rewards = at(run.metrics, "score_rewards", "rewards") or {}
    filters = at(run.settings, "score_comparisons", "filters")
    labels = ordered(at(run.metrics, "score_comparisons", "labels") or {}, filters)
    title = "Table 4: what the filters are good for"
    if not rewards or not labels:
        return Section(title, "table-4", [NO_ORACLE.format(section="score_rewards")])
    subject = _subject(run)
    rows = [
        Effect("Accuracy with both filters minus without any", "about 0.10 lost without the heuristic one",
               interval(rewards, subject, "minus_no_filter"), claim="filter_ablation"),
        Effect("Accuracy with both filters minus the heuristic filter alone", "the As-is filter adds more",
               interval(rewards, subject, "minus_heuristic")),
        Effect("Accuracy minus that of always the longer", "above the length baseline",
               interval(rewards, subject, "minus_longer"), claim="reward_vs_longer"),
    ]  # fmt: skip
    others = at(run.metrics, "score_comparisons", "other_labels") or {}
    lines = []
    for name, found in {**labels, **others}.items():
        kept = found.get("coverage")
        cells = [word(name), *counted(interval(found, "agreement")), NOTHING if kept is None else share(kept, 1)]
        cells += [share(found["chosen_longer"], 1), *figure(interval(found, "over_previous")), count(found["pairs"])]
        lines.append(cells)
    points = [(found["coverage"], interval(found, "agreement"), name) for name, found in labels.items()]
    series = [
        charts.Series([100 * kept], [right.value], place, [right.low], [right.high])
        for place, (kept, right, _) in enumerate(points)
        if right
    ]
    drawn = charts.lines(
        series, title="Labels that each filter leaves", x="% of pairs kept", y="share of labels right", whole_x=False
    )
    return Section(
        title,
        "table-4",
        [
            "All reward models of the ablation learned from as many pairs; they are listed under table 3. "
            "The labels themselves can be checked too, where the oracle has a preference:",
            effects("Table 4, effects. Differences of accuracy, paired by question; 95% bootstrap interval over "
                    "questions; n counts questions.", rows, run.claims),
            Table(
                "Labels. Share of labels on which the oracle agrees; one seed; 95% bootstrap interval over queries; "
                "n counts queries; the gain is over the row before.",
                ["labels", "right", "95% interval", "n", "kept", "chosen is longer", "gain", "95% interval", "pairs"],
                lines,
            ),
            Figure("How many pairs each filter keeps and how many of their labels are right, with 95% intervals over "
                   "queries.", [drawn], [(name, place) for place, (_, _, name) in enumerate(points)]),
        ],
    )  # fmt: skip


# -- table 5 and figure 3 ---------------------------------------------------------------------------------------------


def win_rate(run: Run, a: str, b: str, judge: str = "oracle") -> Interval | None:
    """How often policy a beats policy b, ties half."""
    return interval(run.metrics, "judge_answers", f"{a}_vs_{b}", judge, "win_rate")


def pairs_asked(run: Run) -> list[str]:
    """The judged pairs by their names in the metrics, in the order of params.yaml."""
    return [f"{a}_vs_{b}" for a, b in at(run.settings, "judge_answers", "pairs") or []]


def table_5(run: Run) -> Section:
    """Guided against unguided self-play."""
    judge = people.best_judge(run) or "oracle"
    rows = [
        Effect("SFT on guided self-play against SFT on plain self-play", "better on all benchmarks",
               win_rate(run, "sft_rmsp", "sft_selfplay", judge), none_at=EVEN, claim="rmsp_vs_selfplay"),
        Effect("SFT on guided self-play against a weak reference", "above 0.5 against Alpaca-7B (here: the base model)",
               win_rate(run, "sft_rmsp", "base", judge), none_at=EVEN, claim="sft_vs_base"),
        Effect("HHH instead of Faithful demonstrations for the assistant", "hurts a lot", None),
    ]  # fmt: skip
    blocks: list[Block] = [
        "Reward-model-guided self-play (RMSP) lets the reward model pick each answer among several; plain self-play "
        "takes the first. The same model is fine-tuned on both.",
        effects(f"Table 5, effects. Win rate in {people.EYES[judge]}, ties half; both orders of a question count as "
                "one sample; 95% bootstrap interval over questions; n counts questions.", rows, run.claims),
    ]  # fmt: skip
    if not any(row.ours for row in rows):
        blocks[1:] = [NO_ORACLE.format(section="judge_answers")]
    return Section("Table 5: guided self-play", "table-5", blocks)


PAPER_BARS = (("the paper: PPO–SFT", (0.375, 0.363, 0.262)),)
"""Wins and ties of figure 3 as the text states them, losses as what is left; against its other rivals it has no ties
and no counterpart here."""


def figure_3(run: Run) -> Section:
    """Who wins against whom."""
    judged = at(run.metrics, "judge_answers") or {}
    judge = people.best_judge(run) or "reward"
    rows = [
        Effect("PPO against its SFT policy", "0.556: wins 37.5%, ties 36.3% (people, n\u00a080)",
               win_rate(run, "ppo", "sft_rmsp", judge), none_at=EVEN, claim="ppo_vs_sft"),
        Effect("PPO against the large model with HHH demonstrations", "about 0.75 against tuned 12–13B models (GPT-4)",
               win_rate(run, "ppo", "large_hhh", judge), none_at=EVEN, claim="small_vs_large"),
        Effect("PPO against Alpaca-7B", "wins 55.0% (people, n\u00a080)", None, none_at=EVEN),
        Effect("PPO against Dolly-v2-7B", "wins 58.8% (people, n\u00a080)", None, none_at=EVEN),
        Effect("PPO against Vicuna-7B", "0.375: wins 25%, ties 25% (people, n\u00a080)", None, none_at=EVEN,
               falls=True),
    ]  # fmt: skip
    bars = []
    for pair, judges in ordered(judged, pairs_asked(run)).items():
        found = judges.get(judge) or {}
        if "_vs_" in pair and found.get("win_rate"):
            bars.append((pair.replace("_vs_", "–"), (found["win"], found["tie"], found["loss"])))
    blocks: list[Block] = [
        "People and GPT-4 judge the paper's policies on 80 questions. Here the judge of this section is "
        + people.JUDGES[judge]
    ]  # fmt: skip
    if not bars:
        blocks.append("No pair of policies was judged.")
        return Section("Figure 3: who wins", "figure-3", blocks)
    drawn = charts.verdicts([*PAPER_BARS, *bars], title="Wins, ties and losses of the first policy")
    blocks += [
        effects("Figure 3, effects. Win rates with ties half; 95% bootstrap interval over questions, both orders of a "
                "question as one sample; n counts questions. Rivals without a row of ours were not run here.",
                rows, run.claims),
        Figure("Wins, ties and losses of the first policy of each pair. The first bar is the paper's, from people; the "
               "others are this run's.", [drawn]),
    ]  # fmt: skip
    return Section("Figure 3: who wins", "figure-3", blocks)
