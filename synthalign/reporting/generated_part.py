"""The part of a page that a command writes, between two marks that it leaves in place."""

from synthalign.core.errors import UserError


def replaced(text: str, begin: str, end: str, part: str, *, name: str) -> str:
    """A page's text with `part` between the marks, which stay.

    Raises UserError, with the page's `name`, where it has not one of each, the end after the beginning.
    """
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"{name} needs one line {begin} and after it one line {end}; the tables go between them")
    return f"{text[: text.index(begin)]}{begin}\n\n{part}\n\n{text[text.index(end) :]}"
