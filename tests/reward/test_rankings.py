"""Whole queries as elements of a batch: what is read, what is averaged, and what ratings are."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from synthalign.core.errors import UserError
from synthalign.generation import models
from synthalign.reward import pairwise, rankings, scoring, training
from synthalign.reward.training_settings import Settings
from tests import tiny

ANSWERS = ["In the forest.", "In a den, I think.", "No idea.", "Why do you ask me?"]
ALL_PAIRS = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.save(tmp_path / "base", tiny.causal(), tiny.tokenizer())


def pairs(query: str, better_and_worse: Sequence[tuple[int, int]], p_chosen: float = 1.0) -> list[dict[str, Any]]:
    return [
        {
            "comparison_id": f"{query}{better}{worse}",
            "query_id": query,
            "prompt": [{"role": "user", "content": f"Where is {query}?"}],
            "chosen": [{"role": "assistant", "content": ANSWERS[better]}],
            "rejected": [{"role": "assistant", "content": ANSWERS[worse]}],
            "p_chosen": p_chosen,
        }
        for better, worse in better_and_worse
    ]


def settings(batch_size: int) -> Settings:
    return Settings(epochs=1, batch_size=batch_size, warmup=0.0, weight_decay=0.0, max_length=64, seed=0)


def test_each_response_of_a_query_is_read_once_however_many_pairs_it_is_in(base: Path) -> None:
    given = [*pairs("q1", ALL_PAIRS), *pairs("q2", [(2, 0)])]

    rows = rankings.of_queries(given, "rankings", base, 64)
    batch = rankings.collate(rows, pad_token_id=0)

    assert batch["input_ids"].shape[0] == 4 + 2  # and not 2 × 7
    assert batch["chosen"].tolist() == [0, 0, 0, 1, 1, 2, 4]
    assert batch["rejected"].tolist() == [1, 2, 3, 2, 3, 3, 5]
    assert batch["query_of_pair"].tolist() == [0, 0, 0, 0, 0, 0, 1]
    alone = pairwise.collate(pairwise.tokenized(given, models.load_tokenizer(base), 64), pad_token_id=0)
    sides = torch.cat([batch["input_ids"][batch["chosen"]], batch["input_ids"][batch["rejected"]]])
    assert sides.tolist() == alone["input_ids"].tolist()


def test_the_loss_averages_over_the_pairs_of_a_query_and_then_over_queries(base: Path, tmp_path: Path) -> None:
    rows = rankings.of_queries([*pairs("q1", ALL_PAIRS), *pairs("q2", [(2, 0)], 0.8)], "rankings", base, 64)

    curve = rankings.train(
        rows,
        base_model=base,
        folder=tmp_path / "out",
        work=tmp_path / "work",
        learning_rate=1e-12,
        settings=settings(2),
    )

    model, tokenizer = models.load_reward(tmp_path / "out"), models.load_tokenizer(base)
    dialogues = [
        [{"role": "user", "content": f"Where is {q}?"}, {"role": "assistant", "content": text}]
        for q in ("q1", "q2") for text in ANSWERS
    ]  # fmt: skip
    scores = scoring.score(model, tokenizer, dialogues, max_length=64)
    one, two = scores[:4], scores[4:]
    of_one = [-math.log(1 / (1 + math.exp(one[worse] - one[better]))) for better, worse in ALL_PAIRS]
    won = 1 / (1 + math.exp(two[0] - two[2]))
    of_two = -0.8 * math.log(won) - 0.2 * math.log(1 - won)
    assert curve[0]["loss"] == pytest.approx((sum(of_one) / 6 + of_two) / 2, abs=2e-5)


def test_one_query_takes_the_same_step_as_a_batch_of_its_pairs(base: Path, tmp_path: Path) -> None:
    given = pairs("q1", ALL_PAIRS)
    rows = rankings.of_queries(given, "rankings", base, 64)
    places = {"base_model": base, "work": tmp_path / "work", "learning_rate": 1e-3}

    rankings.train(rows, folder=tmp_path / "query", settings=settings(1), **places)  # type: ignore[arg-type]
    pairwise.train(given, folder=tmp_path / "pairs", settings=settings(6), **places)  # type: ignore[arg-type]

    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("query", "pairs"))
    before = load_file(base / "model.safetensors")
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    assert any(not torch.allclose(one[name], before[name], atol=1e-4) for name in one if name in before)


def test_equal_responses_of_a_query_are_one(base: Path) -> None:
    twice = [*pairs("q1", [(0, 1)]), *pairs("q1", [(0, 1)])]

    [row] = rankings.of_queries(twice, "rankings", base, 64)

    assert len(row["responses"]) == 2
    assert row["pairs"] == [[0, 1], [0, 1]]


def test_three_responses_in_order_have_equidistant_ratings_of_deviation_1(base: Path) -> None:
    [row] = rankings.of_queries(pairs("q1", [(0, 1), (0, 2), (1, 2)]), "ratings", base, 64)

    # x, 0, -x has the deviation x √(2/3)
    assert row["ratings"] == pytest.approx([math.sqrt(1.5), 0, -math.sqrt(1.5)], abs=1e-6)


def test_ratings_keep_how_sure_the_labels_of_a_query_are(base: Path) -> None:
    sure, unsure = pairs("q1", [(0, 1)]), pairs("q2", [(0, 1)], 0.75)

    rows = rankings.of_queries([*sure, *unsure], "ratings", base, 64)

    # One tie more: odds of 1.5 to .5 and of 1.25 to .75, half of the logarithm up and half down
    of_sure, of_unsure = math.log(3) / 2, math.log(5 / 3) / 2
    deviation = math.sqrt((of_sure**2 + of_unsure**2) / 2)
    assert rows[0]["ratings"] == pytest.approx([of_sure / deviation, -of_sure / deviation], abs=1e-6)
    assert rows[1]["ratings"] == pytest.approx([of_unsure / deviation, -of_unsure / deviation], abs=1e-6)


def test_a_query_whose_pairs_do_not_meet_has_a_ranking_and_no_ratings(base: Path) -> None:
    given = [*pairs("q1", [(0, 1), (2, 3)]), *pairs("q2", [(0, 1)])]

    assert len(rankings.of_queries(given, "rankings", base, 64)) == 2
    [row] = rankings.of_queries(given, "ratings", base, 64)
    assert row["pairs"] == [[0, 1]]


@pytest.mark.parametrize(("given", "counts"), [([(0, 1), (2, 3)], "1 queries 0"), ([(0, 1)], "1 queries 1")])
def test_where_no_ratings_can_be_had_it_is_said(base: Path, given: list[tuple[int, int]], counts: str) -> None:
    with pytest.raises(UserError, match=f"of {counts} have responses .* set train_reward.loss to pairs or rankings"):
        rankings.of_queries(pairs("q1", given, 0.5), "ratings", base, 64)


def test_rewards_come_near_the_ratings(base: Path, tmp_path: Path) -> None:
    order = [(0, 1), (0, 2), (1, 2)]
    given = [one for query in range(8) for one in pairs(f"q{query}", order)]
    rows = rankings.of_queries(given, "ratings", base, 64)

    curve = rankings.train(
        rows * 40, base_model=base, folder=tmp_path / "out", work=tmp_path / "work", learning_rate=3e-3,
        settings=settings(8),
    )  # fmt: skip

    assert curve[0]["loss"] == pytest.approx(1, abs=0.5)  # the square of what deviates by 1
    assert curve[-1]["loss"] < 0.05
    assert curve[-1]["accuracy"] == 1.0


def test_queries_are_drawn_whole() -> None:
    rows = [one for query in range(20) for one in pairs(f"q{query}", ALL_PAIRS[: 1 + query % 6])]

    drawn = training.draw_queries(rows, 30, seed=0)

    assert 24 < len(drawn) <= 30
    for query in {row["query_id"] for row in drawn}:
        assert sum(row["query_id"] == query for row in drawn) == sum(row["query_id"] == query for row in rows)
    assert drawn == training.draw_queries(rows[::-1], 30, seed=0)
    assert drawn != training.draw_queries(rows, 30, seed=1)
