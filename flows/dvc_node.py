"""`python -m flows.dvc_node NAME`: `dvc repro --pull --single-item NAME`, then `dvc push --run-cache NAME`, for a node.

    python -m flows.dvc_node NAME 0/4       the rows of the first of four shards of NAME, in their journal

Two things are as DVC's commands do not have them. An input that is there, but is not what dvc.lock says, is fetched
too: `--pull` takes whatever a file holds that an earlier run has left. And of the cache of runs the stage's own run is
pushed, with what it names: `dvc push --run-cache` pushes the runs of all stages and leaves the metrics out, without
which no other node can take a run for done.
"""

import logging
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException, UploadError
from dvc.fs import generic
from dvc.repo import Repo
from dvc.stage import Stage
from dvc.stage.cache import RunCacheNotFoundError, _can_hash, _get_cache_hash, _get_stage_hash
from dvc.stage.serialize import to_single_stage_lockfile


def main(name: str, shard: str | None = None) -> int:
    signal.signal(signal.SIGTERM, end)
    try:
        with Repo() as repo:
            [stage] = repo.stage.collect(name)
            made = [out for out in repo.index.outs if out.use_cache]
            inputs = [
                dep.fs_path for dep in stage.deps if any(dep.fs.isin_or_eq(dep.fs_path, out.fs_path) for out in made)
            ]
            if inputs:
                repo.pull(inputs, force=True)
            how = {"repro_fn": partial(sample, shard=shard)} if shard else {}
            repo.reproduce(name, single_item=True, pull=True, **how)
        if not shard:
            push(name)
    except DvcException:
        logging.getLogger("dvc").exception("")  # in DVC's words, with what caused it
        return 255
    except Exception as error:  # what a remote's client raises; its traceback would hide the reason
        print(f"ERROR: {type(error).__name__}: {error}", file=sys.stderr)
        return 254
    return 0


def push(name: str) -> None:
    """Push the stage's outs, and its run with all that this names; others' runs may name what was removed since."""
    with Repo() as repo:
        repo.push([name])
        [stage] = repo.stage.collect(name)
        if not _can_hash(stage):  # DVC keeps no run of it
            return
        runs, odb = repo.stage_cache, repo.cloud.get_remote_odb(None, "push --run-cache", hash_name="md5-dos2unix")
        run = _get_stage_hash(stage), _get_cache_hash(to_single_stage_lockfile(stage))
        path = runs._get_cache_path(*run)
        if not Path(path).exists():  # nothing ran or was restored
            return
        for objects in runs.get_used_objs([run]).values():
            if failed := repo.cloud.push(objects).failed:
                raise UploadError(len(failed))
        place = Path(path).parts[-4:]  # runs/ab/abcd…/value
        generic.copy(repo.cache.legacy.fs, path, odb.fs, odb.fs.join(odb.path, *place))


def sample(stage: Stage, *, shard: str, upstream: list[Stage] | None = None, **_: Any) -> None:
    """In the place of DVC's run of a stage: nothing where there is none to run, else its command as a shard."""
    if not stage.changed(True, upstream):
        return
    stage.save_deps()
    try:
        stage.repo.stage_cache.restore(stage, pull=True)
    except RunCacheNotFoundError:
        environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
        subprocess.run(stage.cmd, shell=True, check=True, env=environment | {"SYNTHALIGN_SHARD": shard})


def end(*_: object) -> None:
    """The kernel says that who started this is gone, killed: what this has started goes too."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
