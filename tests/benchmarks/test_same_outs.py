"""Outputs of two locks, compared hash by hash."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.same_outs import differences, main, outs

LOCK = """
schema: '2.0'
stages:
  mine:
    cmd: python mine.py
    deps:
    - {path: mine.py, hash: md5, md5: 11, size: 3}
    outs:
    - {path: data/queries.parquet, hash: md5, md5: aa, size: 3}
    - {path: metrics/mine.json, hash: md5, md5: bb, size: 3}
  check: {cmd: python check.py}
"""


def test_code_that_moved_is_no_difference_and_a_metric_that_moved_is() -> None:
    moved, measured = LOCK.replace("mine.py", "room/mine.py"), LOCK.replace("md5: bb", "md5: bc")

    assert differences(outs(LOCK), outs(moved)) == []
    assert differences(outs(LOCK), outs(measured)) == ["differs  mine: metrics/mine.json"]


def test_an_output_that_one_side_lacks_is_named() -> None:
    less = LOCK.replace("    - {path: metrics/mine.json, hash: md5, md5: bb, size: 3}\n", "")

    assert differences(outs(LOCK), outs(less)) == ["gone     mine: metrics/mine.json"]
    assert differences(outs(less), outs(LOCK)) == ["new      mine: metrics/mine.json"]


@pytest.mark.parametrize("commit", ["nosuch", "HEAD"])
def test_a_commit_that_is_not_there_or_has_no_lock_is_one_line_and_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], commit: str
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *who, "commit", "--quiet", "--allow-empty", "--message", "empty"], check=True)
    Path("dvc.lock").write_text(LOCK)

    with pytest.raises(SystemExit) as stopped:
        main([commit])

    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"same_outs: no dvc.lock of {commit}: fatal: ")
