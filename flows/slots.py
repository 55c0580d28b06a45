"""At most so many at once, over all flows and working copies of a host: a file lock for each place.

The kernel frees the lock of a process that died, so no place is lost by a crash.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from filelock import FileLock, Timeout


class Stopped(Exception):
    """The run is being ended: what waits shall wait no longer."""


@contextmanager
def slot(kind: str, places: int, stop: Event, folder: Path | None = None) -> Iterator[int]:
    """Hold one of the first `places` places of a kind (`gpu`), and wait until one is free; Stopped when `stop` is set.

    Gives the number of the place, from 0.

    A flow with a smaller limit takes only the first places, so the smallest limit on a host holds for those who set it.
    """
    folder = folder or Path(tempfile.gettempdir()) / "synthalign-places"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        folder.chmod(0o1777)  # the places belong to all users of the host
    locks = [FileLock(folder / f"{kind}-{place}.lock", mode=0o666, thread_local=False) for place in range(places)]
    while (held := next((place for place, lock in enumerate(locks) if _take(lock)), None)) is None:
        if stop.wait(0.5):
            raise Stopped("the run was ended before this stage began")
    try:
        yield held
    finally:
        locks[held].release()


def _take(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def nvidia_devices() -> list[str]:
    """The GPUs that CUDA would show, without the seconds that asking PyTorch takes."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [device.strip() for device in visible.split(",") if device.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    except OSError:
        return []
    return [str(number) for number in range(sum(line.startswith("GPU") for line in listed.splitlines()))]


def share(place: int, places: int, devices: Sequence[str]) -> dict[str, str]:
    """The variable by which what holds a place sees its share of the devices, and no other; {} where each sees all."""
    each = len(devices) // places
    if places == 1 or each == 0:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(devices[place * each : (place + 1) * each])}
