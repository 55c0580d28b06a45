"""Repeat the trained stages for several seeds, and write metrics/claims.json and metrics/methods.json.

    python -m flows.claims                              all stages, three seeds
    python -m flows.claims --real report score_ditto    these and what they need, measured with people's data, to
                                                        metrics/real_claims.json

Every seed runs in a copy of the working tree that shares this one's cache, so a stage that does not depend on the
seed is not run again, and a second `make claims` runs nothing at all. The first seed is the one of params.yaml.

The run of every seed is kept in a file, metrics/seeds/claims/3.json, which is all that the claims need of it. So seeds
may run on several machines or days: `--seed 3` runs that one alone, and `--seeds 5 --kept` only those that are not
kept.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from typing import Any

from ruamel.yaml import YAML

from flows import graph, machine
from flows.process import dies_with_us, uninterrupted

TRAINED = (
    *("train_asis_reward", "train_reward", "train_sft", "train_dpo", "train_ppo", "train_rrhf", "train_group_rl"),
    "snapshot_dpo",
    *("build_mixture", "train_flan"),
)
"""The sections whose `seed` makes another training run."""

AUTHORS = ("train_ditto", "train_spin")
"""Those that benchmarks/ditto_ablation.py repeats in the embedded world, and nobody else on real text."""

BROUGHT = ("data/people", "models/gguf")
"""What stages read and git does not hold, beside what settings name (`named`)."""


NOTICED = 5.0
"""Seconds after which a command has not seen the Ctrl-C that ended us, and is told."""

REPRO = (sys.executable, "-m", "flows.repro")
RECORD = (sys.executable, "-m", "synthalign.reporting.run_record")


def reseed(settings: dict, seed: int, sections: tuple[str, ...]) -> dict:
    """The settings with the seed of each of these sections moved on by `seed`."""
    for section in sections:
        settings[section]["seed"] += seed
    return settings


def workspace(seed: int, sections: tuple[str, ...]) -> Path:
    """A copy of the tracked files as they are now and of what was brought, with its own settings and this cache.

    What a copy made before had in its .work stays: what an interrupted stage had finished, and how long stages took.
    """
    folder = Path(".work/claims") / f"seed-{seed}"
    begun = folder.with_suffix(".work")
    if (folder / ".work").exists():
        shutil.rmtree(begun, ignore_errors=True)
        (folder / ".work").rename(begun)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ".", str(folder)], check=True)
    told = ["git", "diff", "-z", "--no-renames", "--name-only", "HEAD"]
    changed = subprocess.run(told, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in [*filter(None, changed), *map(str, machine.files().values())]:
        if not Path(name).exists():
            (folder / name).unlink(missing_ok=True)
        elif not Path(name).is_absolute():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, folder / name)
    settings = YAML(typ="safe").load(Path("params.yaml"))
    for name in (*BROUGHT, *named(settings)):
        link(Path(name), folder / name)
    YAML().dump(reseed(settings, seed, sections), folder / "params.yaml")
    if begun.exists():
        begun.rename(folder / ".work")
    cache = subprocess.run(["dvc", "cache", "dir"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["dvc", "config", "--local", "cache.dir", cache], cwd=folder, check=True)
    return folder


def named(settings: Any) -> list[str]:
    """The files and folders of this working tree that settings name and no stage makes, below it."""
    made = [Path(out) for stage in graph.read().values() for out in stage.outs]
    found = (Path(text) for text in dict.fromkeys(texts(settings)))
    return [
        str(path)
        for path in found
        if not path.is_absolute() and ".." not in path.parts and path.parts and os.path.exists(path)  # or it is prose
        if not any(path == out or path in out.parents or out in path.parents for out in made)
    ]


def texts(settings: Any) -> Iterator[str]:
    """Every text in settings, at whatever depth."""
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, Mapping | list):
        for one in settings.values() if isinstance(settings, Mapping) else settings:
            yield from texts(one)


def link(place: Path, copy: Path) -> None:
    """Have a file or a folder at a place in a copy too, where it is here and not there."""
    if place.is_dir():
        for file in place.rglob("*"):
            if file.is_file():
                link(file, copy / file.relative_to(place))
    elif place.exists() and not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(place, copy)
        except OSError:  # on another disk
            copy.symlink_to(place.resolve())


def reproduce(seed: int, threads: int, targets: list[str], sections: tuple[str, ...]) -> Path:
    """Bring a copy up to date with this seed; returns its metrics folder."""
    folder = workspace(seed, sections)
    log = folder / "repro.log"
    print(f"seed {seed}: running, output in {log}", flush=True)
    start = time.monotonic()
    with log.open("w") as stream:
        subprocess.run(["dvc", "checkout", "--quiet", "--allow-missing"], cwd=folder, stdout=stream, stderr=stream)
        done = subprocess.run(
            [*dies_with_us(), *REPRO, *targets],
            cwd=folder,
            stdout=stream,
            stderr=stream,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)} if threads else None,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise SystemExit(f"seed {seed}: a stage failed; the end of {log}:\n{tail}")
    print(f"seed {seed}: done after {time.monotonic() - start:.0f} s", flush=True)
    return folder / "metrics"


def to_its_end(command: Sequence[str]) -> None:
    """Run a command, which after Ctrl-C has the time that it takes to end: `subprocess.run` kills it after .25 s.

    CalledProcessError where it fails.
    """
    process = subprocess.Popen([*dies_with_us(), *command])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        with uninterrupted():
            try:
                process.wait(NOTICED)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
        raise
    if code:
        raise subprocess.CalledProcessError(code, command)


def file_of(seed: int, writer: str) -> Path:
    """Where the run of a seed is kept for `synthalign.reporting.<writer>`."""
    return Path("metrics/seeds") / writer / f"{seed}.json"


def run(given: argparse.Namespace) -> None:
    writer = "real_claims" if given.real else "claims"
    files = {seed: file_of(seed, writer) for seed in (range(given.seeds) if given.seed is None else [given.seed])}
    kept = [file for file in files.values() if given.kept and file.exists()]
    if kept:
        subprocess.run([*RECORD, "--check", *map(str, kept)], check=True)
    todo = [seed for seed, file in files.items() if file not in kept]
    print("".join(f"seed {seed}: kept in {file}\n" for seed, file in files.items() if file in kept), end="", flush=True)
    if 0 in todo:
        to_its_end([*REPRO, *given.targets])
        subprocess.run([*RECORD, "metrics", str(files[0])], check=True)
    sections = (*TRAINED, *AUTHORS) if given.real else TRAINED
    stop = Event()  # those that are running end, and no other begins

    def keep(seed: int) -> None:
        if stop.is_set():
            return
        try:
            metrics = reproduce(seed, given.threads, given.targets, sections)
            subprocess.run([*RECORD, str(metrics), str(files[seed])], check=True)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(given.jobs) as pool:
        try:
            for one in as_completed([pool.submit(keep, seed) for seed in todo if seed]):
                one.result()
        finally:
            stop.set()
    if given.seed is None:
        subprocess.run([sys.executable, "-m", f"synthalign.reporting.{writer}", *map(str, files.values())], check=True)
    else:
        print("`--seeds N --kept` puts the seeds that are kept together, and runs those that are not")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", type=int, default=3, help="how many seeds, the first being that of params.yaml")
    which.add_argument("--seed", type=int, help="run this one alone, and keep it")
    parser.add_argument("--kept", action="store_true", help="run only those that metrics/seeds has not")
    parser.add_argument("--jobs", type=int, default=1, help="how many seeds to run at once")
    parser.add_argument("--threads", type=int, default=0, help="threads of each run; 0 leaves it to accelerate")
    parser.add_argument("--real", action="store_true", help="measured with people's data: metrics/real_claims.json")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="stages with what they need; without, all")
    given = parser.parse_args()
    if given.seed is not None and given.seed < 0:
        parser.error(f"--seed {given.seed}: seeds are counted from 0, that of params.yaml")
    for name, least in (("seeds", 1), ("jobs", 1), ("threads", 0)):
        if getattr(given, name) < least:
            parser.error(f"--{name} {getattr(given, name)}: at least {least}")
    try:
        run(given)
    except subprocess.CalledProcessError as error:  # which has said what is wrong
        raise SystemExit(error.returncode) from error
    except KeyboardInterrupt:
        print("\nclaims: stopped; what is finished stays, and the next run goes on from here", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
