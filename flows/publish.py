"""Published runs: published/<date>-<short hash>/ has the tables, the metrics and the report of one dvc.lock.

A folder is made under another name, checked against dvc.lock and by the rules of tables, and then renamed;
published/latest is a link that is replaced in one step. A published folder is never written again, so nobody who reads
it is disturbed:

    published/2026-11-21-1f2e3d4c/data/comparisons/almost.parquet
                                  metrics/score_policies.json
                                  report/index.html
                                  dvc.lock  params.yaml
    published/latest -> 2026-11-21-1f2e3d4c
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path("published")


def publish(stages: Collection[str], today: date) -> tuple[Path, bool]:
    """Publish what dvc.lock says of these stages; returns the folder, and whether it is new.

    ValueError where dvc.lock lacks a stage, where a file is not what it says (another DVC is at work, or somebody has
    changed it), or where a table has rows that break its rules: nothing is published then.
    """
    lock, settings = Path("dvc.lock").read_bytes(), Path("params.yaml").read_bytes()
    entries: dict[str, Any] = YAML(typ="safe").load(lock).get("stages", {})
    files = published_files(entries, stages)
    latest = FOLDER / "latest"
    if (
        latest.exists()
        and (latest / "dvc.lock").read_bytes() == lock
        and all((latest / path).exists() for path in files)
    ):
        return FOLDER / latest.resolve().name, False

    check_settings(entries, settings)
    FOLDER.mkdir(exist_ok=True)
    for left in FOLDER.glob(".making-*"):  # by a run that was killed
        shutil.rmtree(left)
    short = hashlib.sha256("\n".join([lock.decode(), *sorted(files)]).encode()).hexdigest()[:8]
    final = FOLDER / f"{today.isoformat()}-{short}"
    if not final.exists():
        making = FOLDER / f".making-{os.getpid()}"
        making.mkdir()
        for path, digest in files.items():
            copy(Path(path), making / path, digest)
        (making / "dvc.lock").write_bytes(lock)
        (making / "params.yaml").write_bytes(settings)
        if (making / "data").exists() and (rows := offending(making.name)):
            shutil.rmtree(making)
            raise ValueError(f"publish: tables have rows that break their rules; `make check-tables` shows all\n{rows}")
        making.rename(final)
    link = FOLDER / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    link.replace(latest)
    return final, True


def published_files(entries: Mapping[str, Any], stages: Collection[str]) -> dict[str, str]:
    """The tables, metrics and report of these stages, with their hashes.  Models stay in DVC's cache."""
    if missing := [name for name in stages if name not in entries and ":" not in name]:  # with a colon: another file's
        raise ValueError(f"publish: dvc.lock has no entry of {', '.join(missing)}; run the flow again")
    outs = [out for name, entry in entries.items() if name in stages for out in entry.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if is_published(out["path"])}


def check_settings(entries: Mapping[str, Any], settings: bytes) -> None:
    """ValueError where params.yaml is not what the stage `check_settings` has seen, which sees all of it."""
    if "check_settings" not in entries:
        return
    was: dict[str, Any] = entries["check_settings"]["params"]["params.yaml"]
    now: dict[str, Any] = YAML(typ="safe").load(settings)
    if others := sorted(name for name in {*was, *now} if name not in was or name not in now or was[name] != now[name]):
        raise ValueError(
            f"publish: params.yaml is not what dvc.lock says of {', '.join(others)}; run the flow again, or "
            "`dvc repro check_settings` where a stage behind it is frozen"
        )


def offending(name: str) -> str:
    """The rows of the tables of published/<name> that break a rule, each rule's first; empty where none does."""
    command = [sys.executable, "-m", "synthalign", "check-tables", "--published", name]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def is_published(path: str) -> bool:
    top = path.split("/")[0]
    return top in ("metrics", "report") or (top == "data" and path.endswith(".parquet"))


def copy(source: Path, target: Path, digest: str) -> None:
    """Copy a file, or a folder, and check that the copy is what dvc.lock has."""
    if not source.exists():
        raise ValueError(f"publish: {source} is not there; run `dvc checkout` and then the flow again")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
        return
    shutil.copyfile(source, target)
    with target.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != digest:
        raise ValueError(f"publish: {source} is not what dvc.lock says; run `dvc status` and then the flow again")
