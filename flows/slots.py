"""At most so many at once, over all flows and working copies of a host: a file lock for each place.

The kernel frees the lock of a process that died, so no place is lost by a crash.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from filelock import FileLock, Timeout


class Stopped(Exception):
    """The run is being ended: what waits shall wait no longer."""


@contextmanager
def slot(kind: str, places: int, stop: Event, folder: Path | None = None) -> Iterator[None]:
    """Hold one of the first `places` places of a kind (`gpu`), and wait until one is free; Stopped when `stop` is set.

    A flow with a smaller limit takes only the first places, so the smallest limit on a host holds for those who set it.
    """
    folder = folder or Path(tempfile.gettempdir()) / "synthalign-places"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        folder.chmod(0o1777)  # the places belong to all users of the host
    locks = [FileLock(folder / f"{kind}-{place}.lock", mode=0o666, thread_local=False) for place in range(places)]
    while (held := next((lock for lock in locks if _take(lock)), None)) is None:
        if stop.wait(0.5):
            raise Stopped
    try:
        yield
    finally:
        held.release()


def _take(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
