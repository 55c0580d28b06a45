import random
import string

import pytest
from rouge_score import tokenize

from synthalign.core.words import finder, folded, key, words

TEXTS = {
    "Don't! The 2nd-best snake_case": "don t the 2nd best snake case",
    "Как испечь ЁЛКУ в 2024 году?": "как испечь ёлку в 2024 году",
    "À l’école élémentaire": "à l école élémentaire",
    "怎样用200克面粉？": "怎 样 用 200 克 面 粉",
    "コーヒーを飲む。": "コ ー ヒ ー を 飲 む",
    "한국어 단어는": "한국어 단어는",
    "हिन्दी में कितने अक्षर हैं?": "हिन्दी में कितने अक्षर हैं",  # the vowel signs are marks, most of them after a letter
    "مَدْرَسَة كبيرة؟": "مَدْرَسَة كبيرة",
    "กินที่ไหน": "กิ น ที่ ไ ห น",
    "မြန်မာ": "မြ န် မာ",
    "ປີ ๒๐๒๔": "ປີ ๒๐๒๔",  # digits stand together
    "🦊 !": "",
}


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_those_of_the_script(text: str) -> None:
    assert list(words(text)) == TEXTS[text].split()


def test_of_ten_thousand_random_ascii_texts_the_words_are_those_of_the_rouge_score_package() -> None:
    draw = random.Random(0)
    common = string.ascii_letters + string.digits + " '-_.?"
    for _ in range(10_000):
        letters = draw.choice([common, [chr(code) for code in range(128)]])
        text = "".join(draw.choices(letters, k=draw.randrange(40)))
        assert list(words(text)) == tokenize.tokenize(text, None), repr(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("２０２４年のＡＩ", "2024年のai"),  # full width
        ("ｺｰﾋｰ", "コーヒー"),  # half width
        ("e\u0301cole", "école"),
        ("STRASSE", "Straße"),
        ("ΟΔΟΣ", "οδος"),
        ("co\u00adoperate", "cooperate"),  # a soft hyphen
        ("می\u200cخواهم", "میخواهم"),  # a zero-width non-joiner
        ("葛\U000e0100飾", "葛飾"),  # a variation selector
    ],
)
def test_texts_that_differ_in_form_alone_have_the_same_words(one: str, other: str) -> None:
    assert words(one) == words(other) != ()


def test_an_accent_makes_another_word() -> None:
    assert words("año") != words("ano")


def test_a_key_forgets_case_and_punctuation_and_keeps_a_text_without_words() -> None:
    assert key("狐狸住在哪里？") == key("狐狸住在哪里")
    assert key("Where is it?") == key("where is it")
    assert key("🦊?") != key("🦊")


@pytest.mark.parametrize(
    ("phrase", "text", "is_found"),
    [
        ("Image", "What is in this image?", True),
        ("image", "Who was here in imagery?", False),
        ("C++", "Is c++ old?", True),
        ("C++", "Is C old?", False),
        ("图片", "这张图片里有什么？", True),  # the letters around it are words of their own
        ("image", "这张image里有什么？", True),
        ("AI", "ＡＩは何？", True),
        ("สี", "กี่สีที่", True),
        ("ก", "กี่สี", False),  # with a mark it is another letter
        ("हिन", "हिन्दी क्या है?", False),  # in the middle of a word
        ("a|b", "what is b?", False),
    ],
)
def test_a_phrase_is_found_as_words(phrase: str, text: str, is_found: bool) -> None:
    pattern = finder(["never", phrase])
    assert pattern is not None
    assert bool(pattern.search(folded(text))) == is_found


@pytest.mark.parametrize("blank", ["", " ", "\u3000", "\u00ad", "\u200b \ufe0f"])
def test_a_phrase_of_which_nothing_is_to_be_seen_is_refused_as_every_text_holds_it(blank: str) -> None:
    with pytest.raises(ValueError, match="is blank, and every text holds it"):
        finder(["image", blank])


def test_without_phrases_there_is_nothing_to_find() -> None:
    assert finder([]) is None
