"""The start of a warm parent, which ends with the process that starts it."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warm.launch import ADDRESS

PARENT = ["-m", "warm.parent"]
"""What Python is told to run."""


def begin() -> "subprocess.Popen[bytes] | None":
    """Start a warm parent; commands that are started from now on know of it. None where there is one already.

    Its socket listens when this returns, in a folder that nobody else may enter; both go when it ends.
    """
    if sys.platform != "linux" or ADDRESS in os.environ:
        return None
    folder = Path(tempfile.mkdtemp(prefix="synthalign-warm-"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(str(folder / "parent"))
        except OSError as error:  # a path of more than 107 bytes
            folder.rmdir()
            print(f"warm: {folder}: {error}; stages are started without it", file=sys.stderr)
            return None
        listener.listen(64)
        command = [sys.executable, *PARENT, str(os.getpid()), str(listener.fileno()), str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()])
    os.environ[ADDRESS] = str(folder / "parent")
    return process


@contextmanager
def beside() -> Iterator[None]:
    """Have a warm parent beside what is done within."""
    process = begin()
    try:
        yield
    finally:
        if process:
            del os.environ[ADDRESS]
            process.terminate()
            process.wait()
