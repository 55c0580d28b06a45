"""The one exception for what a user can get wrong."""

from collections.abc import Sequence


class UserError(Exception):
    """A setting, file or row is not usable; the message names it, its value and the next step."""


def together(complaints: Sequence[str], *, most: int = 10) -> UserError:
    """One error for all that is wrong with a file: the first complaints, a line each, and how many more there are."""
    more = [f"… and {len(complaints) - most} more"] if len(complaints) > most else []
    return UserError("\n".join([*complaints[:most], *more]))
