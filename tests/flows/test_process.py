"""Commands that misbehave as stages do: real processes, and none of them left."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from threading import Event, Timer

import psutil
import pytest

from flows.background import free_ports
from flows.process import Lines, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def living(word: str) -> list[int]:
    """The processes with this word in their command."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if any(word in part for part in process.info["cmdline"] or []) and process.info["status"] != "zombie":
            found.append(process.pid)
    return found


def gone(word: str) -> bool:
    """Whether they end within a minute."""
    for _ in range(600):
        if not living(word):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def word() -> str:
    return f"word-{uuid.uuid4().hex}"


# -- lines ------------------------------------------------------------------------------------------------------------


def test_only_the_last_state_of_a_bar_is_a_line() -> None:
    lines = Lines()

    assert lines.feed(b"start\n\r 10%|#\r 20%|##") == ["start"]
    assert lines.bar == " 20%|##"
    assert lines.feed(b"\r100%|##########\nend\r\n") == ["100%|##########", "end"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_lines_do_not_depend_on_where_the_pipe_cuts_them(size: int) -> None:
    text = "één\r\n\r5%\r50%\n\x1b[31mrød\x1b[0m\nlast".encode()
    lines = Lines()

    found = [line for at in range(0, len(text), size) for line in lines.feed(text[at : at + size])]

    assert found + lines.feed(b"", final=True) == ["één", "50%", "rød", "last"]


def test_bytes_that_are_no_utf8_are_shown_as_such() -> None:
    assert Lines().feed(b"a\xffb\n") == ["a�b"]


# -- commands ---------------------------------------------------------------------------------------------------------


def test_both_streams_come_in_their_order_and_the_tail_is_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    code = "import sys\nfor i in range(60): print(i, file=(sys.stdout, sys.stderr)[i % 2], flush=True)\nsys.exit(3)"

    done = run(python(code), tmp_path / "logs" / "x.log", said.append)

    assert done.returncode == 3
    assert done.tail == [str(i) for i in range(10, 60)]
    assert (tmp_path / "logs" / "x.log").read_text().split() == [str(i) for i in range(60)]
    # 60 lines at once are a flood: 20 of its beginning and 20 of its end
    assert "\n".join(said).splitlines() == [
        *(str(i) for i in range(20)),
        f"… 20 more lines in {tmp_path}/logs/x.log …",
        *(str(i) for i in range(40, 60)),
    ]


def test_ten_megabytes_of_bars_on_stderr_block_nothing_and_are_a_few_lines(tmp_path: Path) -> None:
    said: list[str] = []
    code = """
import sys
bar = "\\r{:>8}/100000 |" + "#" * 80
for i in range(100000): sys.stderr.write(bar.format(i + 1))
sys.stderr.write("\\n"); print("done")
"""
    done = run(python(code), tmp_path / "x.log", said.append, every=0.2)

    assert done.returncode == 0
    assert done.tail[-2].startswith("  100000/100000 |")
    assert done.tail[-1] == "done"
    # 100,000 states of 100 bytes went through the pipe
    assert (tmp_path / "x.log").stat().st_size < 100_000
    assert sum(map(len, said)) < 100_000


def test_a_stopped_command_takes_its_children_along_that_ignore_sigterm_or_have_a_session_of_their_own(
    tmp_path: Path, word: str
) -> None:
    code = f"""
import signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
stubborn += "print('ready', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", stubborn, "{word}"])
subprocess.Popen([sys.executable, "-c", stubborn, "{word}"], start_new_session=True)
time.sleep(600)
"""
    stop, said = Event(), list[str]()

    def say(text: str) -> None:
        said.append(text)
        if "".join(said).count("ready") >= 2:  # the two may share a line, and a line may be said again
            stop.set()

    done = run(python(code), tmp_path / "x.log", say, stop=stop, grace=1.0, every=0.1)

    assert done.cut == "stopped"
    assert living(word) == []


def test_a_command_has_its_grace_to_end_well(tmp_path: Path) -> None:
    code = """
import signal, sys, time
def end(*_): time.sleep(0.5); print("saved", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True); time.sleep(600)
"""
    stop = Event()

    done = run(python(code), tmp_path / "x.log", lambda text: stop.set(), stop=stop, every=0.1)

    assert (done.cut, done.tail) == ("stopped", ["ready", "saved"])


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path, word: str) -> None:
    done = run(python(f"import time; time.sleep(600)  # {word}"), tmp_path / "x.log", print, seconds=0.5)

    assert done.cut == "deadline"
    assert living(word) == []


def test_what_a_command_leaves_behind_neither_holds_it_up_nor_stays(tmp_path: Path, word: str) -> None:
    command = ["sh", "-c", f"{sys.executable} -c 'import time; time.sleep(600)' {word} & echo done"]

    done = run(command, tmp_path / "x.log", print)

    assert (done.returncode, done.tail, done.cut) == (0, ["done"], None)
    assert living(word) == []


def test_a_command_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep(1); os._exit(7)"

    assert run(python(code), tmp_path / "x.log", print).returncode == 7


@pytest.mark.skipif(sys.platform != "linux", reason="setpriv is Linux's")
def test_a_command_ends_when_the_flow_is_killed(tmp_path: Path, word: str) -> None:
    command = [sys.executable, "-c", f"import time; time.sleep(600)  # {word}"]
    code = "from pathlib import Path; from flows.process import run; "
    code += f"run({command!r}, Path({str(tmp_path / 'x')!r}), print)"
    with subprocess.Popen([sys.executable, "-c", code]) as flow:
        for _ in range(300):
            if set(living(word)) - {flow.pid}:
                break
            time.sleep(0.1)
        assert set(living(word)) - {flow.pid}
        os.kill(flow.pid, signal.SIGKILL)

    assert gone(word)


def test_stop_is_seen_while_a_command_says_nothing(tmp_path: Path) -> None:
    stop = Event()
    Timer(0.5, stop.set).start()

    assert run(python("import time; time.sleep(600)"), tmp_path / "x.log", print, stop=stop).cut == "stopped"


def test_of_many_free_ports_no_two_are_alike() -> None:
    assert len(set(free_ports(500))) == 500
