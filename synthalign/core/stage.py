"""What every stage does around its work: settings, errors, metrics, progress, and a scratch folder."""

import errno
import hashlib
import inspect
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import psutil
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAMLError
from tqdm import tqdm

from synthalign.core import hardware, launcher, shards, text_file, tracking, yaml_file
from synthalign.core.errors import UserError, wrong_keys

P = TypeVar("P", bound=BaseModel)
T = TypeVar("T")
M = TypeVar("M")

DURATIONS = Path(".work/durations.jsonl")
"""How long the stages took on this machine, a line a run: what `make plan` estimates with; see `note_duration`."""

STARTERS = {"dvc", "flows.dvc_stage", "flows.dvc_node", "torchrun", "torch.distributed.run"} | launcher.NAMES
"""What starts a stage, by the names of their commands and modules."""

gone_on_from: set[Path] = set()
"""The scratch folders of this process that an earlier run has left."""


def explain(section: str, error: ValidationError, file: str = "params.yaml") -> list[str]:
    """One line for every wrong setting: its key, its value and what is allowed."""
    return wrong_keys(error, file, within=section)


def read(file: str) -> dict[str, Any]:
    """The sections of a settings file; UserError when there are none, or where a number is infinite or none at all."""
    return checked(text_file.read(file, step="`make profile P=embedded` writes it"), file)


def checked(text: str, file: str) -> dict[str, Any]:
    """The sections in the text of a settings file; UserError as in `read`."""
    try:
        everything = yaml_file.load(text)
    except YAMLError as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(everything, dict):
        raise UserError(f"{file} has no sections; compare with profiles/base.yaml")
    places = [place for name, value in everything.items() for place in not_finite(value, name)]
    if places:
        raise UserError("\n".join(f"{file}: {place}: write a finite number" for place in places))
    return everything


def not_finite(value: Any, place: str) -> list[str]:
    """Where a setting, or one within it, is a number that is infinite or none."""
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{place} = {value}"]
    within = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in within for found in not_finite(inner, f"{place}.{key}")]


def params(section: str, settings: type[P], file: str = "params.yaml") -> P:
    """The section of params.yaml as its stage's Params; UserError with every wrong key at once."""
    everything = read(file)
    if section not in everything:
        raise UserError(f"{file}: the section {section!r} is missing; compare with profiles/base.yaml")
    try:
        return settings.model_validate(everything[section])
    except ValidationError as error:
        raise UserError("\n".join(explain(section, error, file))) from error


def run(main: Callable[..., None], section: str, settings: type[BaseModel], *, in_shards: bool = False) -> None:
    """Run a stage from the command line and end the process; a member of a family is named by the first argument.

    in_shards  whether it can be run in shards (`core/shards.py`): it samples, before anything else of any length
    """
    takes_item = len(inspect.signature(main).parameters) == 2
    if takes_item != (len(sys.argv) == 2):
        wanted = f"python -m stages.{section}" + (" <member>" if takes_item else "")
        print(f"usage: {wanted}", file=sys.stderr)
        raise SystemExit(2)
    started_by = starters()
    end_with(started_by)
    if is_main_process():
        sweep()
    try:
        for process in started_by:
            launcher.check(process.cmdline())
        tracking.wanted()
        hardware.read()
        if (shard := shards.here()) and not in_shards:
            raise UserError(f"{shards.SHARD} = {shard.number}/{shard.of}: {section} does not run in shards; unset it")
        main(params(section, settings), *sys.argv[1:])
        note_duration(section, *sys.argv[1:])
    except shards.Ended as ended:
        if is_main_process():
            print(f"{section}: {ended}")
    except UserError as error:
        print(f"{section}: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except Exception as error:
        if not is_full_disk(error):
            raise
        where = getattr(error, "filename", None) or Path.cwd()
        print(
            f"{section}: the disk is full ({where}); free some space and run it again: what was finished is kept",
            file=sys.stderr,
        )
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        print(f"\n{section}: interrupted; run it again to go on from here", file=sys.stderr)
        raise SystemExit(130) from error
    # All is written. To take torch's modules apart at exit would cost every stage a second more.
    sys.stdout.flush()
    sys.stderr.flush()
    if not tracking.wanted():  # which send the last of a curve as the process ends
        os._exit(0)


def member(section: str, kind: str, family: Mapping[str, M], name: str) -> M:
    """What params.yaml says of one member of a stage's family; UserError with the names there are for another one."""
    if name not in family:
        raise UserError(f"{section} has no {kind} {name!r}; it has {', '.join(family)}")
    return family[name]


def above() -> list[psutil.Process]:
    """The processes above this one, the nearest first; a stage of a warm parent is below its launcher."""
    if launched_by := os.environ.get("SYNTHALIGN_LAUNCHER"):
        with suppress(psutil.NoSuchProcess):
            nearest = psutil.Process(int(launched_by))
            return [nearest, *nearest.parents()]
    return psutil.Process().parents()


def starters() -> list[psutil.Process]:
    """DVC and the launchers above this process."""
    found = []
    for process in above():
        with suppress(psutil.Error):
            if any(Path(word).name in STARTERS for word in process.cmdline()[:3]):
                found.append(process)
    return found


def end_with(processes: Sequence[psutil.Process]) -> None:
    """End this process soon after one of these is gone.

    A kill -9 of DVC or of the launcher does not reach the stage below.  It would work on, and DVC, started again, would
    run the same stage beside it.
    """

    def watch() -> None:
        while all(_is_alive(process) for process in processes):
            time.sleep(0.5)
        os._exit(1)

    if processes:
        Thread(target=watch, daemon=True).start()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def note_duration(section: str, item: str | None = None) -> None:
    """Append to .work/durations.jsonl how long this stage took, counted from the start of its launcher.

    What DVC does around the command, hashing and storing its files, is left out.  So is what an interrupted run had
    done before; the line then says that it is of a rest, `resumed`.
    """
    if not is_main_process():
        return
    nearest = next(iter(above()), None)
    launched = nearest and any(Path(word).name in launcher.NAMES for word in nearest.cmdline()[:3])
    started = (nearest if nearest and launched else psutil.Process()).create_time()
    row = {
        "stage": section,
        "item": item,
        "seconds": round(time.time() - started, 1),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
    }
    if gone_on_from:
        row["resumed"] = True
    DURATIONS.parent.mkdir(exist_ok=True)
    with DURATIONS.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def is_full_disk(error: Exception) -> bool:
    """Whether an error comes from a full disk; safetensors has a class of its own for it, torch.save only odd words."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC or "No space left on device" in str(error):
        return True
    return isinstance(error, RuntimeError) and shutil.disk_usage(".").free < 2**20


def is_main_process() -> bool:
    """Whether this is the process of an `accelerate launch` that writes."""
    return int(next((os.environ[name] for name in launcher.RANKS if os.environ.get(name)), "0")) == 0


def write_metrics(name: str, **values: Any) -> None:
    """Write metrics/<name>.json, keys sorted, so that equal numbers are equal bytes."""
    file = Path("metrics") / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def write_points(points: Sequence[Mapping[str, Any]], name: str) -> None:
    """Write the points of a plot where `dvc plots` reads them, metrics/plots/<name>.json: one object a line."""
    file = Path("metrics/plots") / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(point, allow_nan=False) for point in points)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def progress(iterable: Iterable[T], *, total: int | None = None, desc: str = "", unit: str = "it") -> Iterable[T]:
    """A progress bar with rate and remaining time on stderr, shown by the process that writes."""
    return tqdm(
        iterable, total=total, desc=desc, unit=unit, dynamic_ncols=True, mininterval=1.0, disable=not is_main_process()
    )


def work_dir(stage: str, *inputs: str | BaseModel | Path) -> Path:
    """The scratch folder of a stage for exactly these inputs: settings, words, and the content of files or folders.

    What of hardware.yaml changes numbers is one of them, so that no run goes on with what another precision made.
    A clone in another folder has the same name for the same inputs, so that it can go on with what one has made.
    DVC deletes a stage's outs before it runs, so what a crash must not lose is kept here.
    """
    digest = hashlib.sha256(hardware.read().of_results().encode())
    for given in inputs:
        if isinstance(given, Path):
            if not given.exists():
                raise UserError(f"{given} is not there, and {stage} reads it; `dvc repro` makes what is the graph's")
            files = sorted(file for file in given.rglob("*") if file.is_file()) if given.is_dir() else [given]
            for file in files:
                digest.update(str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file).encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
        else:
            digest.update((given if isinstance(given, str) else given.model_dump_json()).encode())
        digest.update(b"\0")
    folder = Path(".work") / stage / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        gone_on_from.add(folder)
    return folder


def give_up(folder: Path) -> None:
    """Say that a stage's scratch folder has done its service.

    It is removed at once, or, where DVC runs the stage, by a stage that starts when DVC has recorded the outs: killed
    before that, it deletes them and runs the stage again, and then nothing need be made twice.
    """
    name = os.environ.get("DVC_STAGE")
    if name:
        partial = folder / "finished.partial"
        partial.write_text(json.dumps([name, _recorded(name)]), encoding="utf-8")
        partial.replace(folder / "finished")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove the scratch folders of the stages whose entry in dvc.lock is another than when they gave them up.

    That dvc.lock is newer is not enough: DVC, started again, may run other stages first.  A mark that a full disk has
    left empty says nothing, and its folder stays.
    """
    for mark in Path(".work").glob("*/*/finished"):
        with suppress(FileNotFoundError, ValueError):  # a stage that starts beside this one has just removed it
            name, before = json.loads(mark.read_text(encoding="utf-8"))
            if _recorded(name) != before:
                shutil.rmtree(mark.parent, ignore_errors=True)


@lru_cache(maxsize=1)
def _stages(lock: str) -> Any:
    """The entries of dvc.lock by stage, of its text: thousands of lines, which every mark of `sweep` asks for."""
    return yaml_file.load(lock)["stages"]


def _recorded(name: str) -> Any:
    """The entry of a stage in dvc.lock; None where it has none.

    Where stages run beside each other DVC writes the file anew, in place, at the end of each: it is read until it is
    whole.
    """
    file = Path("dvc.lock")
    for _ in range(200):
        try:
            text = file.read_text(encoding="utf-8")
            entry = _stages(text).get(name)
            if file.read_text(encoding="utf-8") == text:
                return entry
            _stages.cache_clear()  # it may be a part that is right by chance
        except FileNotFoundError:
            return None
        except (YAMLError, TypeError, KeyError, AttributeError):
            pass
        time.sleep(0.05)
    raise UserError("dvc.lock cannot be read; `python -m synthalign recover` mends it")
