"""Why a sampled response must not be learned from: the per-response part of ALMoST's heuristic filter.

Vanilla models fail by accident, whatever their size and prompt: they stop in mid-sentence, dodge the question, or
write the next turn themselves.  Each rule names one kind of accident (paper §3.1; rules as in the released code).
"""

import re

import regex

REASONS = (
    "too_short",
    "ends_with_question_or_colon",
    "starts_with_well",
    "no_final_stop",
    "does_not_know",
    "human_marker",
    "image_tag",
)
"""Every reason, in the order in which they are tried."""

# Closing quotes and brackets, and blanks: what may stand behind the mark that ends a sentence.
_CLOSING = "\"'”’“‘»«›‹)]}）］｝】〕〉》」』｣ \t\n\u3000"
_QUESTION_OR_COLON = frozenset("?？؟⁇⁈⁉:：")
# `Sentence_Terminal` of Unicode has the full stops of all scripts, not the ellipsis; Thai and Lao write none.
_END = regex.compile(r"[\p{Sentence_Terminal}…\p{Thai}\p{Lao}]")
# The released code tests the prefix "well" alone, which also throws away answers about Wellington and well-known foxes.
_WELL = re.compile(r"well\b(?![-\u2010\u2011])", re.IGNORECASE)
_DOES_NOT_KNOW = re.compile(r"\bdo(?:n['\u2019]t| not) know\b", re.IGNORECASE)
_IMAGE = re.compile(r"<(?:img|image)\b|!\[[^\]]*\]\(", re.IGNORECASE)


def reject_reason(text: str, *, min_characters: int) -> str | None:
    """The first of REASONS that holds for a response, or None for one that may be learned from.

    too_short                    fewer than `min_characters` characters (the paper's code: 50)
    ends_with_question_or_colon  asks back, or announces what never comes; in any script
    starts_with_well             the first word is "well": a dodge
    no_final_stop                the last character is no ".", "!", "。", "।" or what else ends a sentence in some
                                 script: stopped in mid-sentence. Thai and Lao have no such mark and pass
    does_not_know                says "don't know" or "do not know", with a straight or a curly apostrophe
    human_marker                 holds "Human:": ran on into another turn
    image_tag                    shows a picture, in HTML or Markdown

    Blanks around the text do not count, nor do quotes and brackets that close behind its last mark.
    """
    answer = text.strip()
    last = answer.rstrip(_CLOSING)[-1:]
    if len(answer) < min_characters:
        return "too_short"
    if last in _QUESTION_OR_COLON:
        return "ends_with_question_or_colon"
    if _WELL.match(answer):
        return "starts_with_well"
    if not _END.fullmatch(last):
        return "no_final_stop"
    if _DOES_NOT_KNOW.search(answer):
        return "does_not_know"
    if "Human:" in answer:
        return "human_marker"
    if _IMAGE.search(answer):
        return "image_tag"
    return None
