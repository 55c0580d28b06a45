"""One stage on a node of a cluster: in a clone of the repository at the run's commit, with DVC's remote between nodes.

Nothing here knows which cluster; flows/on_ray.py gives these calls to Ray. All that comes and goes is plain data:

    made = node.reproduce(Run(...), Task("train_ppo@almost", ...), print)
    made.entry, made.files        what dvc.lock is to have, and the metrics, which git holds and DVC does not
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from flows import machine
from flows.beside import StageFailed
from flows.failures import hint
from flows.process import Finished, run

FOLDER = "SYNTHALIGN_NODE"
"""The variable of a node's environment that names where it keeps clones and DVC's cache; else ~/.cache/synthalign."""

JOURNALS = "SYNTHALIGN_JOURNALS"
"""The variable that tells a stage where its shards' journals are."""

WRITTEN = ["dvc.lock", "metrics"]
"""What a run writes of the files that git has."""

SECRET = re.compile(r"key|secret|token|password|credential|connection_string")
"""In the names of a remote's settings: what is not for a run's parameters, which Prefect shows."""


class NodeRefused(Exception):
    """A node is not as the run needs it: which, what is there, and what to do."""


@dataclass(frozen=True)
class Run:
    """What is the same for all stages of a run, as the driver has it."""

    repository: str
    """Where nodes clone it from: a URL of git, or a folder that all see."""

    commit: str
    versions: Mapping[str, str]
    """Of Python and of the packages of requirements.lock."""

    remote: Mapping[str, str]
    """The settings of DVC's remote, without any secret."""

    settings: Mapping[str, str]
    """The files of this machine that git ignores, accelerate.yaml and hardware.yaml, by name."""


@dataclass(frozen=True)
class Task:
    """A stage, and what it needs that is not in the commit."""

    name: str
    entries: Mapping[str, Any]
    """Of dvc.lock: its own, and those of the stages that it needs."""

    files: Mapping[str, bytes]
    """Outs of the stages that it needs, and its own, that DVC does not cache: metrics."""

    uncached: Sequence[str] = ()
    """Its own outs of that kind."""


Journals = Mapping[str, bytes]
"""What a shard has sampled: files by their place below .work/<stage>."""


@dataclass(frozen=True)
class Made:
    entry: Any
    files: Mapping[str, bytes]
    how: str
    """`ran`, or `restored or unchanged`, and where."""

    log: str = field(repr=False, default="")


def named(lock: Path) -> list[str]:
    """The packages that a file of requirements names."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return [str(name) for name in found]


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python and of these packages; `none` for one that is not here."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def reproduce(
    given: Run,
    task: Task,
    say: Callable[[str], None],
    *,
    journals: Sequence[Journals] = (),
    seconds: float | None = None,
) -> Made:
    """Bring the stage up to date, and push what it made; NodeRefused, StageFailed.

    journals  what its shards have sampled
    """
    from dvc.utils.serialize import load_yaml

    with held(given, task.name) as folder, TemporaryDirectory() as brought:
        equip(folder, given, task)
        name, log = os.uname().nodename, folder / "logs" / f"{task.name.replace('/', '_')}.log"
        for number, files in enumerate(journals):
            write(Path(brought, str(number)), files)
        where = {JOURNALS: brought} if any(journals) else {}
        command = [sys.executable, "-m", "flows.dvc_node", task.name]
        done = run(command, log, say, given=where, within=folder, seconds=seconds)
        must(done, f"{task.name} on {name}")
        told = log.read_text(encoding="utf-8")
        entry = load_yaml(folder / "dvc.lock")["stages"][task.name]
        files = {file: (folder / file).read_bytes() for file in task.uncached}
        how = "ran" if "Running stage" in told else "restored or unchanged"
        return Made(entry, files, f"{how} on {name}", told)


def sample(given: Run, task: Task, shard: str, say: Callable[[str], None], *, seconds: float | None = None) -> Journals:
    """Make the rows of one shard of a stage, `0/4` for the first of four, and return its journals; none where the stage
    has nothing to do. NodeRefused, StageFailed."""
    needs = {name: entry for name, entry in task.entries.items() if name != task.name}
    inputs = json.dumps([needs, dict(given.settings)], sort_keys=True, default=str)  # of others are other journals
    number = f"{shard.replace('/', '-')}.{sha256(inputs.encode()).hexdigest()[:8]}"
    with held(given, f"{task.name}.{number}") as folder:
        equip(folder, given, task)
        log = folder / "logs" / f"{task.name.replace('/', '_')}.log"
        command = [sys.executable, "-m", "flows.dvc_node", task.name, shard]
        done = run(command, log, say, within=folder, seconds=seconds)
        must(done, f"shard {shard} of {task.name} on {os.uname().nodename}")
        base = folder / ".work" / task.name.split("@")[0]
        return {
            str(file.relative_to(base)): file.read_bytes() for file in base.glob("*/*.jsonl") if file.stat().st_size
        }


def must(done: Finished, what: str) -> None:
    if done.cut is None and done.returncode == 0:
        return
    tail = "\n".join(done.tail)
    how = "after its time was over" if done.cut else f"with exit code {done.returncode}"
    known = None if done.cut else hint(tail)
    raise StageFailed(f"{what} ended {how}" + (f"; {known}" if known else "") + f"\n{tail}")


@contextmanager
def held(given: Run, name: str) -> Iterator[Path]:
    """The clone for a stage of a run, which no other run on this node has meanwhile; made where it is not there."""
    check_versions(given.versions, versions(name for name in given.versions if name != "python"))
    base = Path(os.environ.get(FOLDER) or Path.home() / ".cache/synthalign").expanduser().resolve()
    folder = base / given.commit[:12] / name.replace("/", "_")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            remove_others(base, given.commit)
            clone(given, base, folder)
        check_clone(folder, given.commit)
        yield folder


def remove_others(base: Path, commit: str) -> None:
    """Remove the clones of other commits on this node, but for those that a run holds.

    Who waits for the lock of one sees that its file is gone, and makes it anew (filelock).
    """
    for lock in base.glob("[0-9a-f]" * 12 + "/*.lock"):
        if lock.parent.name != commit[:12]:
            with suppress(Timeout), FileLock(lock, timeout=0):
                for folder in (str(lock).removesuffix(".lock"), f"{str(lock).removesuffix('.lock')}.making"):
                    shutil.rmtree(folder, ignore_errors=True)
                lock.unlink()


def check_versions(wanted: Mapping[str, str], here: Mapping[str, str]) -> None:
    """NodeRefused with each package that is another one here."""
    others = [f"{name} {here.get(name)} instead of {wanted[name]}" for name in wanted if here.get(name) != wanted[name]]
    if others:
        more = f" and {len(others) - 5} more" * (len(others) > 5)
        raise NodeRefused(
            f"node {os.uname().nodename} has other packages than the flow: {', '.join(others[:5])}{more}; install "
            "requirements.lock there"
        )


def clone(given: Run, base: Path, folder: Path) -> None:
    """A clone at the run's commit; its objects are those of one clone on this node. NodeRefused where there is no such
    commit."""
    store = base / f"{sha256(given.repository.encode()).hexdigest()[:12]}.git"
    with FileLock(f"{store}.lock"):
        if not store.exists():
            git("clone", "--quiet", "--bare", given.repository, str(store))
        if not has(store, given.commit):
            git("-C", str(store), "fetch", "--quiet", "--force", given.repository, "+refs/heads/*:refs/heads/*")
        if not has(store, given.commit):
            raise NodeRefused(
                f"node {os.uname().nodename}: {given.repository} has no commit {given.commit[:12]}: push it first"
            )
    making = Path(f"{folder}.making")
    shutil.rmtree(making, ignore_errors=True)  # of one that was killed
    git("clone", "--quiet", "--shared", "--no-checkout", str(store), str(making))
    git("-C", str(making), "checkout", "--quiet", "--detach", given.commit)
    making.rename(folder)


def has(store: Path, commit: str) -> bool:
    command = ["git", "-C", str(store), "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, capture_output=True).returncode == 0


def check_clone(folder: Path, commit: str) -> None:
    """NodeRefused where a clone is at another commit, or somebody has changed what it has."""
    name, at = os.uname().nodename, git("-C", str(folder), "rev-parse", "HEAD")
    if at != commit:
        raise NodeRefused(f"node {name}: {folder} is at commit {at[:12]} instead of {commit[:12]}; remove the folder")
    if changed := changes(folder):
        raise NodeRefused(f"node {name}: in {folder} somebody has changed {', '.join(changed[:5])}; remove the folder")


def changes(folder: Path) -> list[str]:
    """The files of git that are not as in the commit, but for those that a run writes."""
    but = [f":(exclude){path}" for path in WRITTEN]
    return git("-C", str(folder), "diff", "--name-only", "HEAD", "--", ".", *but).split()


def git(*words: str) -> str:
    """What git says; NodeRefused with its error."""
    done = subprocess.run(["git", *words], capture_output=True, text=True)
    if done.returncode:
        raise NodeRefused(f"node {os.uname().nodename}: git {words[-1]}: {done.stderr.strip()}")
    return done.stdout.strip()


def equip(folder: Path, given: Run, task: Task) -> None:
    """Give a clone what is not in the commit: entries, metrics, the remote, a cache that all clones here share.

    Of the files of the machine it has those that the driver has: one that an earlier run has left would change numbers.
    """
    from dvc.utils.serialize import dump_yaml

    dump_yaml(folder / "dvc.lock", {"schema": "2.0", "stages": dict(task.entries)})
    for name in machine.files().keys() - given.settings.keys():
        (folder / name).unlink(missing_ok=True)
    write(folder, {**task.files, **{name: text.encode() for name, text in given.settings.items()}})
    config = ConfigParser(interpolation=None)
    config["cache"] = {"dir": str(folder.parents[1] / "cache")}
    config["core"] = {"remote": "run"}
    config["'remote \"run\"'"] = dict(given.remote)
    with (folder / ".dvc/config.local").open("w", encoding="utf-8") as stream:
        config.write(stream)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their place below a folder."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
