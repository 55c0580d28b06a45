"""`make repro`'s command on small graphs of shell commands: real DVC, real processes."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo

from flows.lock import Entries, written_together
from flows.machine import has_several_processes, settings
from flows.repro import at_once
from flows.slots import share
from tests.flows.conftest import Make, locked, wait_for, within


def repro(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "flows.repro", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_siblings_run_at_the_same_time_and_the_lock_is_that_of_dvc(diamond: Path) -> None:
    done = repro(diamond, "--jobs", "2")  # they could not end one after the other

    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert [line for line in said if " = ran, " in line and line.endswith(" s")][-1].startswith("bottom = ran, ")
    assert all(line[:6].strip() in ("top", "left", "right", "bottom") for line in said[:-1])
    made = locked(diamond)

    # nothing has changed: no stage is asked about
    for log in (diamond / "logs").iterdir():
        log.unlink()
    again = repro(diamond)
    assert again.stdout.startswith("All is up to date")
    assert list((diamond / "logs").iterdir()) == []

    (diamond / "dvc.lock").unlink()
    subprocess.run(["dvc", "repro", "--quiet"], cwd=diamond, check=True)
    assert made == locked(diamond)


def test_a_failure_stops_what_follows_leaves_the_rest_and_the_next_run_goes_on(repository: Make) -> None:
    folder = repository(
        {
            "fails": {"cmd": "test -e mended && touch fails.out", "outs": ["fails.out"]},
            "follows": {"cmd": "touch follows.out", "deps": ["fails.out"], "outs": ["follows.out"]},
            "beside": {"cmd": "sleep 1; echo >> beside.runs; echo x > beside.out", "outs": ["beside.out"]},
            "after": {"cmd": "cp beside.out after.out", "deps": ["beside.out"], "outs": ["after.out"]},
        }
    )

    done = repro(folder, "--jobs", "2")

    assert done.returncode == 1
    assert "repro: failed: fails; not begun, as they need it: follows; all else is made" in done.stderr
    assert "fails ended with exit code 255; its output is in logs/fails.log" in done.stdout
    assert sorted(locked(folder)["stages"]) == ["after", "beside"]

    (folder / "mended").touch()
    assert repro(folder).returncode == 0
    assert sorted(locked(folder)["stages"]) == ["after", "beside", "fails", "follows"]
    assert (folder / "beside.runs").read_text() == "\n"


def test_a_full_disk_below_a_log_fails_that_stage_and_no_other(repository: Make) -> None:
    folder = repository(
        {
            "one": {"cmd": "touch one.out", "outs": ["one.out"]},
            "beside": {"cmd": "sleep 5; touch beside.out", "outs": ["beside.out"]},
            "after": {"cmd": "touch after.out", "deps": ["beside.out"], "outs": ["after.out"]},
        }
    )
    (folder / "logs").mkdir()
    (folder / "logs/one.log").symlink_to("/dev/full")

    done = repro(folder, "--jobs", "2")

    assert done.returncode == 1
    assert "one    = one ended: [Errno 28] No space left on device; the disk is full: free some space" in done.stdout
    assert done.stderr == "repro: failed: one; all else is made, and the next run goes on from here\n"
    assert sorted(locked(folder)["stages"]) == ["after", "beside"]


def waiting(repository: Make) -> Path:
    """A stage that is done at once, and two behind it that wait until there is a file `go`."""
    behind = {
        name: {
            "cmd": f"touch {name}.begun; test -e go || sleep 300; cp done.out {name}.out",
            "deps": ["done.out"],
            "outs": [f"{name}.out"],
        }
        for name in ("one", "two")
    }
    done = {"cmd": "echo >> done.runs; echo x > done.out", "deps": ["params.yaml"], "outs": ["done.out"]}
    return repository({"done": done, **behind})


@contextmanager
def begun(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A run in which the two are at work."""
    command = [sys.executable, "-m", "flows.repro", "--jobs", "2"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        wait_for((folder / "one.begun").exists)
        wait_for((folder / "two.begun").exists)
        yield process


@pytest.mark.parametrize("kind", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_run_leaves_no_process_and_what_it_had_made(repository: Make, kind: signal.Signals) -> None:
    folder = waiting(repository)
    with begun(folder) as process:
        process.send_signal(kind)
        said = process.communicate()[1]

    assert process.returncode == 130
    assert "repro: stopped; the next run goes on from here" in said
    assert within(folder) == []
    assert sorted(locked(folder)["stages"]) == ["done"]

    (folder / "go").touch()
    assert repro(folder).returncode == 0
    assert (folder / "done.runs").read_text() == "\n"


@pytest.mark.slow
def test_what_a_kill_takes_from_the_lock_comes_out_of_the_cache(repository: Make) -> None:
    folder = waiting(repository)
    with begun(folder):
        for process in within(folder):
            process.kill()
    assert not (folder / "dvc.lock").exists()

    (folder / "go").touch()
    assert repro(folder).returncode == 0
    assert (folder / "done.runs").read_text() == "\n"
    assert sorted(locked(folder)["stages"]) == ["done", "one", "two"]


def test_a_kill_of_the_command_alone_ends_its_stages(repository: Make) -> None:
    folder = waiting(repository)
    with begun(folder) as process:
        process.kill()
        process.communicate()
        wait_for(lambda: not within(folder), 20.0)


def test_entries_that_are_written_together_are_those_of_dvc_to_the_byte(repository: Make) -> None:
    folder = repository(
        {
            "first": {
                "cmd": "mkdir -p data/folder metrics; echo 1 > data/folder/a; echo 2 > data/folder/b; echo x > data/x",
                "deps": ["in.txt"],
                "params": ["one.rate", "one.names", "none"],
                "outs": ["data/folder", "data/x"],
            },
            "second": {
                "cmd": "echo '{}' > metrics/second.json",
                "deps": ["data/folder", "data/x"],
                "params": [{"params.yaml": None}],
                "metrics": [{"metrics/second.json": {"cache": False}}],
            },
        }
    )
    (folder / "in.txt").write_text("é\n")
    settings = {"one": {"rate": 1e-05, "names": ["a: b", "é", "- c", "007", None], "on": "yes"}, "none": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    other = "schema: '2.0'\nstages:\n  gone:  # of another branch\n    cmd: 'true'\n"
    (folder / "dvc.lock").write_text(other)

    assert repro(folder).returncode == 0
    ours = (folder / "dvc.lock").read_bytes()
    (folder / "dvc.lock").write_text(other)
    subprocess.run(["dvc", "repro", "--quiet"], cwd=folder, check=True)

    assert b"of another branch" in ours
    assert ours == (folder / "dvc.lock").read_bytes()


def test_entries_are_written_while_stages_work_and_kept_while_that_fails(
    repository: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository({name: {"cmd": "true", "outs": [f"{name}.out"]} for name in ("one", "two")}))
    lock, entry = Path("dvc.lock"), Path("entry.yaml")
    with written_together(every=0.05) as entries:
        entries.take(Path("none.yaml"))  # of a stage that was up to date
        entry.write_text("dvc.lock: {one: {cmd: 'true'}}")
        entries.take(entry)
        wait_for(lambda: lock.exists() and "one" in lock.read_text())

        whole = lock.read_text()
        lock.write_text("stages: {")
        entry.write_text("dvc.lock: {two: {cmd: 'true'}}")
        entries.take(entry)
        with pytest.raises(DvcException):
            entries.write()
        lock.write_text(whole)

    assert sorted(locked(Path())["stages"]) == ["one", "two"]


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """A write beyond that fails as one on a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_ends_in_the_middle_leaves_the_lock_and_the_next_one_has_all_entries(
    repository: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository({}))
    lock = Path("dvc.lock")
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": {"old": {"cmd": "true " * 200_000}}}))
    whole = lock.read_bytes()
    files = sorted(Path().iterdir())
    entries = Entries()
    entries.add({"dvc.lock": {"new": {"cmd": "true"}}})

    with no_file_longer_than(len(whole) // 2), pytest.raises(RuntimeError, match="File too large.*let no `dvc gc`"):
        entries.write()
    assert lock.read_bytes() == whole
    assert sorted(Path().iterdir()) == files

    entries.write()
    assert sorted(locked(Path())["stages"]) == ["new", "old"]


def test_what_is_edited_while_a_stage_works_is_not_recorded_as_what_it_was_made_of(repository: Make) -> None:
    folder = repository(
        {
            "copies": {
                "cmd": "cp in.txt seen.out; touch begun; while ! test -e go; do sleep .05; done",
                "deps": ["in.txt"],
                "params": ["rate"],
                "outs": ["seen.out"],
            },
            "whole": {
                "cmd": "cp params.yaml whole.out",
                "deps": ["params.yaml"],
                "params": ["rate"],
                "outs": ["whole.out"],
            },
        }
    )
    text, params = folder / "in.txt", folder / "params.yaml"
    text.write_text("old")
    params.write_text("rate: 1\n")
    command = [sys.executable, "-m", "flows.repro", "--jobs", "1"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as run:
        try:
            wait_for((folder / "begun").exists)
            text.write_text("new")
            params.write_text("rate: 2\n")
        finally:
            (folder / "go").touch()
        said = run.communicate()[0]

    assert run.returncode == 1 and "there changed in.txt, params.yaml; what it made is not recorded" in said
    assert "copies" not in locked(folder)["stages"]
    assert repro(folder).returncode == 0
    assert (folder / "seen.out").read_text() == "new"


def test_an_entry_that_waits_does_not_replace_what_somebody_has_made_since(
    repository: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"cmd": "echo ${rate} > rate.out", "params": ["rate"], "outs": ["rate.out"]}
    monkeypatch.chdir(repository({"one": stage, "two": {"cmd": "true > two.out", "outs": ["two.out"]}}))
    lock, params = Path("dvc.lock"), Path("params.yaml")
    params.write_text("rate: 1\n")
    subprocess.run(["dvc", "repro", "--quiet"], check=True)
    entries = Entries()
    Path("entry.yaml").write_text(yaml.safe_dump({"dvc.lock": locked(Path())["stages"]}, sort_keys=False))
    entries.take(Path("entry.yaml"))
    params.write_text("rate: 2\n")
    subprocess.run(["dvc", "repro", "--quiet", "one"], check=True)
    theirs = lock.read_bytes()

    entries.write()

    assert lock.read_bytes() == theirs and "rate: 2" in theirs.decode()


def test_the_last_entries_wait_for_another_dvc_only_so_long(repository: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository({"one": {"cmd": "true", "outs": ["one.out"]}}))
    entries = Entries()
    entries.add({"dvc.lock": {"one": {"cmd": "true"}}})

    with Repo() as other, lock_repo(other), pytest.raises(RuntimeError, match="another DVC holds dvc.lock.*takes it"):
        entries.write(patience=0.2)
    entries.write()

    assert sorted(locked(Path())["stages"]) == ["one"]


def test_who_interrupts_while_another_dvc_holds_the_lock_is_told_and_it_stays_an_interrupt(
    repository: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository({"one": {"cmd": "true", "outs": ["one.out"]}}))
    monkeypatch.setattr("flows.lock.PATIENCE", 0.1)

    with Repo() as other, lock_repo(other):
        with pytest.raises(KeyboardInterrupt), written_together() as entries:
            entries.add({"dvc.lock": {"one": {"cmd": "true"}}})
            raise KeyboardInterrupt
        with pytest.raises(RuntimeError, match="another DVC holds"), written_together() as entries:
            entries.add({"dvc.lock": {"one": {"cmd": "true"}}})

    assert "another DVC holds dvc.lock" in capsys.readouterr().err


def test_a_frozen_stage_is_saved_whatever_has_changed(repository: Make) -> None:
    folder = repository(
        {"copies": {"cmd": "cp in.txt made.out", "deps": ["in.txt"], "outs": ["made.out"], "frozen": True}}
    )
    (folder / "in.txt").write_text("old")
    subprocess.run(["dvc", "repro", "--quiet", "--force"], cwd=folder, check=False)
    for text in ("by hand", "again"):
        (folder / "in.txt").write_text(text)
        (folder / "made.out").write_text(text)
        assert repro(folder).returncode == 0
        assert (folder / "made.out").read_text() == text


def test_who_is_told_that_the_disk_is_full_finds_what_was_made_in_the_lock(repository: Make) -> None:
    folder = repository(
        {
            "one": {"cmd": "touch one.out", "outs": ["one.out"]},
            "fails": {
                "cmd": "echo No space left on device; exit 1",
                "deps": ["one.out"],
                "outs": ["fails.out"],
            },  # fmt: skip
            "slow": {"cmd": "while ! test -e go; do sleep .05; done; touch slow.out", "outs": ["slow.out"]},
        }
    )
    command = [sys.executable, "-m", "flows.repro", "--jobs", "2"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        try:
            told = next(line for line in run.stdout if "the disk is full" in line)
            there = locked(folder)["stages"]
        finally:
            (folder / "go").touch()
        run.communicate()

    assert "once no run is at work" in told and [*there] == ["one"]


def test_a_wrong_name_is_told_before_anything_runs(diamond: Path) -> None:
    refused = repro(diamond, "botom")

    assert refused.returncode == 1
    assert refused.stderr == "repro: targets: 'botom' is no stage of dvc.yaml; did you mean bottom?\n"
    assert repro(diamond, "--jobs", "0").returncode == 2
    assert not (diamond / "dvc.lock").exists()


@pytest.mark.parametrize(
    ("cores", "devices", "launch", "threads", "expected"),
    [
        (2, 0, {"use_cpu": True, "num_processes": 1}, 1, (2, None)),
        (1, 0, {"use_cpu": True, "num_processes": 1}, 1, (1, None)),
        (8, 0, {"use_cpu": True, "num_processes": 1}, 2, (1, None)),  # a large model
        (64, 0, {"use_cpu": True, "num_processes": 1}, 1, (4, None)),
        (8, 0, {"use_cpu": True, "num_processes": 4}, 1, (1, None)),  # they would meet at one port
        (16, 1, {"use_cpu": False, "num_processes": 1}, 1, (1, 1)),
        (16, 8, {"use_cpu": False, "num_processes": 1}, 1, (8, 8)),
        (16, 8, {"use_cpu": False, "num_processes": 4}, 1, (1, 1)),
        (16, 0, {"use_cpu": False, "num_processes": 1}, 1, (1, 1)),
    ],
)
def test_as_many_at_once_as_there_are_cores_or_accelerators_for(
    cores: int, devices: int, launch: dict[str, object], threads: int, expected: tuple[int, int | None]
) -> None:
    assert at_once(cores, devices, launch, {"threads": threads}) == expected


@pytest.mark.parametrize(
    ("devices", "launch", "expected"),
    [
        (0, {"use_cpu": True, "num_processes": 1}, (3, None)),
        (0, {"use_cpu": True, "num_processes": 2}, (3, 1)),  # two stages of two processes would meet at one port
        (4, {"use_cpu": False, "num_processes": 4}, (3, 1)),
        (2, {"use_cpu": False, "num_processes": 1}, (3, 2)),  # a device has one
        (8, {"use_cpu": False, "num_processes": 1}, (3, 3)),
    ],
)
def test_who_asks_for_stages_at_once_has_no_more_gpu_tasks_than_there_is_room_for(
    devices: int, launch: dict[str, object], expected: tuple[int, int | None]
) -> None:
    assert at_once(16, devices, launch, {}, 3) == expected


@pytest.mark.parametrize(
    ("text", "said"), [("threads: [", "is not YAML"), ("threads=2", "holds 'threads=2': write `key: value`")]
)
def test_a_file_of_the_machine_without_keys_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "hardware.yaml"
    file.write_text(text)

    with pytest.raises(ValueError, match=f"hardware.yaml {said}"):
        settings(file)


def test_a_stage_of_several_processes_has_the_devices_to_itself_in_a_nightly_run_too() -> None:
    assert has_several_processes({"num_processes": 2, "distributed_type": "MULTI_GPU"})
    assert not has_several_processes({"num_processes": 1}) and not has_several_processes({})


def test_gpu_tasks_beside_each_other_have_devices_of_their_own() -> None:
    assert [share(place, 2, ["0", "1", "2", "3"]) for place in (0, 1)] == [
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        {"CUDA_VISIBLE_DEVICES": "2,3"},
    ]
    assert share(1, 2, ["5", "7"]) == {"CUDA_VISIBLE_DEVICES": "7"}
    assert share(0, 1, ["0", "1"]) == {}  # one alone sees all
    assert [share(place, 3, ["5", "7"])["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["5", "7", "5"]
    assert share(1, 2, ["0"]) == share(1, 2, []) == {}  # they take turns, or there are none
