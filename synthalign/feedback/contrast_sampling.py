"""RLCD's two sides of every prompt, sampled until both can be used."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from synthalign.dialogue.chat import Message
from synthalign.feedback import contrast
from synthalign.feedback.contrast import SIDES, Cleaned, Side
from synthalign.generation import parallel
from synthalign.generation.engines import Write


class Sampled(NamedTuple):
    """What became of the sides of every prompt."""

    made: dict[tuple[str, Side], Cleaned]
    """The last answer of each; it has its reason where no attempt gave one that can be used."""

    attempts: Counter[str]
    """How often the model was asked, by prompt, both sides together."""

    failures: Counter[str]
    """How often an answer could not be used, by reason."""


def sides(
    write: Write,
    dialogues: Mapping[str, Sequence[Message]],
    phrases: Mapping[str, tuple[str, str] | None],
    *,
    lead_in: str,
    attempts: int,
    folder: Path,
    name: str,
    **settings: Any,
) -> Sampled:
    """Both sides of every dialogue, a side again while its answer cannot be used, `attempts` times at most.

    phrases       of the chosen and the rejected side by dialogue; None for the bare prompt
    folder, name  where finished answers are kept (`parallel.generated`)
    settings      of the generation: max_new_tokens, temperature, top_p, seed
    """
    found = Sampled({}, Counter(), Counter())
    todo = [(query, side) for query in dialogues for side in SIDES]
    for attempt in range(1, attempts + 1):
        if not todo:
            break
        ids = [f"{query}:{side}:{attempt - 1}" for query, side in todo]
        texts = parallel.generated(
            write,
            folder=folder,
            name=f"{name} {attempt}",
            prefix="",
            suffixes=[contrast.prompt(dialogues[query], phrases[query], side, lead_in) for query, side in todo],
            row_ids=ids,
            stops=contrast.STOPS,
            **settings,
        )
        for (query, side), row in zip(todo, ids, strict=True):
            [one] = texts[row]
            shown = dict(zip(SIDES, phrases[query] or ("", ""), strict=True))
            if not any(message["role"] == "assistant" for message in dialogues[query]):
                shown = {side: shown[side]}  # else the other one stands at earlier answers (`contrast.prompt`)
            found.made[query, side] = cleaned = contrast.clean(one.text, one.finish_reason, *shown.values())
            found.attempts[query] += 1
            if cleaned.reason is not None:
                found.failures[cleaned.reason] += 1
        todo = [place for place in todo if found.made[place].reason is not None]
    return found
