"""The words of a text in any script: what near-duplicates, leaks and unwanted words are found by."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import regex

# Scripts that put no blanks between words. U+30FC, which makes a vowel of kana long, is of no script.
_UNSPACED = r"[\p{L}&&[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]"
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_WORD = regex.compile(
    rf"{_UNSPACED}\p{{M}}*+|[[\p{{L}}\p{{N}}]--{_UNSPACED}][[\p{{L}}\p{{N}}\p{{M}}]--{_UNSPACED}]*+", regex.V1
)
_BEGINS_UNSPACED = regex.compile(_UNSPACED, regex.V1)
_ENDS_UNSPACED = regex.compile(rf"{_UNSPACED}\p{{M}}*$", regex.V1)
_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")


def folded(text: str) -> str:
    """A text without case, in the form NFKC_Casefold of Unicode (The Unicode Standard, section 3.13).

    Full width and half width become alike, composed and decomposed letters too; what has no shape of its own (soft
    hyphen, zero-width joiner and non-joiner, variation selectors) goes. Accents stay. ASCII is lowercased.
    """
    if text.isascii():
        return text.lower()
    text = _IGNORABLE.sub("", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFKC", text)


@lru_cache(maxsize=16)  # a query is looked up in two pools and then added to one
def words(text: str) -> tuple[str, ...]:
    """The words of the folded text: of ASCII those that ROUGE counts, runs of a-z and 0-9.

    Elsewhere a word is a run of letters and digits with their combining marks. Where a script puts no blanks between
    words (Chinese, Japanese, Thai, Lao, Khmer, Burmese), every letter with its marks is a word; Korean has blanks.
    """
    text = folded(text)
    return tuple(_ASCII_WORD.findall(text) if text.isascii() else _WORD.findall(text))


def key(text: str) -> tuple[str, ...]:
    """Equal for texts with the same words in the same order: case and punctuation do not count.

    A text without any word stands for itself.
    """
    return words(text) or (text,)


def finder(phrases: Sequence[str]) -> "regex.Pattern[str] | None":
    """A pattern that finds one of the phrases in a folded text, as words; None for no phrases.

    "image" is in "an image?" and not in "imagery"; where a script has no blanks a phrase is found inside others.
    ValueError for a phrase that `phrase` refuses: every text would hold it.
    """
    return regex.compile("|".join(map(_as_words, phrases)), regex.V1) if phrases else None


def phrase(text: str) -> str:
    """The same text; ValueError when nothing but blanks is left of it, folded."""
    if not folded(text).strip():
        raise ValueError(f"{text!a} is blank, and every text holds it; write a word, or leave it out")
    return text


def _as_words(text: str) -> str:
    """The pattern of a phrase in a folded text; \\w takes combining marks along, as it does not in `re`."""
    text = folded(phrase(text))
    before = "" if _BEGINS_UNSPACED.match(text) else rf"(?<![\w--{_UNSPACED}])"
    after = r"(?!\p{M})" if _ENDS_UNSPACED.search(text) else rf"(?![\w--{_UNSPACED}])"
    return f"{before}{regex.escape(text, special_only=True)}{after}"
