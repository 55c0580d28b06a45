"""How often vanilla models fail by accident: cut off, empty, in a loop, on into the next turn, and as the filter says.

The filter's place in the whole depends on these rates: where nothing goes wrong by accident, it has nothing to drop.
"""

from collections.abc import Sequence
from typing import Any

from synthalign.core import statistics, words
from synthalign.core.tables import Row
from synthalign.feedback import filters

LONGEST_LOOP = 40
"""Words of the longest passage that is looked for; `max_new_tokens` leaves no room for three of a longer one."""

LEAST_WORDS = 8
"""Words that a loop has in all: "very, very, very good" is none."""


def in_a_loop(text: str) -> bool:
    """Whether a passage stands three times in a row, numbers and punctuation aside, eight words or more in all.

    "1. How to code? 2. How to code? 3. How to code?" is a loop.
    """
    said = [word for word in words.words(text) if not word.isdigit()]
    for period in range(1, LONGEST_LOOP + 1):
        run = 0
        for word, before in zip(said[period:], said, strict=False):
            run = run + 1 if word == before else 0
            if run >= max(2 * period, LEAST_WORDS - period):
                return True
    return False


def of(response: Row) -> dict[str, bool]:
    """Which accidents a response {text, finish_reason} is.

    cut_off    it had not ended at the limit of tokens
    next_turn  another turn began behind it, which is how a base model ends; "any" does not count it
    empty      it says nothing
    loop       see `in_a_loop`
    and the reasons of `filters.reject_reason`, the first that holds; too_short is counted by build_comparisons
    """
    text, ended = response["text"], response["finish_reason"]
    found = {
        "cut_off": ended == "length",
        "next_turn": ended == "stop",
        "empty": not text.strip(),
        "loop": in_a_loop(text),
    }
    reason = filters.reject_reason(text, min_characters=0) if text.strip() else None
    return found | {name: name == reason for name in filters.REASONS if name != "too_short"}


def rates(responses: Sequence[Row], *, seed: int) -> dict[str, Any]:
    """The share of each accident and of any among the responses of a configuration, with intervals over queries."""
    found = [of(row) for row in responses]
    queries = [row["query_id"] for row in responses]
    columns = {name: [float(one[name]) for one in found] for name in found[0]}
    columns["any"] = [float(any(one[name] for name in one if name != "next_turn")) for one in found]
    return {name: statistics.mean_interval(values, queries, seed=seed).metrics() for name, values in columns.items()}
