"""`python -m flows.dvc_node NAME`: `dvc repro --pull --single-item NAME`, then `dvc push --run-cache NAME`, for a node.

Two things are as DVC's commands do not have them. An input that is there, but is not what dvc.lock says, is fetched
too: `--pull` takes whatever a file holds that an earlier run has left. And what the cache of runs names is pushed with
it: `dvc push --run-cache` leaves the metrics out, without which no other node can take a run for done.
"""

import logging
import sys

from dvc.exceptions import DvcException, UploadError
from dvc.repo import Repo


def main(name: str) -> int:
    try:
        with Repo() as repo:
            [stage] = repo.stage.collect(name)
            made = [out for out in repo.index.outs if out.use_cache]
            inputs = [
                dep.fs_path for dep in stage.deps if any(dep.fs.isin_or_eq(dep.fs_path, out.fs_path) for out in made)
            ]
            if inputs:
                repo.pull(inputs, force=True)
            repo.reproduce(name, single_item=True, pull=True)
        with Repo() as repo:
            repo.push([name])
            runs = repo.stage_cache.push(None)
            for objects in repo.stage_cache.get_used_objs(runs).values():
                if failed := repo.cloud.push(objects).failed:
                    raise UploadError(len(failed))
    except DvcException:
        logging.getLogger("dvc").exception("")  # in DVC's words, with what caused it
        return 255
    except Exception as error:  # what a remote's client raises; its traceback would hide the reason
        print(f"ERROR: {type(error).__name__}: {error}", file=sys.stderr)
        return 254
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
