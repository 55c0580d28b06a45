"""Stages that are forked from a warm parent, beside accelerate's own launcher; the parent here imports little."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.failures import hint
from warm import child
from warm.launch import ADDRESS

ROOT = Path(__file__).parents[2]

PARENT = """
import sys
from warm import parent
parent.IMPORTS[:] = ["accelerate.commands.launch", "elsewhere"]
parent.NAMES.clear()
parent.run(*sys.argv[1:])
"""
OWNER = """
import os, sys, time
from warm import start
start.PARENT = ["-c", sys.argv[1]]
process = start.begin()
print(process.pid, os.environ["SYNTHALIGN_WARM"], flush=True)
sys.stdin.read()
"""
STAGE = """
import json, os, sys
print("to stderr", file=sys.stderr)
print(json.dumps({
    "argv": sys.argv, "folder": os.getcwd(), "path": [os.path.realpath(one) for one in sys.path],
    "name": __name__, "read": sys.stdin.read(),
    "environment": dict(os.environ), "mask": os.umask(0),
    "warm": sorted(name for name in sys.modules if "warm." in name),
}))
"""
SLEEPER = """
import subprocess, sys, time
from pathlib import Path
below = subprocess.Popen(["sleep", "600"])
Path("started").write_text(str(below.pid))
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted")
    raise SystemExit(130)
"""
ONE_PROCESS = (ROOT / "accelerate/cpu.yaml").read_text(encoding="utf-8")


def stage(code: str, name: str = "one") -> None:
    Path("stages").mkdir(exist_ok=True)
    Path("stages/__init__.py").touch()
    Path(f"stages/{name}.py").write_text(code)


def settings(folder: Path) -> dict[str, str]:
    """The environment of an owner: `elsewhere` is other people's package."""
    paths = f"{folder / 'packages'}:{ROOT}"
    named = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"} | named


def own(folder: Path) -> "tuple[subprocess.Popen[str], int, dict[str, str]]":
    """An owner, the process id of its warm parent, and the environment of what it starts."""
    (folder / "packages").mkdir()
    (folder / "packages/elsewhere.py").touch()
    (folder / "accelerate.yaml").write_text(ONE_PROCESS)
    command = [sys.executable, "-c", OWNER, PARENT]
    owner = subprocess.Popen(
        command, cwd=folder, env=settings(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pid, address = owner.stdout.readline().split()
    return owner, int(pid), settings(folder) | {ADDRESS: address}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of what runs beside a warm parent."""
    owner, _, environment = own(tmp_path_factory.mktemp("owner"))
    yield environment
    owner.kill()
    owner.wait()


@pytest.fixture
def told(warm: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same with a command accelerate-launch that says its words alone: that of accelerate takes seconds."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/accelerate-launch"
    script.write_text('#!/bin/sh\necho "accelerate-launch $@"\n')
    script.chmod(0o755)
    return warm | {"PATH": f"{script.parent}:{warm['PATH']}"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "accelerate.yaml").write_text(ONE_PROCESS)
    return tmp_path


def command(*words: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "warm.launch",
        "--quiet",
        "--config_file",
        "accelerate.yaml",
        "-m",
        "stages.one",
        *words,
    ]


def launch(environment: dict[str, str], *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*words), env=environment, capture_output=True, text=True, timeout=120, **more)


def begin(environment: dict[str, str]) -> "tuple[subprocess.Popen[str], list[psutil.Process]]":
    """A launcher whose stage sleeps; the stage and what that has started."""
    stage(SLEEPER)
    launcher = subprocess.Popen(command(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: Path("started").exists() and bool(Path("started").read_text()))
    below = psutil.Process(int(Path("started").read_text()))
    above = below.parent()
    assert above is not None
    return launcher, [above, below]


def until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("not within 30 s")


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_launch_does_not_tell_again_how_many_threads_it_took(tmp_path: Path) -> None:
    (tmp_path / "accelerate.yaml").write_text((ROOT / "accelerate/cpu.yaml").read_text())
    script = """
import os, psutil
psutil.cpu_count = lambda logical: 2  # of two whole cores accelerate tells it, with --quiet too
from warm import child
environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
words = ["--quiet", "--config_file", "accelerate.yaml", "-m", "stages.one"]
print(child.launched(words, environment)[1]["OMP_NUM_THREADS"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("2\n", "", 0)


def test_a_forked_stage_has_what_accelerates_launcher_would_have_given_it(warm: dict[str, str]) -> None:
    stage(STAGE)

    ours = launch(warm, "a", "b c", input="some input")
    its = launch({name: value for name, value in warm.items() if name != ADDRESS}, "a", "b c", input="some input")

    forked, launched = json.loads(ours.stdout), json.loads(its.stdout)
    left_out = {"SYNTHALIGN_LAUNCHER", ADDRESS, "SYNTHALIGN_WARM_STARTED"}
    for said in (forked, launched):
        said["environment"] = {k: v for k, v in said["environment"].items() if k not in left_out}
    assert forked == launched
    assert forked["argv"][1:] == ["a", "b c"] and forked["read"] == "some input"
    assert forked["environment"]["ACCELERATE_USE_CPU"] == "True"
    assert (ours.stderr, ours.returncode) == (its.stderr, its.returncode) == ("to stderr\n", 0)


@pytest.mark.parametrize(
    "code",
    ["raise ValueError('no')", "import os; os.kill(os.getpid(), 9)", "import os; os._exit(2)"],
)
def test_a_stage_that_ends_badly_makes_its_launcher_end_with_1(warm: dict[str, str], code: str) -> None:
    stage(code)

    ended = launch(warm)

    assert ended.returncode == 1
    assert ("ValueError: no" in ended.stderr) == ("ValueError" in code)
    assert ("ended by SIGKILL" in ended.stderr) == ("kill" in code) == ("of memory" in (hint(ended.stderr) or ""))
    assert "starts this stage" not in ended.stderr


def test_an_edited_file_counts_at_once(warm: dict[str, str]) -> None:
    stage("import os; from stages import other; print(other.said, flush=True); os._exit(0)")

    for said in ("one", "another one"):
        stage(f"said = {said!r}", "other")
        assert launch(warm).stdout == f"{said}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_reaches_the_stage_and_what_it_started(
    warm: dict[str, str], number: signal.Signals
) -> None:
    launcher, below = begin(warm)

    launcher.send_signal(number)

    said, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == -number
    assert ("interrupted" in said) == (number == signal.SIGINT)
    until(lambda: all(map(gone, below)))


def test_a_stage_ends_with_its_launcher_and_takes_along_what_it_started(warm: dict[str, str]) -> None:
    launcher, below = begin(warm)

    launcher.kill()

    until(lambda: all(map(gone, below)))


def test_a_killed_owner_takes_along_the_parent_its_stages_and_its_folder(tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    owner, pid, environment = own(tmp_path / "owner")
    launcher, (forked, _) = begin(environment)
    socket = Path(environment[ADDRESS])
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700

    owner.kill()

    owner.wait()
    until(lambda: gone(psutil.Process(pid)) if psutil.pid_exists(pid) else True)
    until(lambda: gone(forked) and not socket.parent.exists())
    _, said = launcher.communicate(timeout=30)
    assert launcher.returncode == 1
    assert "the parent of this stage was killed" in said


@pytest.mark.parametrize(
    ("differs", "file", "reason"),
    [
        ({"OMP_NUM_THREADS": "2"}, ONE_PROCESS, "OMP_NUM_THREADS in the environment"),
        ({"HF_ENDPOINT": "x", "MKL_CBWR": "AUTO"}, ONE_PROCESS, "HF_ENDPOINT, MKL_CBWR in the environment"),
        ({"SYNTHALIGN_HARDWARE": "other.yaml"}, ONE_PROCESS, "SYNTHALIGN_HARDWARE in the environment"),
        ({}, ONE_PROCESS.replace("num_processes: 1", "num_processes: 2"), "accelerate.yaml is not one of one process"),
    ],
)
def test_accelerate_launch_starts_what_may_not_be_forked(
    told: dict[str, str], differs: dict[str, str], file: str, reason: str
) -> None:
    stage("print('forked')")
    Path("accelerate.yaml").write_text(file)

    ended = launch(told | differs, "a", "b c")

    assert ended.stdout == "accelerate-launch --quiet --config_file accelerate.yaml -m stages.one a b c\n"
    assert f"warm: {reason}" in ended.stderr and "accelerate-launch starts this stage" in ended.stderr


@pytest.mark.parametrize("address", [None, "nobody"])
def test_without_a_parent_accelerate_launch_starts_the_stage(told: dict[str, str], address: str | None) -> None:
    there = {name: value for name, value in told.items() if name != ADDRESS} | ({ADDRESS: address} if address else {})

    ended = launch(there, "a")

    assert ended.stdout == "accelerate-launch --quiet --config_file accelerate.yaml -m stages.one a\n"
    assert (ended.stderr, ended.returncode) == ("", 0)


def test_a_stage_belongs_to_its_launcher_and_not_to_the_parent(warm: dict[str, str]) -> None:
    stage("from synthalign.core import stage; print([one.cmdline()[2] for one in stage.starters()])")

    assert launch(warm).stdout == "['warm.launch']\n"


def test_what_libraries_set_as_they_are_imported_is_no_difference_and_neither_is_what_they_never_read() -> None:
    before = {"HOME": "/a", "DVC_STAGE": "one", "PWD": "/a"}

    assert child.differences(before, {"HOME": "/a", "DVC_STAGE": "other", "SHLVL": "2"}) == []
    assert child.differences(before, {"HOME": "/b", "CUDA_VISIBLE_DEVICES": "0"}) == ["CUDA_VISIBLE_DEVICES", "HOME"]


def test_a_changed_file_of_a_package_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "another_package.py"
    file.write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    imports = child.imports(lambda: __import__("another_package"))

    assert imports.changed() == []
    os.utime(file, (0, 0))
    assert imports.changed() == [str(file)]


def test_a_hardware_file_that_comes_after_the_imports_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    imports = child.imports(lambda: None)

    assert imports.changed() == []
    Path("hardware.yaml").write_text("threads: 2\n")
    assert imports.changed() == [str(tmp_path / "hardware.yaml")]


def test_a_process_with_a_second_thread_is_unfit_to_fork_from() -> None:
    code = (
        "import threading; from warm import parent; print(parent.unfit());"
        "held = threading.Event(); threading.Thread(target=held.wait, daemon=True).start(); print(parent.unfit())"
    )

    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert said.splitlines()[0] == "None"
    assert "has threads" in said.splitlines()[1]
