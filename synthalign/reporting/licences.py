"""What models and files are given under: by a list of hashes, or by the card that lies beside them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from ruamel.yaml import YAMLError

from synthalign.core.yaml_file import load

NOT_KNOWN = "not known"

NAME = re.compile(r"[A-Za-z0-9][\w.+ -]{0,99}")
LINK = re.compile(r"https?://[^\s|<>]{1,300}")
"""What is taken for a licence or its name, and for the address of its text; cards of others are not trusted."""


@dataclass(frozen=True)
class Licence:
    """What a model or a file is given under.

    id    as the hub has it: an SPDX id in lower case, a name of the hub's own, or `other` for other terms
    name  of those
    link  to their text
    of    the file that it is of, where what is at hand was made out of that
    """

    id: str
    name: str | None = None
    link: str | None = None
    of: str | None = None

    @property
    def called(self) -> str:
        return self.name or self.id

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.called, self.link])) + (f" ({self.of})" if self.of else "")


Listed = Mapping[str, Sequence[Licence]]
"""The licences of files by their sha256: those that the lists of data/sources/ name, and what is made out of them."""


def of(path: str, revision: str | None, listed: Listed) -> Sequence[Licence]:
    """Those of the file whose SHA-256 the revision is; else what the card of a folder, of a file's folder, or of a
    model of the hub that was fetched here at this commit says; empty where none is known."""
    if revision is not None and revision in listed:
        return listed[revision]
    place = Path(path)
    if place.exists():
        card = str((place if place.is_dir() else place.parent) / "README.md")
    else:
        try:
            card = str(try_to_load_from_cache(path, "README.md", revision=revision))
        except HFValidationError:  # neither a path nor a name on the hub
            return []
    found = front(Path(card))
    named, name, link = (found.get(key) for key in ("license", "license_name", "license_link"))
    if not isinstance(named, str) or not NAME.fullmatch(named) or named == "unknown":
        return []
    if named != "other":
        return [Licence(named)]
    if isinstance(link, str) and re.fullmatch(r"LICENSE(\.\w+)?", link) and not place.exists():
        link = f"https://huggingface.co/{path}/blob/main/{link}"
    is_name = isinstance(name, str) and NAME.fullmatch(name)
    is_link = isinstance(link, str) and LINK.fullmatch(link)
    return [Licence(named, name if is_name else None, link if is_link else None)]


def is_special(licence: Licence) -> bool:
    """Whether it is no SPDX id: terms of its owner, as Gemma's or Llama's, which may reach what its words made."""
    try:
        canonicalize_license_expression(licence.id)
    except InvalidLicenseExpression:
        return True
    return False


def said(some: Sequence[Licence]) -> str:
    """Licences in a sentence or a table."""
    return "; ".join(map(str, some)) or NOT_KNOWN


def front(card: Path) -> dict[str, Any]:
    """The front matter of a card; empty where there is no card, or none in it that can be read."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if not text.startswith("---\n"):
        return {}
    try:
        found = load(text.split("\n---")[0].removeprefix("---"))
    except YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
