"""Settings are strict, errors are one line each, and an interrupted or full-disk stage says what to do next."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import psutil
import pytest
from pydantic import BaseModel, Field
from safetensors import SafetensorError

from synthalign.core import stage
from synthalign.core.errors import UserError


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    steps: int = Field(gt=0)
    rate: float = Field(gt=0)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train"])


def write(text: str) -> None:
    Path("params.yaml").write_text(text)


def test_a_right_section_becomes_its_params() -> None:
    write("train: {steps: 3, rate: 0.1}")

    assert stage.params("train", Params) == Params(steps=3, rate=0.1)


def test_every_wrong_key_is_named_at_once_with_its_value() -> None:
    write("train: {steps: -1, rates: 0.1}")

    with pytest.raises(UserError) as error:
        stage.params("train", Params)

    assert str(error.value).splitlines() == [
        "params.yaml: train.steps = -1: Input should be greater than 0",
        "params.yaml: train.rate: Field required",
        "params.yaml: train.rates = 0.1: Extra inputs are not permitted",
    ]


def test_a_number_in_quotes_is_not_a_number() -> None:
    write("train: {steps: '3', rate: 0.1}")

    with pytest.raises(UserError, match="train.steps = '3': Input should be a valid integer"):
        stage.params("train", Params)


def test_a_missing_section_is_named() -> None:
    write("other: {}")

    with pytest.raises(UserError, match="the section 'train' is missing"):
        stage.params("train", Params)


def exit_code(main: object) -> int | str | None:
    write("train: {steps: 3, rate: 0.1}")
    with pytest.raises(SystemExit) as stopped:
        stage.run(main, "train", Params)  # type: ignore[arg-type]
    return stopped.value.code


def test_a_user_error_is_one_line_and_not_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def main(params: Params) -> None:
        raise UserError("queries.txt, line 3: the query is empty; remove the line")

    assert exit_code(main) == 1
    assert capsys.readouterr().err == "train: queries.txt, line 3: the query is empty; remove the line\n"


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "data/x.parquet"), "data/x.parquet"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), ""),
    ],
    ids=["table", "model"],
)
def test_a_full_disk_says_to_free_space_and_run_again(
    error: Exception, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(params: Params) -> None:
        raise error

    assert exit_code(main) == 1
    said = f"the disk is full ({place or Path.cwd()}); free some space and run it again"
    assert said in capsys.readouterr().err


def test_an_error_that_is_nobodys_fault_keeps_its_traceback() -> None:
    def main(params: Params) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code(main)


def test_ctrl_c_says_that_the_next_run_goes_on_from_here(capsys: pytest.CaptureFixture[str]) -> None:
    def main(params: Params) -> None:
        raise KeyboardInterrupt

    assert exit_code(main) == 130
    assert "interrupted; run it again to go on from here" in capsys.readouterr().err


def test_a_family_without_a_member_shows_its_usage(capsys: pytest.CaptureFixture[str]) -> None:
    def main(params: Params, item: str) -> None:
        raise AssertionError("must not run")

    assert exit_code(main) == 2
    assert "usage: python -m stages.train <member>" in capsys.readouterr().err


def test_metrics_are_the_same_bytes_whatever_the_order_of_their_keys() -> None:
    stage.write_metrics("one", b=1, a=2)
    stage.write_metrics("other", a=2, b=1)

    assert Path("metrics/one.json").read_bytes() == Path("metrics/other.json").read_bytes()
    assert json.loads(Path("metrics/one.json").read_text()) == {"a": 2, "b": 1}


def test_a_metric_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        stage.write_metrics("one", loss=float("nan"))


def test_scratch_belongs_to_the_content_of_its_inputs() -> None:
    file = Path("queries.txt")
    file.write_text("one")
    first = stage.work_dir("train", Params(steps=3, rate=0.1), file)
    file.write_text("two")

    assert stage.work_dir("train", Params(steps=3, rate=0.1), file) != first
    assert stage.work_dir("train", Params(steps=4, rate=0.1), file) != first
    file.write_text("one")
    assert stage.work_dir("train", Params(steps=3, rate=0.1), file) == first


def test_a_run_knows_whether_an_earlier_one_has_left_its_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "gone_on_from", set())

    work = stage.work_dir("train", "settings")
    assert stage.gone_on_from == set()  # it has made the folder itself
    (work / "rows.jsonl").touch()

    assert stage.work_dir("train", "settings") == work
    assert stage.gone_on_from == {work}


ROOT = Path(__file__).resolve().parents[2]
STAGE = """
import sys
from pydantic import BaseModel
from synthalign.core import stage
from synthalign.core.errors import UserError

class Params(BaseModel):
    steps: int

def main(params: Params) -> None:
    if params.steps < 0:
        raise UserError("too few steps")

def member(params: Params, item: str) -> None:
    main(params)

stage.run(member if len(sys.argv) == 2 else main, "train", Params)
"""
LAUNCHER = """
import subprocess, sys, time
time.sleep(1)
sys.exit(subprocess.run([sys.executable, "stage.py"]).returncode)
"""


def run(*command: str, steps: int = 3, rank: int = 0, text: str = STAGE) -> int:
    write(f"train: {{steps: {steps}}}")
    Path("stage.py").write_text(text)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RANK": str(rank)}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True).returncode


def durations() -> list[dict[str, object]]:
    return [json.loads(line) for line in stage.DURATIONS.read_text().splitlines()] if stage.DURATIONS.exists() else []


def test_every_run_that_ends_well_adds_how_long_it_took() -> None:
    assert run("stage.py") == 0
    assert run("stage.py", "rmsp") == 0

    one, member = durations()
    assert (one["stage"], one["item"], member["item"]) == ("train", None, "rmsp")
    assert all(isinstance(row["seconds"], float) and 0 < row["seconds"] < 60 for row in (one, member))
    assert str(one["started"]) <= str(member["started"])
    assert str(one["started"]).endswith("+00:00")


def test_a_run_that_fails_and_a_process_that_does_not_write_add_nothing() -> None:
    assert run("stage.py", steps=-1) == 1
    assert run("stage.py", rank=1) == 0

    assert durations() == []


def test_a_run_that_goes_on_after_an_interrupted_one_says_that_its_time_is_of_the_rest() -> None:
    begin = STAGE.replace("    if params", '    (stage.work_dir("train") / "checkpoint").touch()\n    if params')

    assert run("stage.py", text=begin) == 0
    assert run("stage.py", text=begin) == 0

    assert [row.get("resumed", False) for row in durations()] == [False, True]


def test_the_time_is_counted_from_the_start_of_the_launcher() -> None:
    Path("accelerate-launch").write_text(LAUNCHER)

    assert run("accelerate-launch") == 0

    [row] = durations()
    assert float(str(row["seconds"])) > 1.0


# --- killed


def record(**stages: str) -> None:
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))


def test_scratch_is_kept_until_dvc_has_recorded_what_was_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done, going = stage.work_dir("train", "done"), stage.work_dir("train", "going")
    monkeypatch.setenv("DVC_STAGE", "train")
    record(train="made once")
    stage.give_up(done)

    record(train="made once", other="made since")
    stage.sweep()
    assert done.exists()  # DVC was killed before it recorded the stage, and ran another first when it was started again

    record(train="made again", other="made since")
    stage.sweep()
    assert not done.exists()
    assert going.exists()


def test_scratch_of_a_stage_that_dvc_never_ran_before_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    work = stage.work_dir("train", "done")
    monkeypatch.setenv("DVC_STAGE", "train")
    stage.give_up(work)

    stage.sweep()
    assert work.exists()

    record(train="made once")
    stage.sweep()
    assert not work.exists()


def test_scratch_is_kept_while_dvc_writes_its_lock_beside_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    work = stage.work_dir("train", "done")
    monkeypatch.setenv("DVC_STAGE", "train")
    record(train="made once")
    stage.give_up(work)
    lock = Path("dvc.lock").resolve()
    whole = lock.read_text()
    end_at = time.monotonic() + 2

    def write_in_place() -> None:
        while time.monotonic() < end_at:
            with lock.open("w") as file:  # as DVC does: empty for a while
                time.sleep(0.1)
                file.write(whole)
            time.sleep(0.1)

    writer = Thread(target=write_in_place)
    writer.start()
    try:
        while time.monotonic() < end_at:
            stage.sweep()
    finally:
        writer.join()

    assert work.exists()


def test_an_empty_mark_stops_no_stage_and_its_scratch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    work, done = stage.work_dir("train", "done"), stage.work_dir("sample", "done")
    (work / "finished").touch()  # of a full disk
    monkeypatch.setenv("DVC_STAGE", "sample")
    stage.give_up(done)
    record(sample="made once")

    stage.sweep()

    assert work.exists()
    assert not done.exists()


def test_a_mark_is_there_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    work = stage.work_dir("train", "done")
    monkeypatch.setenv("DVC_STAGE", "train")

    def full(file: Path, text: str, encoding: str) -> int:
        file.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(Path, "write_text", full)
        stage.give_up(work)
    assert not (work / "finished").exists()

    stage.give_up(work)
    assert json.loads((work / "finished").read_text()) == ["train", None]


def test_without_dvc_scratch_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    work = stage.work_dir("train", "done")

    stage.give_up(work)

    assert not work.exists()


SLEEPER = """
import time
from pathlib import Path
from pydantic import BaseModel
from synthalign.core import stage

class Params(BaseModel):
    steps: int

def main(params: Params) -> None:
    Path("started").touch()
    time.sleep(60)

stage.run(main, "train", Params)
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"


@pytest.mark.parametrize("killed", [0, 1], ids=["dvc", "launcher"])
@pytest.mark.parametrize("dvc_is", [["dvc"], ["-m", "flows.dvc_stage"], ["-m", "flows.dvc_node"]], ids=" ".join)
def test_a_stage_ends_soon_after_what_started_it_was_killed(dvc_is: list[str], killed: int) -> None:
    write("train: {steps: 3}")
    Path("stage.py").write_text(SLEEPER)
    Path("flows").mkdir()
    for file in ("dvc", "flows/__init__.py", "flows/dvc_stage.py", "flows/dvc_node.py", "accelerate-launch"):
        Path(file).write_text("" if file.endswith("__init__.py") else PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    dvc = subprocess.Popen([sys.executable, *dvc_is, "accelerate-launch", "stage.py"], env=environment)
    until(Path("started").exists)
    launcher, sleeper = psutil.Process(dvc.pid).children(recursive=True)

    (psutil.Process(dvc.pid), launcher)[killed].kill()

    until(lambda: not sleeper.is_running())
    dvc.wait(10)


def until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("not within 20 s")
