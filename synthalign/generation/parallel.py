"""Rows over the processes of `accelerate launch`, and over shards: dealt by their sorted ids, journaled where they are
made, gathered at the end.

Which process makes a row depends on the ids and the number of processes alone; what the row says, on neither.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from tqdm import tqdm

from synthalign.core import shards
from synthalign.core.stage import give_up
from synthalign.generation.generate import Generation
from synthalign.generation.journal import Journal, read
from synthalign.generation.precision import on_cpu

T = TypeVar("T")

LONGEST = timedelta(days=7)
"""How long a process waits for the others: each has as many rows, but not as much to write. One that dies is seen by
the launcher; PyTorch's own 10 minutes (30 on CPUs) would end a stage for the slowest."""


def mine(row_ids: Sequence[str]) -> list[int]:
    """The places of the rows that this process makes; every row has exactly one process, of one shard."""
    return shards.dealt(row_ids, *taker())


def taker() -> tuple[int, int]:
    """The number of this process, and how many there are, over all shards."""
    here, shard = state(), shards.here() or shards.Shard()
    return shard.number * here.num_processes + here.process_index, shard.of * here.num_processes


def journal_name() -> str:
    """How what this process writes is told from what others write into the same folder, now or in an earlier run."""
    shard = shards.here()
    return (f"{shard.number}of{shard.of}." if shard else "") + str(state().process_index)


def gathered(records: dict[str, T]) -> dict[str, T]:
    """The records of all processes by id, in every process, in the order of the ids."""
    return dict(sorted(gather_object(list(records.items()))))


def generated(
    write: Callable[..., list[list[Generation]]],
    *,
    folder: Path,
    name: str,
    prefix: str,
    suffixes: Sequence[str],
    row_ids: Sequence[str],
    **settings: Any,
) -> dict[str, list[Generation]]:
    """`write` over all processes: the continuations of every row by its id.

    write         the `generate` of an engine with its model (`engines.opened`)
    folder, name  where finished rows are kept: a later call with the same ones goes on from there.  The
                  caller sees to it that the folder is that of the same inputs and settings (`stage.work_dir`).
    settings      go to `write` as they are

    In a shard this is where the stage ends, shards.Ended: with the rows of the shard in their journal, unless all rows
    are there, for then it goes on to its next call.
    """
    known = {row: record for file in folder.glob(f"{name}.*.jsonl") for row, record in read(file)[0].items()}
    places = mine(row_ids)
    todo = [place for place in places if row_ids[place] not in known]
    here = state()
    journal = Journal(folder / f"{name}.{journal_name()}.jsonl")
    with tqdm(
        total=len(places), initial=len(places) - len(todo), desc=name, unit="row", dynamic_ncols=True, mininterval=1.0,
        disable=not here.is_main_process,
    ) as bar:  # fmt: skip
        if todo:
            write(
                prefix=prefix,
                suffixes=[suffixes[place] for place in todo],
                row_ids=[row_ids[place] for place in todo],
                progress=lambda rows: _advance(bar, rows),
                on_finished=lambda at, made: journal.append(row_ids[todo[at]], [asdict(one) for one in made]),
                **settings,
            )
    journal.close()
    known |= journal.done
    if shard := shards.here():
        known = gathered(known)
        if missing := len(set(row_ids) - known.keys()):
            told = f"{name}: shard {shard.number}/{shard.of} has its rows; {missing} of {len(row_ids)} are not here yet"
            raise shards.Ended(told)
    every = gathered({row_ids[place]: known[row_ids[place]] for place in (range(len(row_ids)) if shard else places)})
    return {row: [Generation(**one) for one in record] for row, record in every.items()}


def finish(folder: Path) -> None:
    """Give up a stage's journals once its tables are written.

    The first process does it for all: it alone knows when DVC has recorded the tables, and its folder may be that of
    other hosts.  What a host keeps for itself stays there.

    A shard that found all rows has written none: shards.Ended, on every process, as `tables.write` has it on the first.
    """
    if shard := shards.here():
        raise shards.Ended(f"shard {shard.number}/{shard.of} finds all rows there; run the stage without it")
    here = state()
    here.wait_for_everyone()
    if here.is_main_process:
        give_up(folder)


def _advance(bar: "tqdm[Any]", rows: int) -> None:
    bar.update(rows)


def device() -> torch.device:
    """The device of this process."""
    return torch.device(state().device)


def alone() -> Any:
    """The device of the one process that works while the others have ended: `state` may wait for them for ever."""
    return torch.device("cpu") if on_cpu() else torch.device(str(torch.accelerator.current_accelerator()))


def state() -> PartialState:
    """Where this process stands among those of `accelerate launch`; several on the CPU need to be told that."""
    return PartialState(cpu=on_cpu(), timeout=LONGEST)


def accelerator(**given: Any) -> Accelerator:
    """accelerate's, for a loop of ours; it finds the group of processes that `state` has made."""
    state()
    return Accelerator(cpu=on_cpu(), **given)
