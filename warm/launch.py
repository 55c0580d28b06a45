"""`accelerate-launch`, or the same from a warm parent: a stage of one process is forked from it.

    python -m warm.launch --quiet --config_file accelerate.yaml -m stages.train_sft rmsp

The words are those of accelerate-launch, which runs in this one's place where there is no warm parent or where it
refuses (warm/child.py says when). Nothing heavy is imported here: this is what a stage pays.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

ADDRESS = "SYNTHALIGN_WARM"
"""The variable of the environment that names the socket of the warm parent."""

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""What is sent to the launcher reaches the stage."""


def main() -> None:
    address = os.environ.get(ADDRESS)
    answer: dict[str, Any] = {}
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as parent:
            answer = ask(parent, address)
            if "started" in answer:
                end(*wait(parent, answer["started"]))
    if "refused" in answer:
        print(f"warm: {answer['refused']}; accelerate-launch starts this stage", file=sys.stderr, flush=True)
    os.execvp("accelerate-launch", ["accelerate-launch", *sys.argv[1:]])


def ask(parent: socket.socket, address: str) -> dict[str, Any]:
    """What the parent, or the child that it forked, says: `started` with its process id, or `refused` with the reason;
    nothing where there is no parent."""
    try:
        parent.connect(address)
        socket.send_fds(parent, [json.dumps(request(sys.argv[1:], os.environ)).encode()], [0, 1, 2])
        answer = json.loads(parent.recv(2**16) or "{}")
    except OSError:
        return {}
    return answer if isinstance(answer, dict) else {}  # a number: the child has ended before it could say a word


def request(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """All that a stage takes over from the process that started it."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "words": list(words),
        "environment": dict(environment),
        "folder": os.getcwd(),
        "umask": mask,
        "ignored": [number for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN],
        "python": [os.path.realpath(sys.prefix), sys.version],
        "cores": sorted(os.sched_getaffinity(0)),
    }


def wait(parent: socket.socket, child: int) -> tuple[int | None, int | None]:
    """Wait for the child: how it ended (`os.waitpid`), None where the parent is gone; and the last signal passed on."""
    passed: list[int] = []

    def forward(number: int, _: object) -> None:
        passed.append(number)
        parent.send(str(number).encode())

    def stop(*_: object) -> None:
        parent.send(str(int(signal.SIGSTOP)).encode())
        os.kill(os.getpid(), signal.SIGSTOP)
        parent.send(str(int(signal.SIGCONT)).encode())

    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    signal.signal(signal.SIGTSTP, stop)
    try:
        answer = parent.recv(64)
    except OSError:
        answer = b""
    return int(answer) if answer else None, passed[-1] if passed else None


def end(status: int | None, passed: int | None) -> NoReturn:
    """End as `accelerate-launch --quiet` does: 0, 1 whatever the stage's code was, or by the signal that was sent."""
    if status is None:
        print("warm: the parent of this stage was killed, and the stage with it", file=sys.stderr)
    elif os.WIFSIGNALED(status) and not passed:  # nobody here sent it: for want of memory the kernel does
        print(f"warm: the stage was ended by {signal.Signals(os.WTERMSIG(status)).name}", file=sys.stderr)
    if status and passed:
        signal.signal(passed, signal.SIG_DFL)
        os.kill(os.getpid(), passed)
    raise SystemExit(0 if status == 0 else 1)


if __name__ == "__main__":
    main()
