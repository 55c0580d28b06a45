import pytest

from synthalign.core.errors import UserError
from synthalign.feedback.comparisons import (
    SCHEMA,
    Pair,
    Response,
    best_and_worst,
    ranked_pairs,
    ranks,
    row,
    summary,
    swapped,
)


def responses(*lengths, reasons=None, first="A"):
    """One response for each of A, B, C … with that many characters; all different texts."""
    names = [chr(ord(first) + place) for place in range(len(lengths))]
    return [
        Response(name, name, ord(name) - ord("A"), name * length, (reasons or {}).get(name))
        for name, length in zip(names, lengths, strict=True)
    ]


def kept(pairs):
    return [f"{pair.chosen.config}>{pair.rejected.config}" for pair in pairs if pair.drop_reason is None]


def reasons(pairs):
    return {f"{pair.chosen.config}>{pair.rejected.config}": pair.drop_reason for pair in pairs}


# The five cases of the released code, found by running it alone


def test_adjacent_mode_pairs_neighbours_when_the_better_is_the_longer():
    assert kept(ranked_pairs(responses(500, 400, 300, 200, 100), mode="adjacent")) == ["A>B", "B>C", "C>D", "D>E"]


def test_adjacent_mode_pairs_neighbours_when_all_are_as_long():
    assert kept(ranked_pairs(responses(300, 300, 300, 300, 300), mode="adjacent")) == ["A>B", "B>C", "C>D", "D>E"]


def test_adjacent_mode_lets_only_those_near_the_mean_be_chosen_over_longer_ones():
    # M = 300, S = 141.4, M - S/2 = 229.3: A 100 and B 200 are below it, C 300 and D 400 are not
    assert kept(ranked_pairs(responses(100, 200, 300, 400, 500), mode="adjacent")) == ["C>D", "D>E"]


def test_adjacent_mode_falls_through_to_the_next_rank_that_is_short_enough():
    # M = 194, S = 108.4, M - S/2 = 139.8: A 120 may not beat B 400 but may beat C 100; C 100 may beat nobody
    assert kept(ranked_pairs(responses(120, 400, 100, 200, 150), mode="adjacent")) == ["A>C", "B>C", "D>E"]


def test_adjacent_mode_goes_on_when_the_best_is_missing():
    # M = 212.5, S = 114: M - S/2 = 155.6, so C 100 is blocked by D 200 and by E 150
    assert kept(ranked_pairs(responses(400, 100, 200, 150, first="B"), mode="adjacent")) == ["B>C", "D>E"]


def test_adjacent_mode_names_what_happened_to_each_pair():
    assert reasons(ranked_pairs(responses(120, 400, 100), mode="adjacent")) == {
        "A>B": "length_rule",  # M = 206.7, S = 137, M - S/2 = 138.1 > 120, and 120 < 400
        "A>C": None,
        "B>C": None,
    }
    assert reasons(ranked_pairs(responses(30, 20, 10), mode="adjacent"))["A>C"] == "one_pair_per_chosen"


def test_a_length_of_exactly_the_threshold_is_enough_in_adjacent_mode_only():
    # M = 40 / 8 = 5, S = sqrt(32 / 8) = 2, M - S/2 = 4: A has just that, and is shorter than B
    on_the_line = responses(4, 5, 2, 4, 4, 5, 7, 9)

    assert reasons(ranked_pairs(on_the_line, mode="adjacent"))["A>B"] is None  # 4 >= 4
    assert reasons(ranked_pairs(on_the_line, mode="all_pairs"))["A>B"] == "length_rule"  # not 4 > 4


def test_adjacent_mode_chooses_once_from_each_rank():
    two_of_the_best = [
        Response("a0", "A", 0, "xxxx"),
        Response("a1", "A", 0, "yyyy"),
        Response("b", "B", 1, "zz"),
    ]

    assert [(pair.chosen.response_id, pair.drop_reason) for pair in ranked_pairs(two_of_the_best, mode="adjacent")] == [
        ("a0", None),
        ("a1", "one_pair_per_chosen"),
    ]


def test_adjacent_mode_drops_an_identical_pair_after_it_took_the_place():
    same = [Response("a", "A", 0, "one."), Response("b", "B", 1, "one."), Response("c", "C", 2, "two.")]

    assert reasons(ranked_pairs(same, mode="adjacent")) == {
        "A>B": "identical",
        "A>C": "one_pair_per_chosen",
        "B>C": None,
    }


# The paper's rule


def test_all_pairs_mode_makes_ten_pairs_of_five_good_responses_before_the_filter():
    for lengths in [(500, 400, 300, 200, 100), (100, 200, 300, 400, 500), (300,) * 5]:
        pairs = ranked_pairs(responses(*lengths), mode="all_pairs", keyword=False, length=False)

        assert len(kept(pairs)) == len(pairs) == 5 * 4 / 2


def test_all_pairs_mode_keeps_a_shorter_chosen_only_above_the_threshold():
    # M = 300, M - S/2 = 229.3: A and B are below it and everything below them is longer
    pairs = ranked_pairs(responses(100, 200, 300, 400, 500), mode="all_pairs")

    assert kept(pairs) == ["C>D", "C>E", "D>E"]
    assert {pair.drop_reason for pair in pairs} == {None, "length_rule"}


def test_all_pairs_mode_is_strict_so_equal_lengths_make_no_pair():
    # M - S/2 = 300 - 0; neither 300 > 300 holds
    assert kept(ranked_pairs(responses(300, 300, 300, 300, 300), mode="all_pairs")) == []


def test_all_pairs_mode_takes_the_deviation_of_the_population():
    # M = 106, population S = 10.68, M - S/2 = 100.66 > 100; the sample's S = 13.08 would give 99.46 < 100
    assert reasons(ranked_pairs(responses(97, 100, 121), mode="all_pairs"))["B>C"] == "length_rule"


@pytest.mark.parametrize("mode", ["all_pairs", "adjacent"])
def test_the_filter_only_ever_removes_pairs(mode):
    given = responses(120, 400, 100, 200, 150, reasons={"B": "starts_with_well"})
    everything = set(kept(ranked_pairs(given, mode="all_pairs", keyword=False, length=False)))

    for keyword in (True, False):
        for length in (True, False):
            assert set(kept(ranked_pairs(given, mode=mode, keyword=keyword, length=length))) <= everything


# The parts apart


def test_keyword_and_length_part_are_switched_off_separately():
    given = responses(100, 300, 200, reasons={"B": "no_final_stop"})

    # usable A 100 and C 200: M = 150, S = 50, M - S/2 = 125 > 100
    assert reasons(ranked_pairs(given, mode="all_pairs")) == {
        "A>B": "rejected_response:no_final_stop",
        "A>C": "length_rule",
        "B>C": "rejected_response:no_final_stop",
    }
    assert kept(ranked_pairs(given, mode="all_pairs", length=False)) == ["A>C"]
    # all three: M = 200, S = 81.6, M - S/2 = 159.2 > 100
    assert kept(ranked_pairs(given, mode="all_pairs", keyword=False)) == ["B>C"]
    assert kept(ranked_pairs(given, mode="all_pairs", keyword=False, length=False)) == ["A>B", "A>C", "B>C"]


def test_mean_and_deviation_are_those_of_the_usable_responses():
    # without the 1,000 characters of A: M = 150, S = 50, M - S/2 = 125 and B 150 may beat the longer C 200 …
    given = responses(1000, 150, 200, 100, reasons={"A": "human_marker"})

    assert reasons(ranked_pairs(given, mode="all_pairs"))["B>C"] is None
    # … with it M = 362.5 and M - S/2 = 177.4: it may not
    assert reasons(ranked_pairs(given, mode="all_pairs", keyword=False))["B>C"] == "length_rule"


def test_the_chosen_ones_reason_comes_before_the_rejected_ones():
    given = responses(30, 20, reasons={"A": "too_short", "B": "image_tag"})

    assert reasons(ranked_pairs(given, mode="all_pairs")) == {"A>B": "rejected_response:too_short"}


def test_a_blank_response_is_never_used():
    given = [Response("a", "A", 0, "   "), Response("b", "B", 1, "It eats berries.")]

    assert reasons(ranked_pairs(given, mode="all_pairs", keyword=False, length=False)) == {
        "A>B": "rejected_response:blank"
    }


def test_identical_texts_are_dropped_even_without_the_filter():
    given = [Response("a", "A", 0, "one."), Response("b", "B", 1, "one.")]

    assert reasons(ranked_pairs(given, mode="all_pairs", keyword=False, length=False)) == {"A>B": "identical"}


@pytest.mark.parametrize("mode", ["all_pairs", "adjacent"])
def test_fewer_than_two_usable_responses_make_no_pair(mode):
    assert ranked_pairs([], mode=mode) == []
    assert ranked_pairs(responses(40), mode=mode) == []
    assert kept(ranked_pairs(responses(40, 30, reasons={"B": "too_short"}), mode=mode)) == []


@pytest.mark.parametrize("mode", ["all_pairs", "adjacent"])
def test_configurations_of_one_group_are_not_compared(mode):
    places = ranks(["A", ["B", "C"], "D"])
    given = [
        Response(name, name, places[name], name * length) for name, length in zip("ABCD", (8, 7, 6, 5), strict=True)
    ]

    assert places == {"A": 0, "B": 1, "C": 1, "D": 2}
    assert "B>C" not in reasons(ranked_pairs(given, mode=mode))
    if mode == "all_pairs":
        assert kept(ranked_pairs(given, mode=mode)) == ["A>B", "A>C", "A>D", "B>D", "C>D"]
    else:
        assert kept(ranked_pairs(given, mode=mode)) == ["A>B", "B>D"]  # the rank of B and C is chosen once


def test_a_ranking_of_one_configuration_beside_an_empty_group_ranks_nothing():
    with pytest.raises(UserError, match="fewer than two places"):
        ranks(["a", []])


def test_a_ranking_that_repeats_a_name_or_ranks_nothing_is_refused():
    with pytest.raises(UserError, match="'a' is twice"):
        ranks(["a", "b", ["c", "a"]])
    with pytest.raises(UserError, match="fewer than two places"):
        ranks([["a", "b"]])


def test_a_pair_has_the_same_id_in_every_table_and_another_one_when_turned_round():
    pair = Pair(*responses(5, 3))
    one = row(pair, query_id="q", question="What is it?", feedback="heuristic")
    other = row(pair, query_id="q", question="What is it?", feedback="no_filter")

    assert set(one) == set(SCHEMA.names)
    assert one["comparison_id"] == other["comparison_id"] != swapped(one)["comparison_id"]
    assert swapped(one)["chosen"] == one["rejected"]
    assert swapped(one)["chosen_config"] == "B"
    assert swapped(swapped(one)) == one


def answer(name: str, reward: float, finish_reason: str = "eos", text: str = "So.") -> tuple[float, Response]:
    return reward, Response(name, "sft", ord(name) - ord("a"), text, finish_reason=finish_reason)


def test_the_best_of_a_pair_ended_and_the_worst_is_the_worst_of_all() -> None:
    given = [answer("a", 0.9, "length"), answer("b", 0.5), answer("c", 0.7, "stop"), answer("d", 0.1, "length")]

    assert best_and_worst(given) == (given[2], given[3])  # the best of all, a, was cut off and is neither


def test_of_equal_rewards_the_earlier_answer_is_the_better() -> None:
    given = [answer("b", 0.5), answer("a", 0.5)]

    assert best_and_worst(given) == (given[1], given[0])


def test_answers_of_which_none_ended_and_fewer_than_two_that_say_anything_make_no_pair() -> None:
    assert best_and_worst([answer("a", 0.9, "length"), answer("b", 0.1, "length")]) == "no_ended_answer"
    assert best_and_worst([answer("a", 0.9), answer("b", 0.1, text=" ")]) == "too_few_answers"


def test_a_comparison_says_how_both_of_its_answers_ended_also_turned_round() -> None:
    (_, one), (_, other) = answer("a", 0.0, "stop"), answer("b", 0.0, "length", "No.")

    made = row(Pair(one, other), query_id="q", question="Why?", feedback="test")

    assert (made["chosen_finish_reason"], made["rejected_finish_reason"]) == ("stop", "length")
    turned = swapped(made)
    assert (turned["chosen_finish_reason"], turned["rejected_finish_reason"]) == ("length", "stop")


def test_the_summary_counts_equal_lengths_as_not_longer():
    rows = [row(Pair(*responses(*lengths)), query_id="q", question="?", feedback="x") for lengths in [(5, 3), (4, 4)]]

    assert summary(rows) == {
        "pairs": 2,
        "queries": 1,
        "chosen_longer": 1 / 2,
        "chosen_characters": (5 + 4) / 2,
        "rejected_characters": (3 + 4) / 2,
    }
    assert summary([])["pairs"] == 0
