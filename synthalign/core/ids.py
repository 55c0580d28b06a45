"""Ids that depend on the content alone, so that a row keeps its id when its neighbours change."""

import hashlib
from collections.abc import Sequence


def content_id(*parts: str | int) -> str:
    """Sixteen hex characters of the parts; `("ab", "c")` and `("a", "bc")` differ."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        encoded = str(part).encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def lowest(ids: Sequence[str], most: int | None) -> list[int]:
    """The places of at most so many, those with the lowest ids, in their order: a sample that hangs on content alone.

    most  None for all
    """
    places = range(len(ids))
    return list(places) if most is None else sorted(sorted(places, key=lambda place: ids[place])[:most])
