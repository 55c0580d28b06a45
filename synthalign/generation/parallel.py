"""Rows over the processes of `accelerate launch`: split by id, journaled where they are made, gathered at the end.

Which process makes a row depends on its id and the number of processes alone; what the row says, on neither.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm

from synthalign.core.stage import give_up
from synthalign.generation.generate import Generation
from synthalign.generation.journal import Journal, read
from synthalign.generation.precision import on_cpu

T = TypeVar("T")


def mine(row_ids: Iterable[str]) -> list[int]:
    """The places of the rows that this process makes; every row has exactly one process."""
    here = state()
    return [place for place, row in enumerate(row_ids) if owner(row, here.num_processes) == here.process_index]


def owner(row_id: str, processes: int) -> int:
    """The process that makes a row."""
    return int.from_bytes(hashlib.blake2b(row_id.encode(), digest_size=8).digest(), "big") % processes


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
    """
    known = {row: record for file in folder.glob(f"{name}.*.jsonl") for row, record in read(file)[0].items()}
    places = mine(row_ids)
    todo = [place for place in places if row_ids[place] not in known]
    here = state()
    journal = Journal(folder / f"{name}.{here.process_index}.jsonl")
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
    every = gathered({row_ids[place]: known[row_ids[place]] for place in places})
    return {row: [Generation(**one) for one in record] for row, record in every.items()}


def finish(folder: Path) -> None:
    """Give up a stage's journals once its tables are written, on every host."""
    here = state()
    here.wait_for_everyone()
    if here.is_local_main_process:
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
    return PartialState(cpu=on_cpu())
