"""From responses of configurations with a known order of strength to comparisons: ALMoST's rule of thumb and filter.

A larger model, more shots and better demonstrations give better responses on the whole, so of two responses to one
query the one of the stronger configuration is *chosen*.  A filter throws out the pairs where that is unlikely to hold.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import fmean, pstdev
from typing import Literal

import pyarrow as pa

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.tables import MESSAGES, Row
from synthalign.dialogue import endings

Mode = Literal["all_pairs", "adjacent"]

COLUMNS = [
    ("comparison_id", pa.string()),
    ("query_id", pa.string()),
    ("prompt", MESSAGES),
    ("chosen", MESSAGES),
    ("rejected", MESSAGES),
    ("chosen_id", pa.string()),
    ("rejected_id", pa.string()),
    ("chosen_config", pa.string()),
    ("rejected_config", pa.string()),
    ("chosen_finish_reason", pa.string()),
    ("rejected_finish_reason", pa.string()),
    ("feedback", pa.string()),
    ("p_chosen", pa.float64()),
]

SCHEMA = pa.schema(COLUMNS)
"""A comparison that may be learned from; p_chosen is 1.0 for a hard label, a finish reason NULL for a person's text."""

DROPPED_SCHEMA = pa.schema([*COLUMNS, ("drop_reason", pa.string())])
"""A comparison and why it is not used; NULL in the drop_reason keeps it."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response to a query.

    rank           place of its configuration in the order of strength, 0 the strongest; equal ranks are not compared
    reject_reason  why it must not be learned from (see `filters`), None for a usable one
    finish_reason  how it ended (see `endings`), None where a person wrote it
    """

    response_id: str
    config: str
    rank: int
    text: str
    reject_reason: str | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """The response of the stronger configuration, that of the weaker, and why not to learn from them (None: do)."""

    chosen: Response
    rejected: Response
    drop_reason: str | None = None


def ranks(ranking: Sequence[str | Sequence[str]]) -> dict[str, int]:
    """The place of every configuration in a ranking, best first, where a group of several shares a place.

    `ranks(["a", ["b", "c"], "d"])` is `{"a": 0, "b": 1, "c": 1, "d": 2}`.  UserError when a name repeats or there are
    fewer than two places.
    """
    groups = [[group] if isinstance(group, str) else list(group) for group in ranking]
    places: dict[str, int] = {}
    for place, group in enumerate(groups):
        for config in group:
            if config in places:
                raise UserError(f"the configuration {config!r} is twice in the ranking {list(ranking)}; name it once")
            places[config] = place
    if len({*places.values()}) < 2:
        raise UserError(
            f"the ranking {list(ranking)} has fewer than two places, so it makes no pair; add a configuration"
        )
    return places


def ranked_pairs(responses: Sequence[Response], *, mode: Mode, keyword: bool = True, length: bool = True) -> list[Pair]:
    """Every ordered pair of one query's responses, better rank first, each with its drop reason.

    keyword  leave out the responses that have a reject reason
    length   apply the length rule; characters of the usable responses: M their mean, S their population deviation

    The first of these reasons that holds is the one given:

    rejected_response:<reason>  one of the two is unusable (the chosen one's reason first); a blank one always is
    identical                   the two texts are the same: nothing to prefer
    length_rule                 the chosen one is too short to be better
    one_pair_per_chosen         (adjacent only) the chosen one has its partner already

    all_pairs, the paper: keep a pair when len(chosen) > len(rejected) or len(chosen) > M - S/2, both strictly, so that
    five responses of one length give no pair.
    adjacent, the released code: walk down the ranks; each response, and each rank, is chosen at most once, with the
    first partner it may have: len(chosen) >= len(rejected) or len(chosen) >= M - S/2.  An identical partner takes the
    place and is dropped afterwards, as there.
    """
    ordered = sorted(responses, key=lambda response: (response.rank, response.response_id))
    reasons = {response.response_id: _unusable(response, keyword) for response in ordered}
    lengths = [len(response.text) for response in ordered if reasons[response.response_id] is None]
    least = fmean(lengths) - pstdev(lengths) / 2 if lengths else 0.0
    pairs: list[Pair] = []
    served: set[int] = set()  # ranks that were chosen once already (adjacent)
    for place, chosen in enumerate(ordered):
        for rejected in ordered[place + 1 :]:
            if chosen.rank == rejected.rank:
                continue
            reason = reasons[chosen.response_id] or reasons[rejected.response_id]
            long_enough = not length or _long_enough(
                len(chosen.text), len(rejected.text), least, strict=mode == "all_pairs"
            )
            taken = mode == "adjacent" and chosen.rank in served
            if reason is None and long_enough and not taken:
                served.add(chosen.rank)
            if reason is None and chosen.text == rejected.text:
                reason = "identical"
            elif reason is None and taken:
                reason = "one_pair_per_chosen"
            elif reason is None and not long_enough:
                reason = "length_rule"
            pairs.append(Pair(chosen, rejected, reason))
    return pairs


def _unusable(response: Response, keyword: bool) -> str | None:
    if not response.text.strip():
        return "rejected_response:blank"
    if keyword and response.reject_reason is not None:
        return f"rejected_response:{response.reject_reason}"
    return None


def _long_enough(chosen: int, rejected: int, least: float, *, strict: bool) -> bool:
    if strict:
        return chosen > rejected or chosen > least
    return chosen >= rejected or chosen >= least


def pair_id(pair: Pair) -> str:
    """The id of a pair, which depends on the two responses alone: in this order it is the same in every table."""
    return content_id("comparison", pair.chosen.response_id, pair.rejected.response_id)


def row(pair: Pair, *, query_id: str, question: str, feedback: str, p_chosen: float = 1.0) -> Row:
    """The pair as a row of a comparisons table (without drop_reason)."""
    return {
        "comparison_id": pair_id(pair),
        "query_id": query_id,
        "prompt": [{"role": "user", "content": question}],
        "chosen": [{"role": "assistant", "content": pair.chosen.text}],
        "rejected": [{"role": "assistant", "content": pair.rejected.text}],
        "chosen_id": pair.chosen.response_id,
        "rejected_id": pair.rejected.response_id,
        "chosen_config": pair.chosen.config,
        "rejected_config": pair.rejected.config,
        "chosen_finish_reason": pair.chosen.finish_reason,
        "rejected_finish_reason": pair.rejected.finish_reason,
        "feedback": feedback,
        "p_chosen": p_chosen,
    }


def judged(
    responses: Mapping[str, Sequence[Response]],
    questions: Mapping[str, str],
    *,
    feedback: str,
    mode: Mode,
    keyword: bool = True,
    length: bool = True,
) -> Iterator[Row]:
    """`ranked_pairs` of every query as rows of DROPPED_SCHEMA; drop_reason is None in those to learn from.

    responses, questions  by query_id

    The rows come in the order of their ids, each made when it is asked for: a text stands in many of them.
    """
    pairs = [
        (pair_id(pair), query_id, pair)
        for query_id, given in responses.items()
        for pair in ranked_pairs(given, mode=mode, keyword=keyword, length=length)
    ]
    pairs.sort(key=itemgetter(0))
    for _, query_id, pair in pairs:
        made = row(pair, query_id=query_id, question=questions[query_id], feedback=feedback)
        yield made | {"drop_reason": pair.drop_reason}


Scored = tuple[float, Response]
"""A response and its reward."""


def best_and_worst(scored: Sequence[Scored]) -> tuple[Scored, Scored] | str:
    """Of some answers to one query the best that ended and the worst, or why there are not two.

    too_few_answers  fewer than two say anything
    no_ended_answer  all were cut off, and a text that was is never chosen

    Of equal rewards the one of the lower rank is the better. One that was cut off and is better than all that ended is
    neither.
    """
    spoken = sorted((one for one in scored if one[1].text.strip()), key=lambda one: (-one[0], one[1].rank))
    if len(spoken) < 2:
        return "too_few_answers"
    ended = [one for one in spoken if endings.is_whole(one[1].finish_reason)]
    return (ended[0], spoken[-1]) if ended else "no_ended_answer"


def swapped(comparison: Row) -> Row:
    """The same comparison with the preference turned round, under the id of the turned pair."""
    turned = dict(comparison)
    for suffix in ("", "_id", "_config", "_finish_reason"):
        turned[f"chosen{suffix}"] = comparison[f"rejected{suffix}"]
        turned[f"rejected{suffix}"] = comparison[f"chosen{suffix}"]
    turned["comparison_id"] = content_id("comparison", turned["chosen_id"], turned["rejected_id"])
    return turned


def text_of(messages: Sequence[Mapping[str, str]]) -> str:
    """The content of the last message."""
    return messages[-1]["content"]


def summary(comparisons: Iterable[Row]) -> dict[str, float | int]:
    """How many comparisons there are, in how many queries, how often the chosen one is longer, and mean characters."""
    pairs = longer = chosen_characters = rejected_characters = 0
    queries = set()
    for comparison in comparisons:
        chosen, rejected = (len(text_of(comparison[side])) for side in ("chosen", "rejected"))
        pairs += 1
        longer += chosen > rejected
        chosen_characters += chosen
        rejected_characters += rejected
        queries.add(comparison["query_id"])
    return {
        "pairs": pairs,
        "queries": len(queries),
        "chosen_longer": round(longer / pairs, 6) if pairs else 0.0,
        "chosen_characters": round(chosen_characters / pairs, 3) if pairs else 0.0,
        "rejected_characters": round(rejected_characters / pairs, 3) if pairs else 0.0,
    }


def check_labels(pairs: Sequence[Row], *, hard: bool = False) -> None:
    """UserError when there are no pairs, or a label is no probability (NaN included).

    hard  what is to learn from them takes chosen over rejected for a fact, so a label must be above one half
    """
    if not pairs:
        raise UserError("there are no comparisons to train on; look at the counts of the stage that builds them")
    for pair in pairs:
        if pair["p_chosen"] is None or not 0 <= pair["p_chosen"] <= 1:
            raise UserError(
                f"comparison {pair.get('comparison_id', '')}: p_chosen is {pair['p_chosen']}, which is no probability; "
                "look at the stage that labels this table"
            )
        if hard and pair["p_chosen"] <= 0.5:
            raise UserError(
                f"comparison {pair.get('comparison_id', '')}: p_chosen is {pair['p_chosen']}, so its chosen answer is "
                "not the better one; DPO takes labels for facts: train a reward model on this table instead"
            )
