"""Shards of one sampling stage: jobs of any engine, each of which makes some of its rows and keeps them in a journal.

    SYNTHALIGN_SHARD=2/8 python -m stages.sample_responses a      the third of eight shards; writes no table
    SYNTHALIGN_JOURNALS=folder dvc repro -s sample_responses@a    the stage itself, which finds all rows there

Rows are dealt by their sorted ids, round robin, so no two shares differ by more than a row.  What a row says depends on
neither shard nor process, so journals of any number of shards, whole or not, go together.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id

SHARD, JOURNALS = "SYNTHALIGN_SHARD", "SYNTHALIGN_JOURNALS"


class Ended(Exception):
    """A shard has made its rows.  What comes next needs those of all, so it is for the stage itself."""


@dataclass(frozen=True)
class Shard:
    """One job of several, from 0."""

    number: int = 0
    of: int = 1


def here() -> Shard | None:
    """The shard that the environment makes of this process; None where the stage runs whole.  UserError for nonsense,
    and under DVC, which would take the missing tables for a failure."""
    given = os.environ.get(SHARD)
    if not given:
        return None
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", given)
    if not found or int(found[1]) >= int(found[2]):
        raise UserError(f"{SHARD} = {given!r}: write i/N, i from 0 to N - 1, as in 0/8 for the first of eight")
    if name := os.environ.get("DVC_STAGE"):
        raise UserError(
            f"{SHARD} = {given!r}, but DVC runs {name}: a shard writes no table, so run `python -m stages.…` itself, "
            f"and `dvc repro` without {SHARD} when all shards have ended"
        )
    return Shard(int(found[1]), int(found[2]))


def dealt(row_ids: Sequence[str], taker: int, takers: int) -> list[int]:
    """The places of the rows that one of several takers has, in the order of the rows.

    >>> dealt(["d", "a", "c", "b"], 0, 2)     # a and c
    [1, 2]
    """
    in_order = sorted(range(len(row_ids)), key=row_ids.__getitem__)
    return sorted(in_order[taker::takers])


def bring(folder: Path) -> None:
    """Copy into a stage's scratch folder what shards elsewhere have left below SYNTHALIGN_JOURNALS, in folders with the
    name that theirs had below .work/<stage>.  UserError for journals of other settings."""
    given = os.environ.get(JOURNALS)
    if not given:
        return
    files = [file for file in sorted(Path(given).rglob("*.jsonl")) if file.stat().st_size]
    if not files:
        raise UserError(f"{JOURNALS} = {given!r} has no journal: give the folder with what the shards left in .work")
    for file in files:
        if file.parent.name != folder.name:
            raise UserError(
                f"{file} is the journal of other settings: its folder is {file.parent.name}, and {folder.parent.name} "
                f"now has {folder.name}: a model, a table, the code or a setting in params.yaml is another one. Run "
                "that shard again as things are now, or remove the file"
            )
    for file in files:
        if file.parent.resolve() != folder.resolve():
            source = content_id(str(file.relative_to(given)))
            target = folder / f"{file.stem}.{source}.jsonl"  # two nodes may each have a part of one shard
            making = target.with_suffix(".bringing")
            shutil.copyfile(file, making)
            making.replace(target)
