"""What a kill -9 of DVC can leave behind, in a repository of two stages."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

from synthalign.commands import cli
from synthalign.commands.recover import recover

GRAPH = """
stages:
  one:
    cmd: cp seed.txt one.txt
    deps: [seed.txt]
    outs: [one.txt]
  two:
    cmd: cp one.txt two.txt
    deps: [one.txt]
    outs: [two.txt]
"""
RWLOCK = Path(".dvc/tmp/rwlock")


def call(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which the first stage was committed, and the second made since."""
    folder = tmp_path_factory.mktemp("repository")
    with chdir(folder):
        call("git", "init", "--quiet")
        call("dvc", "init", "--quiet")
        Path("dvc.yaml").write_text(GRAPH)
        Path("seed.txt").write_text("seed")
        call("dvc", "repro", "one")
        call("git", "add", "--all")
        call("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", "one")
        call("dvc", "repro")
    return folder


@pytest.fixture
def whole(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """Its dvc.lock."""
    monkeypatch.chdir(made)
    content = Path("dvc.lock").read_bytes()
    yield content
    (made / "dvc.lock").write_bytes(content)


def test_nothing_is_touched_where_nothing_is_broken(whole: bytes) -> None:
    assert recover() == []
    with pytest.raises(SystemExit, match="1"):
        cli.main(["recover"])

    assert Path("dvc.lock").read_bytes() == whole


def test_a_dvc_lock_that_was_cut_anywhere_can_be_read_again_and_no_stage_runs_for_it(whole: bytes) -> None:
    committed = subprocess.run(["git", "show", "HEAD:dvc.lock"], check=True, capture_output=True).stdout
    broken = 0
    for cut in range(0, len(whole), 7):
        Path("dvc.lock").write_bytes(whole[:cut])
        if recover():
            broken += 1
            assert Path("dvc.lock").read_bytes() == committed
            assert Path("dvc.lock.broken").read_bytes() == whole[:cut]
        assert recover() == []  # what is left can be read
    assert broken > len(whole) / 7 / 3

    # whatever is left, DVC brings the rest back without running anything
    for cut in (len(whole) - 1, len(whole) // 2, 0):
        Path("dvc.lock").write_bytes(whole[:cut])
        recover()
        assert "Running stage" not in call("dvc", "repro")
        assert yaml.safe_load(Path("dvc.lock").read_bytes()) == yaml.safe_load(whole)


def test_a_dvc_lock_in_a_folder_is_mended_as_the_one_above_it(whole: bytes) -> None:
    Path("sub").mkdir()
    Path("sub/dvc.yaml").write_text("stages: {three: {cmd: cp ../seed.txt three.txt, outs: [three.txt]}}\n")
    call("dvc", "repro", "sub/dvc.yaml")
    call("git", "add", "sub/dvc.yaml", "sub/dvc.lock")
    call("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", "three", "--", "sub")
    committed = Path("sub/dvc.lock").read_bytes()
    Path("sub/dvc.lock").write_bytes(committed[:60])

    assert recover() == [
        "sub/dvc.lock was not whole; it is now as git has it, and the broken one is sub/dvc.lock.broken"
    ]
    assert Path("sub/dvc.lock").read_bytes() == committed


def test_where_git_has_no_dvc_lock_the_cache_of_runs_has_what_was_made(
    whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("dvc.lock").write_bytes(whole[:100])
    monkeypatch.setenv("GIT_DIR", "nowhere")
    assert recover() == ["dvc.lock was not whole; it is now gone, and the broken one is dvc.lock.broken"]
    monkeypatch.delenv("GIT_DIR")

    assert "Running stage" not in call("dvc", "repro")
    assert Path("dvc.lock").read_bytes() == whole


@pytest.mark.parametrize("text", ["", '{"write": {"/a', "[]"])
def test_locks_of_paths_that_are_not_whole_are_removed(whole: bytes, text: str) -> None:
    RWLOCK.write_text(text)

    [sentence] = recover()

    assert sentence.endswith("rwlock was not whole and is removed")
    assert recover() == []


def test_a_lock_whose_process_number_another_program_has_got_is_nobodys(whole: bytes) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        holder = {"pid": stranger.pid, "cmd": "dvc repro"}
        path = str(Path("one.txt").resolve())
        RWLOCK.write_text(json.dumps({"write": {path: holder}, "read": {path: [holder]}}))
        assert recover() == [f"{path} was held by process {stranger.pid}, which is not DVC"] * 2
        assert "is busy" not in call("dvc", "repro")
        stranger.kill()
