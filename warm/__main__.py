"""Become a command, with a process beside it that accelerated stages are forked from (warm/parent.py).

    python -m warm dvc repro report

The process id stays that of the command, so signals and the exit code are the command's own.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from warm.launch import ADDRESS


def main() -> None:
    if len(sys.argv) == 1:
        raise SystemExit("usage: python -m warm COMMAND [WORD ...]")
    if sys.platform == "linux" and ADDRESS not in os.environ:
        begin()
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        raise SystemExit(f"warm: {sys.argv[1]}: {error.strerror}") from error


def begin() -> None:
    """Start the parent. Its socket listens from now on, in a folder that nobody else may enter; it removes both."""
    folder = Path(tempfile.mkdtemp(prefix="synthalign-warm-"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(str(folder / "parent"))
        except OSError as error:  # a path of more than 107 bytes
            folder.rmdir()
            print(f"warm: {folder}: {error}; stages are started without it", file=sys.stderr)
            return
        listener.listen(64)
        command = [sys.executable, "-m", "warm.parent", str(os.getpid()), str(listener.fileno()), str(folder)]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()])
    os.environ[ADDRESS] = str(folder / "parent")


if __name__ == "__main__":
    main()
