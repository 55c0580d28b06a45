"""Commands that run beside this one, and end with it: servers, workers, nodes."""

import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.process import dies_with_us, end_all, uninterrupted, with_mark


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many ports, no two alike: each is held until all are known."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


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
