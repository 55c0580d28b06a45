"""Run a command of a stage: its output as lines, and no process of it left when it ends, whatever ends it.

Both streams come through one pipe that the calling thread reads, so megabytes on stderr block nothing. Whatever the
command starts inherits a mark in its environment; by that all of it is found at the end, the workers of torch elastic
too, which live in sessions of their own and outlive a signal to the group.
"""

import codecs
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, current_thread, main_thread

import psutil

MARK = "SYNTHALIGN_RUN"
"""The variable of the environment by which the processes of a command are found: a word for each command above."""

TAIL = 50
"""Lines that are kept for the message of a failure."""

_SAY_LINES, _LINE = 40, 2000
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    returncode: int
    """Negative: the signal that ended it."""

    tail: list[str]
    """Its last 50 lines."""

    cut: str | None = None
    """`stopped` or `deadline` where it did not end by itself."""


class Lines:
    """Bytes of output as the lines that a terminal would show in the end.

    >>> lines = Lines()
    >>> lines.feed(b"one\\n10%\\r20%\\r"), lines.bar
    (['one'], '20%')
    >>> lines.feed(b"30%\\ntwo"), lines.bar
    (['30%', ], 'two')
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, chunk: bytes, final: bool = False) -> list[str]:
        """The lines that this chunk has finished; with `final` also the one that has no end."""
        text = self._rest + self._decoder.decode(chunk, final)
        *finished, rest = text.split("\n")
        if len(rest) > 2**16 or final:
            finished, rest = [*finished, *([rest] if rest else [])], ""
        # of what is overwritten only the last state counts; a \r at the very end may be half of a \r\n
        self._rest = rest[rest.rfind("\r", 0, len(rest.rstrip("\r"))) + 1 :]
        return [_shown(line) for line in finished]

    @property
    def bar(self) -> str:
        """The line that is not finished: a progress bar, most often."""
        return _shown(self._rest)


def _shown(line: str) -> str:
    """What is left of a line when every carriage return has overwritten what was before it."""
    return _ESCAPES.sub("", next((part for part in reversed(line.split("\r")) if part.strip()), ""))


class Sayer:
    """Passes lines on, at most once every few seconds, the latest state of a progress bar with them.

    Of a flood only its beginning and end are passed on: the whole of it is in the file.
    """

    def __init__(self, say: Callable[[str], None], file: Path, seconds: float) -> None:
        self._say, self._file, self._seconds = say, file, seconds
        self._lines: list[str] = []
        self._last = time.monotonic()
        self._bar = ""

    def add(self, lines: Sequence[str]) -> None:
        self._lines += lines

    def due(self) -> bool:
        return time.monotonic() - self._last >= self._seconds

    def flush(self, bar: str = "") -> None:
        """Pass on what has come together, and the bar where it has moved."""
        said = [line[:_LINE] for line in self._lines if line.strip()]
        if bar and bar != self._bar:
            said.append(bar[:_LINE])
        if len(said) > _SAY_LINES:
            half = _SAY_LINES // 2
            said = [*said[:half], f"… {len(said) - 2 * half:,} more lines in {self._file} …", *said[-half:]]
        if said:
            self._say("\n".join(said))
        self._lines, self._bar, self._last = [], bar, time.monotonic()


def run(
    command: Sequence[str],
    log: Path,
    say: Callable[[str], None],
    *,
    given: Mapping[str, str] | None = None,
    stop: Event | None = None,
    seconds: float | None = None,
    within: Path | None = None,
    grace: float = 15.0,
    every: float = 3.0,
) -> Finished:
    """Run a command to its end, or until `stop` is set or the time is over; its output goes to `log` and, in pieces, to
    `say`. `given` are variables of its environment beside ours, `within` is the folder where it works.

    On the way out every process of it gets SIGTERM, and SIGKILL after `grace` seconds. Prefect kills a cancelled flow
    30 s after it has told it so; the grace must be well below.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    lines, sayer, tail, cut = Lines(), Sayer(say, log, every), deque[str](maxlen=TAIL), None
    end_at = time.monotonic() + seconds if seconds else float("inf")
    with log.open("w", encoding="utf-8") as file:

        def keep(found: Sequence[str]) -> None:
            file.writelines(f"{line}\n" for line in found)
            sayer.add(found)
            tail.extend(line[:_LINE] for line in found if line.strip())

        process = subprocess.Popen(
            [*dies_with_us(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=within,
            env=with_mark(os.environ, mark) | {"PYTHONUNBUFFERED": "1", "PATH": path_with_ours()} | dict(given or {}),
        )
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        try:
            open_ = True
            while cut is None:
                if open_:
                    readable = bool(select.select([pipe], [], [], 0.2)[0])
                    chunk = os.read(pipe, 2**16) if readable else b""
                    open_ = bool(chunk) or not readable
                else:  # it has closed its output, and may still work
                    time.sleep(0.1)
                    chunk = b""
                if not chunk and process.poll() is not None:  # what it left behind may hold the pipe for ever
                    break
                keep(lines.feed(chunk))
                if sayer.due():
                    file.write(f"{lines.bar}\n" if lines.bar else "")
                    file.flush()
                    sayer.flush(lines.bar)
                if stop is not None and stop.is_set():
                    cut = "stopped"
                elif time.monotonic() > end_at:
                    cut = "deadline"
        finally:
            end_all(mark, grace, process)
            with suppress(OSError):
                os.set_blocking(pipe, False)
                while chunk := os.read(pipe, 2**16):
                    keep(lines.feed(chunk))
            keep(lines.feed(b"", final=True))
            sayer.flush()
            process.stdout.close()
    return Finished(process.returncode, list(tail), cut)


def path_with_ours() -> str:
    """The path of commands, with those beside this Python first: a worker may be started without them."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def dies_with_us() -> list[str]:
    """What makes the kernel end a command when the thread that started it is gone, by a kill -9 for instance."""
    return ["setpriv", "--pdeathsig", "TERM"] if sys.platform == "linux" and shutil.which("setpriv") else []


def with_mark(environment: Mapping[str, str], mark: str) -> dict[str, str]:
    """The environment of a command that is to be found again, by those who started its starter, too."""
    return {**environment, MARK: f"{environment.get(MARK, '')} {mark}".strip()}


def started_by(session: int, mark: str) -> list[psutil.Process]:
    """The living processes of this session or with this mark: who begins a session of its own keeps the mark, and who
    writes a title over its environment, as Ray's do, keeps the session."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_one = os.getsid(process.pid) == session or mark in process.environ().get(MARK, "").split()
            if is_one and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_all(mark: str, grace: float, started: "subprocess.Popen[bytes]") -> None:
    """SIGTERM to every process of the session that was started, or with this mark, and SIGKILL when the grace is over;
    waits until none is left."""
    begin, told = time.monotonic(), set[tuple[int, int]]()
    while living := [process for process in started_by(started.pid, mark) if process.pid != os.getpid()]:
        elapsed = time.monotonic() - begin
        if elapsed > grace + 10:  # not even SIGKILL ends one that waits for a broken disk
            break
        kind = signal.SIGTERM if elapsed < grace else signal.SIGKILL
        for process in living:
            if (process.pid, kind) not in told:
                told.add((process.pid, kind))
                with suppress(psutil.Error):
                    process.send_signal(kind)
        started.poll()
        time.sleep(0.1)
    with suppress(subprocess.TimeoutExpired):
        started.wait(timeout=1)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Who ends others is not ended itself: Prefect and an impatient user signal twice."""
    if current_thread() is not main_thread():
        yield
        return
    before = {kind: signal.signal(kind, signal.SIG_IGN) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
