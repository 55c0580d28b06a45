"""RLCD's pairs as rows of a table: both sides of a prompt, labelled by how they were made, or why there is no pair."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.dialogue.chat import Message
from synthalign.feedback import comparisons
from synthalign.feedback.comparisons import Pair, Response
from synthalign.feedback.contrast import SIDES, Contrast, Task
from synthalign.feedback.contrast_sampling import Sampled

_ORIGIN = [
    pa.field("affix", pa.int64()),
    pa.field("chosen_affix", pa.string()),
    pa.field("rejected_affix", pa.string()),
    pa.field("attempts", pa.int64()),
]
KEPT = pa.schema([*comparisons.SCHEMA, *_ORIGIN])
DROPPED = pa.schema([*comparisons.DROPPED_SCHEMA, *_ORIGIN])
"""How a pair was made, for audit: the stored prompt has no affix. The attempts are those of both sides."""


def rows(
    dialogues: Mapping[str, Sequence[Message]],
    sampled: Sampled,
    *,
    name: str,
    task: Task,
    index: Mapping[str, int],
    contrast: Contrast,
) -> tuple[list[Row], list[Row]]:
    """The pairs, and those that are dropped with the reason of the first side that failed, or `identical`.

    dialogues  without an affix; the lead-in of the task stands before both answers
    index      which of the task's phrases a dialogue's sides were asked with
    contrast   `none` leaves the label to somebody else: p_chosen 0.5
    """
    kept, dropped = [], []
    for query, messages in dialogues.items():
        made = {side: sampled.made[query, side] for side in SIDES}
        answers = []
        for place, side in enumerate(SIDES):
            text, config = f"{task.lead_in} {made[side].text}".strip(), f"{name}:{side}"
            name_of = content_id("response", config, query, text)
            answers.append(Response(name_of, config, place, text, finish_reason=made[side].finish_reason))
        pair = comparisons.row(
            Pair(answers[0], answers[1]),
            query_id=query,
            question=messages[-1]["content"],
            feedback=name,
            p_chosen=0.5 if contrast == "none" else 1.0,
        )
        phrases = task.phrases(index[query], contrast)
        pair |= {"prompt": messages, "affix": index[query] if phrases else None, "attempts": sampled.attempts[query]}
        pair |= dict(zip(("chosen_affix", "rejected_affix"), phrases or (None, None), strict=True))
        reasons = [f"{side}:{made[side].reason}" for side in SIDES if made[side].reason is not None]
        if answers[0].text == answers[1].text:
            reasons.append("identical")
        if reasons:
            dropped.append(pair | {"drop_reason": reasons[0]})
        else:
            kept.append(pair)
    return kept, dropped
