"""Commands that run beside this one, and end with it: servers, workers, nodes."""

import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.process import dies_with_us, end_all, uninterrupted, with_mark


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def background(
    command: list[str], given: Mapping[str, str], log: Path | None, grace: float = 60.0
) -> Iterator["subprocess.Popen[bytes]"]:
    """A command in a session of its own, that ends with all of its processes; when this one is killed, it gets SIGTERM.

    grace  seconds from SIGTERM to SIGKILL
    """
    mark = uuid.uuid4().hex
    log_file = log.open("wb") if log else None
    try:
        process = subprocess.Popen(
            [*dies_with_us(), *command],
            env=with_mark(given, mark),
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with uninterrupted():
                end_all(mark, grace, process)
    finally:
        if log_file:
            log_file.close()
