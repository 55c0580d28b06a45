"""What DITTO is measured on: an author's held-out prompts, whose models answer them, and the table of answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from synthalign.core.errors import UserError
from synthalign.core.tables import KEYS, Row
from synthalign.dialogue import chat
from synthalign.ditto import authors
from synthalign.ditto.authors import Demonstration
from synthalign.generation.generate import Generation

SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("method", pa.string()),
        ("sample_index", pa.int64()),
        ("prompt", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int64()),
        ("finish_reason", pa.string()),
    ]
)
"""What each method wrote to an author's held-out prompts."""

KEY = KEYS["ditto_answers"]

TRAINED = {"sft": "models/ditto_sft", "spin": "models/spin", "ditto": "models/ditto"}
"""Where a method's models are, one for each author."""


def held_out(name: str, known: Mapping[str, tuple[str, str]]) -> tuple[list[Demonstration], list[str]]:
    """The demonstrations and the prompts of an author; UserError for an unknown one, or a prompt that was shown.

    known  the files of both for the authors of sample_ditto; one that a user has brought has data/authors/<name>.txt
           for prompts, or else the demonstrations' own
    """
    file = authors.file_of(name, {author: shown for author, (shown, _) in known.items()}, stage="sample_ditto")
    demonstrations = authors.load(file)
    if name not in known:
        return demonstrations, authors.asked_of_brought(file, demonstrations)
    prompts = authors.prompts(known[name][1])
    authors.check_held_out(prompts, demonstrations, known[name][1])
    return demonstrations, prompts


def described(prompt: str) -> str:
    """What stands in front of a question when an author has written down how to write, the paper's self-prompt.

    UserError when it brings a marker of a turn.
    """
    if marker := chat.marker_in(prompt):
        raise UserError(f"sample_ditto.self_prompts: {prompt[:60]!r} brings our own {marker!r}; write the text alone")
    return f"{prompt.strip()}{chat.SEPARATOR}"


def trained(name: str, *, spin_needed: bool) -> dict[str, str]:
    """The folders of an author's models by method; UserError when one was not trained.

    spin_needed  False leaves SPIN out where it is not there, as for an author that a user has brought
    """
    found = {}
    for method, folder in TRAINED.items():
        model = Path(folder, name)
        if model.exists():
            found[method] = str(model)
        elif method != "spin" or spin_needed:
            maker = "train_spin" if method == "spin" else "train_ditto"
            raise UserError(f"{model} does not exist; run {maker} for it first")
    return found


def rows(method: str, prompts: Sequence[str], made: Mapping[str, Sequence[Generation]]) -> list[Row]:
    """A method's answers by prompt as rows of SCHEMA."""
    return [
        {
            "prompt_id": authors.prompt_id(prompt),
            "method": method,
            "sample_index": index,
            "prompt": prompt,
            "text": text,
            "tokens": len(one.token_ids),
            "finish_reason": finish_reason,
        }
        for prompt in prompts
        for index, one in enumerate(made[prompt])
        for text, finish_reason in [chat.ended(one.text, one.finish_reason)]
    ]
