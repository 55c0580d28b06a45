import json
import math
from itertools import permutations
from pathlib import Path
from random import Random

import pytest
import torch
from matplotlib import pyplot

from benchmarks import filter_figure, filter_sweep
from benchmarks.filter_sweep import Answered, Base, Labelled, Sweep
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval
from synthalign.feedback import filters
from synthalign.feedback.comparisons import Pair, Response
from synthalign.generation import models
from synthalign.reward import packing, pairwise, scoring
from synthalign.reward.training_settings import Settings
from tests import tiny
from world import entities, params
from world.answers import Answerer
from world.oracle import Oracle
from world.params import KINDS, STYLES
from world.questions import Asker


@pytest.fixture(scope="module")
def world() -> entities.World:
    return entities.draw(7, params.load())


@pytest.fixture(scope="module")
def judge(world: entities.World) -> Oracle:
    return Oracle(world)


@pytest.fixture
def base(tmp_path: Path) -> Base:
    folder = tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())
    return Base(folder, models.load_tokenizer(folder))


def answers_in(
    world: entities.World, judge: Oracle, *, gap: str, accident_rate: float, count: int = 120
) -> list[Answered]:
    return filter_sweep.answered(
        Answerer(world, judge.asker),
        filter_sweep.train_questions(judge.asker, count),
        gap=gap,
        accident_rate=accident_rate,
        min_characters=20,
    )


def mean_characters(queries: list[Answered], config: str) -> float:
    lengths = [len(r.text) for query in queries for r in query.responses if r.config == config]
    return sum(lengths) / len(lengths)


def pair(chosen: str, rejected: str, margin: float, query: str = "q") -> Labelled:
    return Labelled(
        query, Pair(Response(f"+{chosen}", "a", 0, chosen), Response(f"-{rejected}", "b", 1, rejected)), margin
    )


def test_padding_changes_no_points_of_the_oracle_whatever_it_pads(world: entities.World, judge: Oracle) -> None:
    answerer = Answerer(world, judge.asker)
    rng = Random(0)
    for kind in KINDS:
        for style in STYLES:
            for one, other in permutations(filter_sweep.PADDING, 2):
                question = judge.asker.ask(rng, kind)
                text = answerer.in_style(rng, question, style)

                assert judge.score(question.text, f"{one} {other} {text}") == judge.score(question.text, text)


def test_padding_alone_is_no_reason_to_reject() -> None:
    for one, other in permutations(filter_sweep.PADDING, 2):
        assert filters.reject_reason(f"{one} {other} The red fox eats nuts.", min_characters=20) is None


def test_the_configurations_fall_from_a_to_e(world: entities.World, judge: Oracle) -> None:
    queries = answers_in(world, judge, gap="as it is", accident_rate=0.0, count=800)
    points = filter_sweep.points_of(judge, queries)
    means = [
        sum(points[r.response_id] for query in queries for r in query.responses if r.config == config) / 800
        for config in "abcde"
    ]

    assert means == sorted(means, reverse=True)


def test_the_gap_moves_the_lengths_and_nothing_else(world: entities.World, judge: Oracle) -> None:
    cells = {gap: answers_in(world, judge, gap=gap, accident_rate=0.0) for gap in filter_sweep.PADDED}
    gaps = {
        gap: mean_characters(queries, "a") - sum(mean_characters(queries, other) for other in "bcde") / 4
        for gap, queries in cells.items()
    }

    assert gaps["short"] < 0 < gaps["as it is"] < gaps["long"]
    # The oracle sees the same answers in all three.
    points = [filter_sweep.points_of(judge, queries) for queries in cells.values()]
    assert points[0] == points[1] == points[2]


def test_a_higher_accident_rate_adds_accidents_and_keeps_those_there_were(world: entities.World, judge: Oracle) -> None:
    none, some, many = (answers_in(world, judge, gap="long", accident_rate=rate) for rate in (0.0, 0.2, 0.4))

    assert not any(query.accidents for query in none)
    assert all(few.accidents <= more.accidents for few, more in zip(some, many, strict=True))
    for before, after in zip(some, many, strict=True):
        changed = {a.response_id for a, b in zip(before.responses, after.responses, strict=True) if a.text != b.text}
        assert changed <= after.accidents - before.accidents
    # 120 questions, 5 answers each, 40% of them; about 12 is the standard deviation.
    assert abs(sum(len(query.accidents) for query in many) - 0.4 * 600) < 36


def test_label_figures_are_counts_of_pairs() -> None:
    figures = filter_sweep.label_figures(
        [
            pair("four", "one", 1.0),  # right, chosen longer
            pair("one", "four", 0.5),  # right, chosen shorter
            pair("five", "four", -1.0),  # wrong, as long
            pair("long", "one", 0.0),  # the oracle has no opinion; chosen longer
        ],
        resamples=20,
    )

    assert figures["pairs"] == 4
    assert figures["tied"] == 1 / 4
    assert figures["agreement"]["value"] == round(2 / 3, 6)
    assert figures["chosen_longer"] == (1 + 0 + 0.5 + 1) / 4


def test_the_oracle_turns_pairs_round_and_leaves_ties_out() -> None:
    turned = filter_sweep.by_oracle([pair("a", "b", -2.0), pair("c", "d", 0.0), pair("e", "f", 1.0)])

    assert [(one.pair.chosen.text, one.pair.rejected.text, one.margin) for one in turned] == [
        ("b", "a", 2.0),
        ("e", "f", 1.0),
    ]


def test_equal_scores_are_not_right() -> None:
    pairs = [pair("a", "b", 1.0), pair("c", "d", 1.0), pair("e", "f", 1.0)]

    right = filter_sweep.correct({"+a": 1, "-b": 0, "+c": 0, "-d": 1, "+e": 1, "-f": 1}, pairs)

    assert right.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "low, high, says", [(0.001, 0.1, "helps"), (-0.1, -0.001, "hurts"), (-0.1, 0.1, "unclear"), (0.0, 0.1, "unclear")]
)
def test_a_filter_helps_or_hurts_only_where_the_interval_is_clear_of_zero(low: float, high: float, says: str) -> None:
    assert filter_sweep.verdict(Interval((low + high) / 2, low, high, 480)) == says


def test_the_learning_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    rates = [filter_sweep.rate_factor(step, warmup=2, steps=6) for step in range(7)]

    assert rates == pytest.approx([0, 1 / 2, 1, (1 + 0.5**0.5) / 2, 1 / 2, (1 - 0.5**0.5) / 2, 0])


def test_the_loop_learns_what_the_trainer_of_the_stages_learns(
    world: entities.World, judge: Oracle, base: Base, tmp_path: Path
) -> None:
    sweep = Sweep(batch_size=8, learning_rate=3e-3, weight_decay=0.1, max_length=96)
    queries = answers_in(world, judge, gap="as it is", accident_rate=0.2, count=8)
    questions = {query.query_id: query.question for query in queries}
    pairs = filter_sweep.kept(
        queries, filter_sweep.points_of(judge, queries), filter_sweep.FILTERS["none"], "all_pairs"
    )
    tokens = filter_sweep.tokens_of(base, queries, sweep.max_length)

    mine = filter_sweep.fitted(base, pairs[:40], tokens, sweep=sweep, seed=3)
    pairwise.train(
        [
            {
                "prompt": [{"role": "user", "content": questions[one.query_id]}],
                "chosen": [{"role": "assistant", "content": one.pair.chosen.text}],
                "rejected": [{"role": "assistant", "content": one.pair.rejected.text}],
                "p_chosen": 1.0,
            }
            for one in pairs[:40]
        ],
        base_model=base.folder,
        folder=tmp_path / "reward",
        work=tmp_path / "work",
        learning_rate=sweep.learning_rate,
        settings=Settings(
            epochs=1,
            batch_size=sweep.batch_size,
            warmup=sweep.warmup,
            weight_decay=sweep.weight_decay,
            max_length=sweep.max_length,
            seed=3,
        ),
    )

    theirs = models.load_reward(tmp_path / "reward")
    torch.manual_seed(3)
    untrained = models.load_reward(base.folder, new_head=True)
    ids = list(tokens.values())[:20]
    with torch.inference_mode():
        before, one, other = (
            scoring.last_token_scores(model, *packing.pad(ids, base.tokenizer.pad_token_id))
            for model in (untrained, mine, theirs)
        )
    assert (one - before).abs().max() > 0.01
    assert torch.allclose(one, other, atol=1e-4)


def test_a_tiny_sweep_repeats_byte_for_byte_and_goes_on_where_it_stopped(
    world: entities.World, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "world").mkdir()
    world.save(tmp_path / "world/world.json")
    monkeypatch.chdir(tmp_path)
    sweep = filter_sweep.TINY.model_copy(update={"gaps": ("long",), "train_queries": 12, "pairs": 16})
    outs = [tmp_path / "first", tmp_path / "second"]

    filter_sweep.run(tmp_path / "world", base.folder, outs[0], sweep)
    [journal] = Path(".work/filter_sweep").glob("*/cells.jsonl")
    lines = journal.read_text().splitlines()
    assert len(lines) == 2 * (4 * 2 + 1 + 1)  # two cells: four filters x two seeds, one gold, and the figures
    journal.write_text("\n".join(lines[:14]) + "\n" + lines[14][:50])  # killed while it wrote of a model
    filter_sweep.run(tmp_path / "world", base.folder, outs[1], sweep)

    for name in ("metrics/filter_sweep.json", "docs/figures/filter_sweep.svg"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()
    figures = json.loads((outs[0] / "metrics/filter_sweep.json").read_text())
    assert [(cell["gap"], cell["accident_rate"]) for cell in figures["cells"]] == [("long", 0.0), ("long", 0.4)]
    assert figures["cells"][1]["reward_models"]["none"]["pairs_learned"] == 16
    for cell in figures["cells"]:
        kept = {name: cell["filters"][name]["pairs"] for name in filter_sweep.FILTERS}
        assert kept["both"] <= min(kept["keyword"], kept["length"]) <= kept["none"] <= 12 * 10
    assert b"always the longer" in (outs[0] / "docs/figures/filter_sweep.svg").read_bytes()
    assert filter_figure.GOLD == filter_sweep.GOLD


def test_a_folder_without_a_world_is_named(base: Base, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="world.json does not exist; `make world`"):
        filter_sweep.run(tmp_path, base.folder, tmp_path, filter_sweep.TINY)


def test_more_test_questions_than_the_world_has_are_an_error(world: entities.World) -> None:
    with pytest.raises(UserError, match="take a smaller test_queries than 100000"):
        filter_sweep.test_questions(world, Asker(world), 100000)


def test_a_figure_without_an_interval_is_drawn_without_a_bar() -> None:
    without = {"value": 0.5, "low": None, "high": None, "n": 3, "why": "too few"}
    figure, axis = pyplot.subplots()

    filter_figure._line(axis, [0, 1], [{"value": 0.6, "low": 0.55, "high": 0.7, "n": 9}, without], "both")
    [(line, caps, [bars])] = axis.containers
    pyplot.close(figure)

    assert list(line.get_ydata()) == [60, 50]
    ends = [[y for _, y in bar] for bar in bars.get_segments()]
    assert ends[0] == pytest.approx([55, 70])
    assert all(math.isnan(y) for bar in ends[1:] for y in bar)
    assert all(math.isnan(cap.get_ydata()[1]) for cap in caps)


def test_the_table_of_the_page_is_that_of_the_metrics() -> None:
    page = Path("docs/filter_sweep.md").read_text(encoding="utf-8")
    cells = json.loads(Path("metrics/filter_sweep.json").read_text(encoding="utf-8"))["cells"]

    assert filter_figure.with_gains(page, cells) == page
    cell = next(one for one in cells if (one["gap"], one["accident_rate"]) == ("as it is", 0.0))
    gain = cell["reward_models"]["both"]["gain"]
    row = next(line for line in page.splitlines() if line.startswith("| 0% | lengths as in the world |"))
    assert row.endswith(f"| {100 * gain['value']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}] |")
