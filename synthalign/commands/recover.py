"""Mend what a kill -9 of DVC can leave behind.  Nothing that a stage has made is lost by it.

DVC rewrites two files in place, so that a kill may leave the beginning of one:

    dvc.lock          what made what; put back as git has it, and what was made since comes out of DVC's cache of runs
    .dvc/tmp/rwlock   who works on which path; removed

And a line of rwlock outlives its process: when another program has got the number of a killed DVC since, DVC would wait
for that.
"""

import subprocess
from pathlib import Path
from typing import Any

import psutil
from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.rwlock import RWLOCK_FILE, RWLockFileCorruptedError, RWLockFileFormatError, _edit_rwlock

from synthalign.core.errors import UserError


def recover() -> list[str]:
    """Mend the repository in the current folder; returns a sentence for everything that was broken."""
    try:
        repo = Repo()
        with lock_repo(repo):  # what DVC is writing now is not broken
            return [said for file in _lock_files() for said in _mend_lock_file(repo, file)] + _mend_path_locks(repo)
    except DvcException as error:
        raise UserError(str(error)) from error


def _lock_files() -> list[Path]:
    """The dvc.lock here, and those beside every other dvc.yaml that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z", "*/dvc.yaml"], capture_output=True, text=True).stdout
    return [Path("dvc.lock"), *(Path(name).with_name("dvc.lock") for name in listed.split("\0") if name)]


def _mend_lock_file(repo: Repo, file: Path) -> list[str]:
    if not file.exists() or _is_whole(repo, file):
        return []
    broken = file.rename(f"{file}.broken")
    committed = subprocess.run(["git", "show", f"HEAD:./{file.as_posix()}"], capture_output=True)
    if committed.returncode == 0:
        file.write_bytes(committed.stdout)
    now = "as git has it" if committed.returncode == 0 else "gone"
    return [f"{file} was not whole; it is now {now}, and the broken one is {broken}"]


def _is_whole(repo: Repo, file: Path) -> bool:
    """Whether DVC can read a lock file and no entry was cut short; DVC takes an entry without its size for whole."""
    try:
        stages = Lockfile(repo, str(file)).load().get("stages", {})
    except DvcException:
        return False
    entries = [entry for stage in stages.values() for kind in ("deps", "outs") for entry in stage.get(kind, [])]
    return file.read_bytes().endswith(b"\n") and all("size" in entry for entry in entries if "md5" in entry)


def _mend_path_locks(repo: Repo) -> list[str]:
    assert repo.tmp_dir is not None
    file = Path(repo.tmp_dir, RWLOCK_FILE)
    mended = []
    try:
        with _edit_rwlock(repo.tmp_dir, repo.fs, repo.config["core"].get("hardlink_lock", False)) as locks:
            for path, holder in list(locks["write"].items()):
                if _is_anothers(holder):
                    del locks["write"][path]
                    mended.append(f"{path} was held by process {holder['pid']}, which is not DVC")
            for path, holders in locks["read"].items():
                strangers = [holder for holder in holders if _is_anothers(holder)]
                locks["read"][path] = [holder for holder in holders if holder not in strangers]
                mended += [f"{path} was held by process {holder['pid']}, which is not DVC" for holder in strangers]
    except (RWLockFileCorruptedError, RWLockFileFormatError):
        file.unlink()
        mended.append(f"{file} was not whole and is removed")
    return mended


def _is_anothers(holder: dict[str, Any]) -> bool:
    """Whether the number of the process that took a lock now belongs to a program that is not DVC."""
    try:
        return not any("dvc" in word for word in psutil.Process(holder["pid"]).cmdline())
    except psutil.Error:
        return False  # DVC itself forgets the dead
