"""The one exception for what a user can get wrong."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

Given = TypeVar("Given")
Made = TypeVar("Made")


LONGEST = 80
"""Characters of a value that a message shows."""


class UserError(Exception):
    """A setting, file or row is not usable; the message names it, its value and the next step."""


def together(complaints: Sequence[str], *, most: int = 10) -> UserError:
    """One error for all that is wrong with a file: the first complaints, a line each, and how many more there are."""
    more = [f"… and {len(complaints) - most} more"] if len(complaints) > most else []
    return UserError("\n".join([*complaints[:most], *more]))


def each(given: Iterable[Given], read: Callable[[Given], Made]) -> list[Made]:
    """What `read` makes of every one given; where it raises UserError, all of these together."""
    made, wrong = [], []
    for one in given:
        try:
            made.append(read(one))
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise together(wrong)
    return made


def wrong_keys(
    error: ValidationError,
    place: str,
    *,
    within: str = "",
    step: str = "",
    is_secret: Callable[[str, Any], bool] = lambda key, value: False,
) -> list[str]:
    """One line for every wrong key of a file: the key, its value unless that is a mapping, what is
    allowed, and the next step.

    place      the file, or a line in it
    within     the key below which they all stand
    is_secret  whether the value of a key is not to be shown
    """
    lines = []
    for problem in error.errors():
        parts, value, told = problem["loc"], problem["input"], problem["msg"]
        is_shown = problem["type"] not in ("missing", "json_invalid") and not isinstance(value, dict)
        if parts[-1:] == ("[key]",):
            parts, is_shown = parts[:-1], False
            told = "YAML reads no text here; write it in quotes, or take another name"
        key = ".".join(filter(None, [within, *map(str, parts)]))
        if key and is_shown and not is_secret(key, value):
            shown = repr(value)
            key += f" = {shown if len(shown) <= LONGEST else f'{shown[:LONGEST]}…'}"
        lines.append(": ".join(filter(None, [place, key, told])) + (f"; {step}" if step else ""))
    return lines
