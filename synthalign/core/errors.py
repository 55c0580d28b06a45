"""The one exception for what a user can get wrong."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


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
