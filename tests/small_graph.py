"""The whole graph at a small scale, in a clone of its own: the real models, DVC and accelerate.

folder = small_graph.clone(tmp_path / "one")
small_graph.finish(small_graph.start(folder), folder)     # `dvc repro`; raises with DVC's last words
small_graph.locked(folder)                                # the hash of every output, by stage
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SCALE = ".02"
QUESTIONS = 24


def clone(folder: Path) -> Path:
    """The tracked files as they are now, with the embedded profile at a small scale and a cache of their own."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    changed = subprocess.run(
        ["git", "diff", "-z", "--no-renames", "--name-only", "HEAD"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, changed.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    (folder / "dvc.lock").unlink()  # it is of other settings, and DVC reads and writes all of it for each stage
    shutil.copyfile(ROOT / "accelerate/cpu.yaml", folder / "accelerate.yaml")
    composing = [sys.executable, "-m", "synthalign", "profile", "embedded", "--scale", SCALE]
    subprocess.run(composing, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


DVC_REPRO = ("warm", "dvc", "repro")
MAKE_REPRO = ("flows.repro",)


def start(folder: Path, *targets: str, by: Sequence[str] = DVC_REPRO) -> subprocess.Popen[bytes]:
    """Make these and what they need, or all; what it says goes to `out`. It has a process group of its own."""
    command = [sys.executable, "-m", *by, *targets]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "out").open("wb") as out:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for it to end well."""
    assert process.wait() == 0, (folder / "out").read_text(errors="replace")[-4000:]


def locked(folder: Path) -> dict[str, dict[str, str]]:
    """The hash of every output, by stage."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in stages.items()}
