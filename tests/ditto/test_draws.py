"""DITTO's comparisons, worked by hand; D3, D4 and D5 are the checks of the same names in the project's issue."""

import math
from collections import Counter
from itertools import product

import pytest

from synthalign.ditto import draws
from synthalign.ditto.authors import Demonstration
from synthalign.ditto.draws import Fractions, Text

PAPER = Fractions(online=0.7, replay=0.2, inter=0.1)


def demonstrations(count: int, *, prompt: str = "Prompt {n}") -> list[Text]:
    return [draws.demonstrated(Demonstration(prompt.format(n=n), f"Output {n}")) for n in range(count)]


def samples(given: list[Text], iteration: int, each: int) -> list[Text]:
    return [
        draws.sampled(one.demonstration_id, iteration, index, f"{iteration}.{index} {one.text}", finish_reason="eos")
        for one, index in product(given, range(each))
    ]


def sample(name: str, iteration: int, text: str, finish_reason: str = "eos") -> Text:
    return draws.sampled(name, iteration, 0, text, finish_reason=finish_reason)


def made(count: int, iterations: int, each: int) -> dict[draws.Kind, list[draws.Pair]]:
    given = demonstrations(count)
    return draws.pools(given, [samples(given, t, each) for t in range(iterations)])


def composition(pairs: list[draws.Pair]) -> dict[draws.Kind, int]:
    counts = Counter(pair.kind for pair in pairs)
    return {kind: counts[kind] for kind in draws.KINDS}


def test_D3_the_chosen_text_ranks_above_the_rejected_one_and_answers_the_same_prompt():
    found = made(3, 4, 2)

    pairs = [pair for kind in draws.KINDS for pair in found[kind]]
    assert pairs
    assert all(pair.chosen.rank > pair.rejected.rank for pair in pairs)
    assert all(pair.chosen.demonstration_id == pair.rejected.demonstration_id for pair in pairs)
    assert {pair.chosen.rank for pair in found["online"] + found["replay"]} == {math.inf}
    assert {pair.rejected.rank for pair in found["online"]} == {3}
    assert {pair.rejected.rank for pair in found["replay"]} == {0, 1, 2}
    assert {(pair.chosen.rank, pair.rejected.rank) for pair in found["inter"]} == {
        (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)
    }  # fmt: skip


def test_the_pools_have_as_many_pairs_as_the_order_allows():
    found = made(7, 4, 10)  # the paper's: 7 demonstrations, 10 samples each, 4 sets

    assert len(found["online"]) == 7 * 10
    assert len(found["replay"]) == 7 * 10 * 3
    assert len(found["inter"]) == 7 * (10 * 10) * (4 * 3 // 2)


@pytest.mark.parametrize(
    ("count", "first", "later"),
    [
        (1, [2, 0, 0], [2, 1, 0]),  # L = 3:  2.1, 0.6, 0.3
        (2, [4, 0, 0], [4, 1, 1]),  # L = 6:  4.2, 1.2, 0.6
        (3, [6, 0, 0], [6, 2, 1]),
        (4, [8, 0, 0], [8, 2, 1]),
        (5, [10, 0, 0], [10, 3, 2]),  # L = 15: 10.5 and 1.5 round to the even neighbour
        (6, [13, 0, 0], [13, 4, 2]),
        (7, [15, 0, 0], [15, 4, 2]),
        (8, [17, 0, 0], [17, 5, 2]),
    ],
)
def test_D4_a_batch_has_the_compositions_of_the_papers_code(count, first, later):
    one, two = (draws.draw(made(count, sets, 10), 3 * count, PAPER, seed=0, step=1) for sets in (1, 2))

    assert list(composition(one).values()) == first
    assert list(composition(two).values()) == later


@pytest.mark.parametrize("kind", draws.KINDS)
def test_D4_a_fraction_of_zero_leaves_its_kind_out_and_one_of_a_half_gives_half(kind):
    found = made(4, 3, 10)

    without = draws.draw(found, 12, PAPER.model_copy(update={kind: 0.0}), seed=0, step=1)
    half = draws.draw(found, 12, PAPER.model_copy(update={kind: 0.5}), seed=0, step=1)

    assert composition(without)[kind] == 0
    assert composition(half)[kind] == 6
    others = [other for other in draws.KINDS if other != kind]
    assert [composition(without)[o] for o in others] == [composition(half)[o] for o in others]


def test_a_pool_that_is_too_small_is_taken_whole_and_no_other_makes_up_for_it():
    given = demonstrations(4)
    found = draws.pools(given, [samples(given[:1], 0, 1), samples(given, 1, 10)])

    drawn = draws.draw(found, 100, PAPER, seed=0, step=1)

    assert composition(drawn) == {"online": min(70, 4 * 10), "replay": min(20, 1), "inter": min(10, 10 * 1)}


def test_D5_two_demonstrations_of_one_prompt_are_both_used():
    given = demonstrations(2, prompt="The same prompt")
    found = draws.pools(given, [samples(given, 0, 5)])

    assert len({one.demonstration_id for one in given}) == 2
    assert len(found["online"]) == 2 * 5
    assert {pair.chosen.text for pair in found["online"]} == {"Output 0", "Output 1"}


def test_D5_no_demonstration_loses_to_another_of_its_prompt_that_a_sample_repeats():
    def said_by(*prompts: str) -> list[tuple[str, str]]:
        given = [draws.demonstrated(Demonstration(prompt, f"Text {n}.")) for n, prompt in enumerate(prompts)]
        found = draws.pools(given, [[sample(given[0].demonstration_id, 0, "Text 1.")]])
        return [(pair.chosen.text, pair.rejected.text) for pair in found["online"]]

    assert said_by("Write.", "Write.") == []
    assert said_by("Write.", "Write of foxes.") == [("Text 0.", "Text 1.")]  # which answers another question


def test_a_draw_has_no_pair_twice_and_depends_on_seed_and_step_alone():
    found = made(7, 2, 10)
    turned = {kind: list(reversed(pairs)) for kind, pairs in found.items()}

    first = draws.draw(found, 21, PAPER, seed=0, step=1)

    assert len({pair.pair_id for pair in first}) == len(first) == 15 + 4 + 2
    assert draws.draw(turned, 21, PAPER, seed=0, step=1) == first
    assert draws.draw(found, 21, PAPER, seed=0, step=2) != first
    assert draws.draw(found, 21, PAPER, seed=1, step=1) != first


def test_every_pair_of_a_pool_is_drawn_about_as_often_as_the_others():
    found = made(2, 1, 5)  # 10 online pairs, of which a batch takes round(.7 * 6) = 4

    drawn = [pair.pair_id for step in range(1000) for pair in draws.draw(found, 6, PAPER, seed=0, step=step)]

    expected = 1000 * 4 / 10
    deviation = math.sqrt(1000 * 0.4 * 0.6)
    assert all(abs(drawn.count(name) - expected) < 4 * deviation for name in set(drawn))
    assert len(set(drawn)) == 10


def test_a_sample_that_says_what_the_demonstration_says_and_two_equal_samples_make_no_pair():
    [best] = demonstrations(1)
    name = best.demonstration_id
    early = [sample(name, 0, best.text), sample(name, 0, "Same.")]
    late = [sample(name, 1, "Same."), sample(name, 1, "Other.")]

    found = draws.pools([best], [early, late])

    assert [(p.chosen.text, p.rejected.text) for p in found["online"]] == [
        ("Output 0", "Same."),
        ("Output 0", "Other."),
    ]
    assert [(p.chosen.text, p.rejected.text) for p in found["replay"]] == [("Output 0", "Same.")]
    assert [(p.chosen.text, p.rejected.text) for p in found["inter"]] == [("Other.", "Same.")]


def test_a_sample_that_was_cut_off_or_is_empty_is_worse_than_a_demonstration_and_never_better_than_a_sample():
    [best] = demonstrations(1)
    name = best.demonstration_id
    early = [sample(name, 0, "Early."), sample(name, 0, "Ear", "length")]
    late = [sample(name, 1, "Late.", "stop"), sample(name, 1, "La", "length"), sample(name, 1, "", "eos")]

    found = draws.pools([best], [early, late])

    assert [p.rejected.text for p in found["online"]] == ["Late.", "La", ""]
    assert [(p.chosen.text, p.rejected.text) for p in found["replay"]] == [("Output 0", "Early."), ("Output 0", "Ear")]
    assert [(p.chosen.text, p.rejected.text) for p in found["inter"]] == [("Late.", "Early."), ("Late.", "Ear")]
