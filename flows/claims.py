"""Repeat the trained stages for several seeds, and write metrics/claims.json and metrics/methods.json.

Every seed runs in a copy of the working tree that shares this one's cache, so a stage that does not depend on the
seed is not run again, and a second `make claims` runs nothing at all. The first seed is the one of params.yaml.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ruamel.yaml import YAML

TRAINED = (
    *("train_asis_reward", "train_reward", "train_sft", "train_dpo", "train_ppo", "train_rrhf", "train_group_rl"),
    "snapshot_dpo",
    *("build_mixture", "train_flan"),
)
"""The sections whose `seed` makes another training run."""


def reseed(settings: dict, seed: int) -> dict:
    """The settings with every trained stage's seed moved on by `seed`."""
    for section in TRAINED:
        settings[section]["seed"] += seed
    return settings


def workspace(seed: int) -> Path:
    """A copy of the tracked files as they are now, with its own settings and this project's cache."""
    folder = Path(".work/claims") / f"seed-{seed}"
    durations = folder / ".work/durations.jsonl"
    timed = durations.read_bytes() if durations.exists() else b""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ".", str(folder)], check=True)
    changed = subprocess.run(["git", "diff", "--name-only", "HEAD"], check=True, capture_output=True, text=True)
    for name in changed.stdout.splitlines():
        if Path(name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, folder / name)
    shutil.copyfile("accelerate.yaml", folder / "accelerate.yaml")
    if Path("hardware.yaml").exists():
        shutil.copyfile("hardware.yaml", folder / "hardware.yaml")
    settings = YAML(typ="safe").load(Path("params.yaml"))
    YAML().dump(reseed(settings, seed), folder / "params.yaml")
    durations.parent.mkdir(parents=True)
    durations.write_bytes(timed)  # what is restored from the cache is not timed again
    cache = Path(".dvc/cache").resolve()
    subprocess.run(["dvc", "config", "--local", "cache.dir", str(cache)], cwd=folder, check=True)
    return folder


def reproduce(seed: int, threads: int) -> Path:
    """Bring a copy up to date with this seed; returns its metrics folder."""
    folder = workspace(seed)
    log = folder / "repro.log"
    print(f"seed {seed}: running, output in {log}", flush=True)
    start = time.monotonic()
    with log.open("w") as stream:
        subprocess.run(["dvc", "checkout", "--quiet", "--allow-missing"], cwd=folder, stdout=stream, stderr=stream)
        done = subprocess.run(
            ["dvc", "repro"],
            cwd=folder,
            stdout=stream,
            stderr=stream,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)} if threads else None,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise SystemExit(f"seed {seed}: dvc repro failed; the end of {log}:\n{tail}")
    print(f"seed {seed}: done after {time.monotonic() - start:.0f} s", flush=True)
    return folder / "metrics"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, the first being that of params.yaml")
    parser.add_argument("--jobs", type=int, default=1, help="how many seeds to run at once")
    parser.add_argument("--threads", type=int, default=0, help="threads of each run; 0 leaves it to accelerate")
    given = parser.parse_args()

    subprocess.run(["dvc", "repro"], check=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        others = list(pool.map(lambda seed: reproduce(seed, given.threads), range(1, given.seeds)))
    metrics = [Path("metrics"), *others]
    subprocess.run([sys.executable, "-m", "synthalign.reporting.claims", *map(str, metrics)], check=True)


if __name__ == "__main__":
    main()
