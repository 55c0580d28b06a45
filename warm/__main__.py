"""Become a command, with a process beside it that accelerated stages are forked from (warm/parent.py).

    python -m warm dvc repro report

The process stays the same, so signals and the exit code are the command's own.
"""

import os
import sys

from warm import start


def main() -> None:
    if len(sys.argv) == 1:
        raise SystemExit("usage: python -m warm COMMAND [WORD ...]")
    start.begin()
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        raise SystemExit(f"warm: {sys.argv[1]}: {error.strerror}") from error


if __name__ == "__main__":
    main()
