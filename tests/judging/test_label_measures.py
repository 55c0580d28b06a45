"""Tables of labels against each other."""

import pytest

from synthalign.core import measures, statistics
from synthalign.core.measures import Label
from synthalign.judging import label_measures


def labels(*gaps, question="q", prefix="c"):
    return [Label(f"{question}{place}", f"{prefix}{place}", gap, 1) for place, gap in enumerate(gaps)]


def test_a_gap_counts_ties_and_has_no_sign():
    assert label_measures.mean_gap(labels(3, -1, 0, 2), seed=0).value == (3 + 1 + 0 + 2) / 4


def test_a_difference_of_two_accuracies_leaves_ties_out():
    one, other = labels(1, 1, -1, 0), labels(1, -1, -1, -1)

    found = label_measures.combination(
        [(1, label_measures.accuracy_parts(one)), (-1, label_measures.accuracy_parts(other))], seed=0
    )

    assert found.value == pytest.approx(2 / 3 - 1 / 4)
    assert found.n == 4


def test_four_tables_give_the_difference_of_differences():
    tables = [labels(2, 2), labels(1, 1), labels(5, 3), labels(4, 3)]
    terms = [(sign, label_measures.gap_parts(table)) for sign, table in zip((1, -1, -1, 1), tables, strict=True)]

    assert label_measures.combination(terms, seed=0).value == pytest.approx((2 - 1) - (4 - 3.5))


def test_two_terms_have_the_interval_that_statistics_gives_them():
    one, other = labels(*[1, -1, 1, 1, 0] * 20), labels(*[-1, -1, 1, 0, 1] * 20)
    parts = [label_measures.accuracy_parts(one), label_measures.accuracy_parts(other)]

    found = label_measures.combination([(1, parts[0]), (-1, parts[1])], seed=5)

    order = dict.fromkeys(question for table in parts for question, _, counted in table if counted)  # as they are drawn
    tables = [{question: rest for question, *rest in table} for table in parts]
    columns = [([table[q][0] for q in order], [table[q][1] for q in order]) for table in tables]
    assert found == statistics.ratio_difference_interval(*columns, list(order), seed=5)


def test_a_question_with_a_tie_in_both_tables_is_not_counted():
    one, other = labels(1, 0, -1, 1, 1, 1, 1, 1), labels(-1, 0, 1, 0, 1, 1, 1, 1)
    terms = [(1, label_measures.accuracy_parts(one)), (-1, label_measures.accuracy_parts(other))]

    found = label_measures.combination(terms, seed=0)

    assert (round(found.value, 9), found.n) == (round(6 / 7 - 5 / 6, 9), 7)
    assert found.low is not None


def test_a_table_with_a_preference_on_two_questions_alone_is_of_too_few():
    one, other = labels(1, 1, *[0] * 98), labels(*[1, -1] * 50)
    terms = [(1, label_measures.accuracy_parts(one)), (-1, label_measures.accuracy_parts(other))]

    assert label_measures.combination(terms, seed=0).why == statistics.TOO_FEW


def test_tables_need_not_answer_the_same_questions():
    one, other = labels(1, 1, question="a"), labels(-1, 1, question="b")
    terms = [(1, label_measures.accuracy_parts(one)), (-1, label_measures.accuracy_parts(other))]

    found = label_measures.combination(terms, seed=0)

    assert (found.value, found.n) == (1 - 1 / 2, 4)


def test_a_table_of_ties_alone_has_no_accuracy():
    with pytest.raises(ValueError, match="nothing to measure"):
        label_measures.combination([(1, label_measures.accuracy_parts(labels(0, 0)))], seed=0)


def test_one_order_turns_the_labels_that_it_sees_otherwise():
    found = label_measures.single_order(labels(2, -1, 3), {"c0": (0.7, 0.8), "c1": (0.4, 0.9), "c2": (0.6, 0.2)})

    assert [label.gap for label in found] == [2, 2, 1, -1, 3, -3]
    assert [label.longer for label in found] == [1, 1, -1, 1, 1, -1]
    assert [label.right for label in found] == [1, 1, 1, 0, 1, 0]


def test_one_order_that_finds_both_options_equally_probable_is_half_right():
    found = label_measures.single_order(labels(2, -1, 0), {"c0": (0.5, 0.8), "c1": (0.5, 0.5), "c2": (0.5, 0.9)})
    whole = {"all": frozenset(label.comparison_id for label in found)}

    assert [label.right for label in found] == [0.5, 1, 0.5, 0.5, 0, 0]  # the oracle has no preference on the last two
    # (1/2 + 1 + 1/2 + 1/2) / 4
    assert label_measures.combination([(1, label_measures.accuracy_parts(found))], seed=0).value == 2.5 / 4
    agreement = measures.label_agreement(found, whole, seed=0)["all"]
    assert (agreement.agreement.value, agreement.longer, agreement.ties) == (2.5 / 4, 2.5 / 4, pytest.approx(2 / 6))
