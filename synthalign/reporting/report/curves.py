"""The curves of the report: learning, reward against distance, best of N."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from synthalign.core import measures
from synthalign.reporting.report import charts
from synthalign.reporting.report.charts import Series
from synthalign.reporting.report.parts import (
    Block,
    Figure,
    Section,
    Table,
    at,
    count,
    counted,
    ends,
    figure,
    interval,
    number,
    signed,
    word,
)
from synthalign.reporting.report.run import Run

SEED = 0
"""Of the bootstrap over PPO's snapshots."""


# -- learning ---------------------------------------------------------------------------------------------------------


def learning(run: Run) -> Section:
    """The learning curves of everything that was trained."""
    rewards = {name.split("/")[-1]: points for name, points in run.points.items()
               if name.startswith(("train_reward/", "train_asis_reward/"))}  # fmt: skip
    tuned = {name.split("/")[-1]: points for name, points in run.points.items() if name.startswith("train_sft/")}
    within = [reward_models(run, rewards), fine_tuning(run, tuned)]
    within += [step_by_step("DPO", "dpo-curves", run.points.get("train_dpo/dpo"), DPO_PANELS, dpo_table(run))]
    within += [step_by_step("PPO", "ppo-curves", run.points.get("train_ppo/almost"), PPO_PANELS, ppo_table(run))]
    families, own = ("train_reward/", "train_asis_reward/", "train_sft/"), ("train_dpo/dpo", "train_ppo/almost")
    for name in [name for name in run.points if not name.startswith(families) and name not in own]:
        within.append(step_by_step(name, f"curves-{name.replace('/', '-')}", run.points[name], None, None))
    text = "Points of SFT, DPO and the reward models are means over the steps since the point before. One seed each."
    return Section("Learning curves", "learning", [text], within)


def line(points: Sequence[Mapping[str, float]], key: str, style: int) -> Series:
    """One measure over the steps at which it was recorded."""
    shown = [point for point in points if point.get(key) is not None]
    return Series([point["step"] for point in shown], [point[key] for point in shown], style)


def family(curves: Mapping[str, Sequence[Mapping[str, float]]], panels: Sequence[tuple[str, str]]) -> list[str]:
    """A chart for every panel (key, title) with a line for every member of the family."""
    drawn = []
    for key, title in panels:
        series = [line(points, key, place) for place, points in enumerate(curves.values())]
        drawn.append(charts.lines(series, title=title, x="optimizer step", y=key.replace("_", " ")))
    return drawn


def reward_models(run: Run, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Section:
    """Loss and accuracy of all reward models, and how they do on pairs that were held out."""
    rows = []
    for stage, found in run.metrics.items():
        if stage.startswith(("train_reward/", "train_asis_reward")) and found:
            longer = interval(found, "held_out_longer")
            cells = [word(stage), count(found.get("pairs")), *counted(interval(found, "held_out_accuracy"))]
            rows.append([*cells, number(longer.value if longer else None), number(found.get("held_out_loss"))])
    blocks: list[Block] = ["No reward model was trained."] if not curves else [
        Figure("Training loss and accuracy of the reward models: the Bradley–Terry loss, log 2 = 0.693 before any "
               "step, and the share of pairs in which the chosen response scores higher.",
               family(curves, [("loss", "Loss"), ("accuracy", "Accuracy")]),
               [(name, place) for place, name in enumerate(curves)]),
    ]  # fmt: skip
    if rows:
        blocks.append(
            Table(
                "Reward models on pairs of held-out queries of their own kind (not comparable between kinds); 95% "
                "bootstrap interval over queries; n counts queries; one seed.",
                ["stage", "pairs learned", "held-out accuracy", "95% interval", "n", "always the longer", "loss"],
                rows,
            )
        )
    return Section("Reward models", "reward-curves", blocks)


def fine_tuning(run: Run, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Section:
    """Loss and token accuracy of SFT."""
    if not curves:
        return Section("SFT", "sft-curves", ["No policy was fine-tuned."])
    rows = []
    for name in curves:
        found = run.metrics.get(f"train_sft/{name}") or {}
        cells = [word(name), count(found.get("demonstrations")), count(found.get("steps"))]
        rows.append([*cells, number(found.get("first_loss")), number(found.get("last_loss"))])
    return Section(
        "SFT",
        "sft-curves",
        [
            Figure("Loss per target token and share of target tokens that were the most probable.",
                   family(curves, [("loss", "Loss"), ("mean_token_accuracy", "Token accuracy")]),
                   [(name, place) for place, name in enumerate(curves)]),
            Table("SFT. One seed.", ["demonstrations", "number", "steps", "first loss", "last loss"], rows),
        ],
    )  # fmt: skip


DPO_PANELS = (("loss", "Loss"), ("rewards_margins", "Margin"), ("rewards_accuracies", "Accuracy"))
PPO_PANELS = (("reward", "Reward"), ("kl", "KL to the start"), ("entropy", "Entropy"), ("tokens", "Length"))
UNITS = {
    "reward": "reward, deviations",
    "kl": "nats per answer",
    "entropy": "nats per token",
    "tokens": "tokens per answer",
    "rewards_margins": "β-scaled margin",
    "rewards_accuracies": "share of pairs",
}


def step_by_step(
    title: str,
    anchor: str,
    points: Sequence[Mapping[str, float]] | None,
    panels: Sequence[tuple[str, str]] | None,
    table: Table | None,
) -> Section:
    """A chart for every panel (key, title) of one run; without panels, one for everything that was recorded."""
    if not points:
        return Section(title, anchor, [f"{title} was not run."])
    keys = panels or [(key, key.replace("_", " ")) for key in points[0] if key not in ("step", "learning_rate")]
    drawn = []
    for key, name in keys:
        series = line(points, key, 0)
        if series.x:
            drawn.append(charts.lines([series], title=name, x="step", y=UNITS.get(key, key.replace("_", " "))))
    caption = f"{title} step by step: {', '.join(name for _, name in keys)}."
    return Section(title, anchor, [Figure(caption, drawn), *([table] if table else [])])


def dpo_table(run: Run) -> Table | None:
    """How DPO ended."""
    found = at(run.metrics, "train_dpo")
    if not found:
        return None
    row = [count(found.get("pairs")), count(found.get("steps")), number(found.get("first_loss"))]
    row += [number(found.get("last_loss")), number(found.get("last_margin")), number(found.get("last_accuracy"))]
    columns = ["pairs", "steps", "first loss", "last loss", "last margin", "last accuracy"]
    return Table("DPO. One seed.", columns, [row])


def ppo_table(run: Run) -> Table | None:
    """The answers to the evaluation questions before and after PPO."""
    found = at(run.metrics, "train_ppo/almost") or {}
    keys = ("reward", "kl", "tokens", "missing_stop_share")
    rows = [
        [word(when), *(number(at(found, when, key)) for key in keys)] for when in ("before", "after") if found.get(when)
    ]
    questions = found.get("questions") or 0
    caption = f"PPO, answers to {questions:,} evaluation questions before and after; one seed, one answer each."
    return Table(caption, ["when", "reward", "KL, nats", "tokens", "without an end"], rows) if rows else None


# -- reward, distance, best of n --------------------------------------------------------------------------------------


def frontier(run: Run) -> Section:
    """Reward and oracle against the distance from the start, over PPO's snapshots."""
    title, anchor = "Reward against distance", "frontier"
    steps = sorted({row["step"] for row in run.snapshots})
    if not steps:
        return Section(title, anchor, ["PPO left no snapshots."])

    def means(step: int, name: str) -> Any:
        rows = [(row["question_id"], row[name]) for row in run.snapshots if row["step"] == step]
        return measures.mean(measures.by_question(rows), seed=SEED)

    rewards, distances = [means(step, "reward") for step in steps], [means(step, "kl") for step in steps]
    asked = {point["step"]: point for point in at(run.metrics, "score_policies", "ppo_curve") or []}
    oracle = {step: found for step in steps if (found := interval(asked.get(step)))}
    words = [f"{step}" for step in steps]
    across = [one.value for one in distances]
    drawn = [
        charts.lines(
            [Series(across, [one.value for one in rewards], 0, [one.low for one in rewards],
                    [one.high for one in rewards], words)],
            title="Reward", x="KL to the start, nats per answer", y="reward, deviations", whole_x=False,
        )
    ]  # fmt: skip
    known = [(one.value, oracle[step], word) for step, one, word in zip(steps, distances, words, strict=True)
             if step in oracle]  # fmt: skip
    if known:
        drawn.append(
            charts.lines(
                [Series([x for x, _, _ in known], [found.value for _, found, _ in known], 1,
                        [found.low for _, found, _ in known], [found.high for _, found, _ in known],
                        [name for _, _, name in known])],
                title="Oracle", x="KL to the start, nats per answer", y="oracle points", whole_x=False,
            )
        )  # fmt: skip
    rows = [
        [count(step), *figure(distance), *figure(reward), *figure(oracle.get(step)),
         number(fmean(row["tokens"] for row in run.snapshots if row["step"] == step), 1), count(reward.n)]
        for step, distance, reward in zip(steps, distances, rewards, strict=True)
    ]  # fmt: skip
    blocks: list[Block] = [
        Figure(
            "PPO's snapshots: what an answer's distance from the start, in nats, buys in reward"
            + (" and in the oracle's points" if known else "")
            + "; numbers are steps, bars 95% intervals over questions.",
            drawn,
        ),
        Table(
            "PPO's snapshots on the evaluation questions. One seed; 95% bootstrap interval over questions; n counts "
            "questions.",
            ["step", "KL, nats", "95% interval", "reward", "95% interval", "oracle", "95% interval", "tokens", "n"],
            rows,
        ),
    ]
    over = at(run.metrics, "score_policies", "over_optimisation")
    if over:
        blocks.insert(
            0,
            f"The oracle's mean is highest at step {over['peak_step']} ({over['peak_oracle']:.3f}). From there to the "
            f"last snapshot, step {over['last_step']}, reward changes by {signed(over['reward_after_peak'])} and "
            f"oracle by {signed(over['oracle_after_peak'])}, which after a maximum is never up. {optimised(run)}",
        )
    else:
        blocks.insert(0, "There is no oracle in this run, so the reward model's view is the only one.")
    return Section(title, anchor, blocks)


def optimised(run: Run) -> str:
    """Whether the reward's rise from the first snapshot to the last is shown to be over-optimisation."""
    if "oracle" in (at(run.metrics, "score_snapshots", "trainers", "ppo", "flags") or []):
        return (
            "From the first snapshot to the last reward rises and the oracle falls, each with its whole interval: that "
            "is over-optimisation."
        )
    return (
        "Over-optimisation is not shown here: that takes a fall of the oracle with its whole interval (the flag "
        "`oracle` of `score_snapshots`)."
    )


def best_of_n(run: Run) -> Section:
    """What choosing among n candidates gains, in reward and in the oracle's eyes."""
    title, anchor = "Best of N", "best-of-n"
    found = at(run.metrics, "score_candidates") or {}
    curve = found.get("curve") or []
    if not curve:
        return best_of_n_by_reward(run, title, anchor)
    n = [point["candidates"] for point in curve]
    drawn = [
        charts.lines([Series(n, [point["reward"] for point in curve], 0)], title="Reward of the pick",
                     x="candidates", y="reward, deviations"),
        charts.lines(
            [
                Series(n, [point["value"] for point in curve], 0, [point["low"] for point in curve],
                       [point["high"] for point in curve]),
                Series(n, [point["longest"] for point in curve], 1),
                Series(n, [point["oracle_pick"] for point in curve], 2),
            ],
            title="Oracle points of the pick", x="candidates", y="oracle points",
        ),
    ]  # fmt: skip
    gain, over = interval(found, "gain"), interval(found, "minus_longest")
    said = "Each answer of guided self-play is the best of several candidates by reward."
    if gain and over:
        said += f" The best of {found.get('candidates')} gains {gain.value:.3f} oracle points ({ends(gain)}) over one "
        said += f"candidate, and {over.value:.3f} ({ends(over)}) over always taking the longest."
    rows = [
        [count(point["candidates"]), number(point["reward"]), *figure(interval(point)), number(point["longest"]),
         number(point["oracle_pick"]), number(point["characters"], 0), count(point["n"])]
        for point in curve
    ]  # fmt: skip
    legend = [("by reward", 0), ("the longest", 1), ("by the oracle: the most there is to gain", 2)]
    return Section(
        title,
        anchor,
        [
            said,
            Figure("The best of N candidates, expected over all choices of N among those drawn.", drawn, legend),
            Table(
                "Best of N. Mean over queries, one seed; 95% bootstrap interval over queries; n counts queries.",
                ["N", "reward", "oracle", "95% interval", "longest: oracle", "oracle's pick", "characters", "n"],
                rows,
            ),
        ],
    )


def best_of_n_by_reward(run: Run, title: str, anchor: str) -> Section:
    """The curve in reward alone, where there is no oracle."""
    series: list[Series] = []
    names: list[tuple[str, int]] = []
    rows = []
    for stage, found in run.metrics.items():
        curve = at(found, "reward_of_best_of") if stage.startswith("simulate_demonstrations/") else None
        if curve:
            name = stage.split("/")[1]
            points = sorted((int(n), reward) for n, reward in curve.items())
            series.append(Series([n for n, _ in points], [reward for _, reward in points], len(series)))
            names.append((name, len(names)))
            rows += [[word(name), count(n), number(reward), count(found.get("queries"))] for n, reward in points]
    if not series:
        return Section(title, anchor, ["Nothing was chosen among candidates."])
    drawn = charts.lines(series, title="Reward of the pick", x="candidates", y="reward, deviations")
    caption = "Best of N by reward. Mean over queries, one seed."
    return Section(
        title,
        anchor,
        [
            "There is no oracle in this run: the reward of the best of N rises by construction, and whether the "
            "answers get better is not known.",
            Figure("Mean reward of the best of N candidates.", [drawn], names),
            Table(caption, ["guide", "N", "reward", "queries"], rows),
        ],
    )
