"""Ids that depend on the content alone, so that a row keeps its id when its neighbours change."""

import hashlib


def content_id(*parts: str | int) -> str:
    """Sixteen hex characters of the parts; `("ab", "c")` and `("a", "bc")` differ."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        encoded = str(part).encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()
