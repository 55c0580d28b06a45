"""`python -m flows.dvc_stage NAME FILE`: `dvc repro --single-item NAME`, but for dvc.lock: FILE gets what it would.

To write one entry, DVC reads and writes the whole of dvc.lock, which takes far longer than all else that it does around
a stage, and keeps every other stage waiting. So a run with many stages writes their entries together (flows/lock.py),
and what their DVCs read all of is parsed by the first of them (flows/read_once.py).
The stage may be skipped or come out of DVC's cache of runs, as ever.

Unlike DVC, which hashes a stage's files and settings once more when its command has ended and takes those for what it
was made of, a stage of which one has changed meanwhile fails: what it made is of the old ones, or of both.
"""

import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import Stage
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import dump_yaml

from flows import read_once
from flows.dvc_node import end


def main(name: str, file: Path) -> int:
    def reproduce_stage(stage: Stage, **given: Any) -> Stage | None:
        """What DVC does here, without the last step."""
        stage.save = partial(save, stage, stage.save)
        done: Stage | None = stage.reproduce(**given)
        if done is not None:
            lock = str(Path(done.path_in_repo).with_suffix(".lock"))
            dump_yaml(file, {lock: to_lockfile(done)})
        return done

    signal.signal(signal.SIGTERM, end)
    read_once.install()
    try:
        with Repo(_wait_for_lock=True) as repo:
            repo.reproduce(name, single_item=True, repro_fn=reproduce_stage)
    except DvcException:
        logging.getLogger("dvc").exception("")  # in DVC's words, with what caused it
        return 255
    return 0


def save(stage: Stage, record: Callable[..., None], **given: Any) -> None:
    """Record what the stage made, unless what it depends on is not what it was before; DvcException then.

    A frozen stage runs nothing and is there for what has changed.
    """
    before = [dep.hash_info for dep in stage.deps]
    stage.save_deps(allow_missing=True)
    pairs = zip(stage.deps, before, strict=True)  # a file and its settings have one name
    changed = [str(dep) for dep, known in pairs if known and dep.hash_info != known]
    if changed and not stage.frozen:
        raise DvcException(
            f"while {stage.addressing} was at work there changed {', '.join(changed)}; what it made is not recorded: "
            "run it again, or undo the change first, and it goes on from its last checkpoint"
        )
    record(**given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], Path(sys.argv[2])))
