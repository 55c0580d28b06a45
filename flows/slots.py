"""At most so many at once, over all flows and working copies of a host: a file lock for each place.

The kernel frees the lock of a process that died, so no place is lost by a crash.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event

from filelock import FileLock, Timeout


class Stopped(Exception):
    """The run is being ended: what waits shall wait no longer."""


@contextmanager
def slot(kind: str, places: int, devices: Sequence[str], stop: Event, folder: Path | None = None) -> Iterator[int]:
    """Hold one of the first `places` places of a kind (`gpu`), and wait until one is free; Stopped when `stop` is set.

    Gives the number of the place, from 0. It is held by the devices of its share, all or none: so no device has two,
    whatever the places of others. Where there are more places than devices, a place without one has its number.

    A flow with a smaller limit takes only the first places, so the smallest limit on a host holds for those who set it.
    """
    folder = folder or Path(tempfile.gettempdir()) / "synthalign-places"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        folder.chmod(0o1777)  # the places belong to all users of the host
    while True:
        for place in range(places):
            own = _own(place, places, devices) or devices[place : place + 1]
            names = [f"{kind}-device-{device.replace('/', '_')}" for device in own] or [f"{kind}-{place}"]
            if held := _take([folder / f"{name}.lock" for name in names]):
                with held:
                    yield place
                return
        if stop.wait(0.5):
            raise Stopped("the run was ended before this stage began")


def _take(files: Sequence[Path]) -> ExitStack | None:
    """The locks of all these files, or of none."""
    with ExitStack() as held:
        try:
            for file in files:
                held.enter_context(FileLock(file, timeout=0, mode=0o666, thread_local=False))
        except Timeout:
            return None
        return held.pop_all()


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
    if 1 < len(devices) < places:  # each has the device by which its place is held, or the next one's
        return {"CUDA_VISIBLE_DEVICES": devices[place % len(devices)]}
    own = _own(place, places, devices)
    return {"CUDA_VISIBLE_DEVICES": ",".join(own)} if own and places > 1 else {}


def _own(place: int, places: int, devices: Sequence[str]) -> Sequence[str]:
    each = len(devices) // places
    return devices[place * each : (place + 1) * each]
