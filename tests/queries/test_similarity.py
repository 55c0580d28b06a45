import random

import pytest
from rouge_score import rouge_scorer

from synthalign.queries.similarity import Pool, rouge_l


def sentence(draw: random.Random) -> str:
    pieces = ["the", "The", "red", "fox", "owl", "eats", "don't", "a-b", "42", "\t", "?", "", "Fox!", "it's"]
    return " ".join(draw.choices(pieces, k=draw.randrange(12)))


def test_two_thousand_pairs_have_the_value_of_the_rouge_score_package() -> None:
    draw = random.Random(0)
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    pairs = [(sentence(draw), sentence(draw)) for _ in range(2000)]

    ours = [rouge_l(one, other) for one, other in pairs]

    assert ours == [scorer.score(one, other)["rougeL"].fmeasure for one, other in pairs]
    assert len(set(ours)) > 20


def test_two_questions_that_share_a_digit_are_not_alike() -> None:
    # of seven and eight words 2 月 什 么 are common: before, the digit was all there was of both
    assert rouge_l("狐狸2月吃什么？", "猫头鹰2月做什么？") == pytest.approx(2 * (4 / 7) * (4 / 8) / (4 / 7 + 4 / 8))
    # of six and five words "в" and "2024" are common, in this order
    assert rouge_l("Кто выиграл выборы в 2024 году?", "Сколько стоил хлеб в 2024") == pytest.approx(
        2 * (2 / 6) * (2 / 5) / (2 / 6 + 2 / 5)
    )


def test_a_question_without_its_question_mark_is_the_same_in_any_script() -> None:
    for text in ("狐狸住在哪里", "Где живёт лиса", "أين يعيش الثعلب", "लोमड़ी कहाँ रहती है", "สุนัขจิ้งจอกอยู่ที่ไหน"):
        assert rouge_l(text, f"{text}?") == rouge_l(text, f"{text}？") == 1


def test_letters_with_accents_are_letters() -> None:
    # before, "école" was the word "cole" and "à" was none: 2 of 2
    assert rouge_l("à l'école", "l'cole") == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))


def test_the_worked_example() -> None:
    # red fox eats / the fox eats plums: "fox eats" is common, 2 of 3 words and 2 of 4
    assert rouge_l("Red fox eats.", "The fox eats plums?") == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))


def test_the_nearest_of_a_growing_pool_is_the_first_of_equals() -> None:
    pool = Pool(["the red fox", "a grey owl"])

    assert pool.nearest("a grey fox") == (1, pytest.approx(2 / 3))
    pool.add("a grey fox")
    pool.add("a grey fox!")
    assert pool.nearest("a grey fox") == (2, 1.0)
    assert pool.nearest("plum") == (-1, 0.0)
    assert pool.nearest("?") == (-1, 0.0)
    assert Pool().nearest("plum") == (-1, 0.0)


def test_a_shared_bag_of_words_in_another_order_does_not_count_as_alike() -> None:
    # b a: both words are shared, but only one of them in order; a x: one of two is shared, in order
    pool = Pool(["the b a", "the a x"])

    assert pool.nearest("the a b") == (0, pytest.approx(2 / 3))
    assert pool.nearest("a b the") == (0, pytest.approx(1 / 3))
    assert pool.nearest("a a") == (0, pytest.approx(2 / 5))  # the second "a" is shared with none; the first of equals


def test_comparing_few_and_growing_change_nothing() -> None:
    draw = random.Random(1)
    texts = [sentence(draw) for _ in range(1500)]
    whole = Pool(texts)

    for text in [sentence(draw) for _ in range(50)]:
        place, value = whole.nearest(text)
        values = [rouge_l(text, known) for known in texts]
        assert value == max(values)
        assert place == (values.index(max(values)) if max(values) else -1)
