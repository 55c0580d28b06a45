"""What DVC reads is what it would read, and is parsed once by all that read it."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from flows import read_once
from tests.flows.conftest import Make, call

READ = """
import sys
import os
from flows import read_once
read_once.LEAST = int(os.environ["LEAST"])
if sys.argv[1] == "once":
    read_once.install()
from dvc.repo import Repo
from dvc.utils.serialize import _yaml
with Repo() as repo:
    for stage in sorted(repo.index.stages, key=lambda stage: stage.addressing):
        print(stage.addressing, stage.cmd, *stage.deps, *stage.outs, [dep.hash_info for dep in stage.deps])
"""

STAGES = {
    "one": {"cmd": "cp in.out one.out", "deps": ["in.out"], "outs": ["one.out"]},
    "two": {"cmd": "echo ${word} > two.out", "deps": ["one.out"], "params": ["word"], "outs": ["two.out"]},
}


@pytest.fixture
def made(repository: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose two stages have been run."""
    folder = repository(STAGES)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LEAST", "0")  # as if the files were long
    Path("params.yaml").write_text("word: yes, 1e-3\n")
    Path("in.out").write_text("1")
    call("dvc", "repro")
    return folder


def seen(how: str) -> str:
    root = Path(read_once.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", READ, how]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_a_graph_is_read_as_dvc_reads_it_the_first_time_and_the_second(made: Path) -> None:
    plain = seen("plain")

    assert "one.out" in plain and "md5" in plain  # of dvc.lock
    assert seen("once") == plain
    files = list(read_once.FOLDER.iterdir())
    assert len(files) == 3  # dvc.yaml, dvc.lock, params.yaml
    assert seen("once") == plain

    [params] = [file for file in files if pickle.loads(file.read_bytes()) == {"word": "yes, 1e-3"}]
    params.write_bytes(pickle.dumps({"word": "kept"}))
    assert "echo kept > two.out" in seen("once")  # it is not parsed again


def test_short_texts_are_parsed_each_time(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAST", str(read_once.LEAST))

    assert seen("once") == seen("plain")
    assert not read_once.FOLDER.exists()


def test_a_file_that_has_changed_is_read_anew(made: Path) -> None:
    seen("once")
    Path("params.yaml").write_text("word: other\n")

    assert "echo other > two.out" in seen("once")

    Path("dvc.yaml").write_text("stages: 7\n")
    for how in ("plain", "once"):  # and what is wrong with it DVC says
        with pytest.raises(subprocess.CalledProcessError) as error:
            seen(how)
        assert "'./dvc.yaml' validation failed" in error.value.stderr


def test_what_is_damaged_is_read_again_and_little_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(read_once, "LEAST", 0)
    times = []

    def read() -> list[int]:
        times.append(1)
        return [7]

    assert [read_once.kept("text", read, ""), read_once.kept("text", read, "")] == [[7], [7]]
    assert len(times) == 1
    [file] = read_once.FOLDER.iterdir()
    file.write_bytes(pickle.dumps([7])[:-2])
    assert read_once.kept("text", read, "") == [7]
    assert len(times) == 2
    for number in range(2 * read_once.MOST):
        read_once.kept(f"text {number}", read, "")
    assert len(list(read_once.FOLDER.iterdir())) == read_once.MOST
