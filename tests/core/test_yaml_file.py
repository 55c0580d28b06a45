"""Settings are what DVC reads in the same file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
from pydantic import BaseModel, Field
from ruamel.yaml import YAMLError

from synthalign.core import stage, yaml_file
from synthalign.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_what_yaml_1_1_and_1_2_read_differently_is_read_as_1_2() -> None:
    lines = ["rate: 1e-05", "big: 1E5", "seed: 010", "octal: 0o10", "hex: 0x1F", "at: 1:30", "lights: on", "answer: no"]

    assert yaml_file.load("\n".join([*lines, "sign: +.5"])) == {
        "rate": 0.00001,
        "big": 100000.0,
        "seed": 10,
        "octal": 8,
        "hex": 31,
        "at": "1:30",
        "lights": "on",
        "answer": "no",
        "sign": 0.5,
    }


SCALARS = "1e-05 1E5 1.5e3 1.e5 .5e1 +.5 010 08 0o10 0x1F 0b11 1:30 1:30.5 on off no yes Off y ~ null Null .inf -.Inf"
SCALARS += " .nan 1_000 1_0.5 2001-01-01 2001-12-14t21:59:43.10-05:00 +1 -0.0 true TRUE tRUE 1.2.3 '010' \"\\u263A\""


@pytest.mark.parametrize("scalar", [*SCALARS.split(), "", "&a 1", "|\n  two\n  lines", "{on: 1, 1: 2}", "[1e3, no]"])
def test_every_scalar_is_what_dvc_reads(scalar: str) -> None:
    text = f"key: {scalar}\n"

    assert repr(yaml_file.load(text)) == repr(parse_yaml(text, "params.yaml"))


@pytest.mark.parametrize("text", ["key: =", "key: 1\nkey: 2", "key: [", "key: !!nothing 1", "a: 1\n---\na: 2"])
def test_what_dvc_refuses_is_refused(text: str) -> None:
    with pytest.raises(YAMLFileCorruptedError):
        parse_yaml(text, "params.yaml")
    with pytest.raises(YAMLError):
        yaml_file.load(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("b: 1\na: 2024-13-45", r"'2024-13-45' is no timestamp \(month must be in 1..12\)[^:]*line 2, column 4"),
        ("a: 2001-01-01 25:00:00", r"'2001-01-01 25:00:00' is no timestamp .*\s.*line 1, column 4"),
        ("a: [1, !!int x]", r"'x' is no int .*\s.*line 1, column 8"),
        ("a: !!float x", "'x' is no float"),
        ("a: !!bool x", "'x' is no bool"),
        ("a: !!int ''", "'' is no int"),
        ("a: &x [*x]", "a.0 holds itself"),
        ("a: &x {b: [1, *x]}", "a.b.1 holds itself"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_told_with_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(YAMLError, match=told):
        yaml_file.load(text)
    with pytest.raises(UserError, match=f"params.yaml cannot be read: .*{told}"):
        stage.checked(text, "params.yaml")
    (tmp_path / "phrases.yaml").write_text(text)
    with pytest.raises(UserError, match=f"phrases.yaml: cannot be read .*{told}"):
        yaml_file.keys(tmp_path / "phrases.yaml", example="x")


def test_an_alias_beside_what_it_stands_for_is_read() -> None:
    assert yaml_file.load("a: &x [1]\nb: [*x, *x]") == {"a": [1], "b": [[1], [1]]}


class Task(BaseModel, extra="forbid"):
    phrases: list[str]
    limit: int = Field(gt=0)


def test_every_wrong_key_of_a_file_is_told_with_its_value_and_the_next_step(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(f"phrases: [kind, 3]\nlimit: -1\nlimits: {'x' * 99}\n")

    with pytest.raises(UserError) as caught:
        yaml_file.read(file, Task, example="data/general/task.yaml")

    step = "; compare with data/general/task.yaml"
    assert str(caught.value).splitlines() == [
        f"{file}: phrases.1 = 3: Input should be a valid string{step}",
        f"{file}: limit = -1: Input should be greater than 0{step}",
        f"{file}: limits = '{'x' * 79}…: Extra inputs are not permitted{step}",
    ]


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "dvc.lock"])
def test_the_repositorys_own_files_are_what_dvc_reads(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")

    assert yaml_file.load(text) == parse_yaml(text, name)


STAGE = """
from pathlib import Path

from pydantic import BaseModel

from synthalign.core import stage


class Params(BaseModel, extra="forbid", strict=True):
    learning_rate: float
    author: str


found = stage.params("train_dpo", Params)
Path("found.txt").write_text(f"{found.learning_rate!r} {found.author}")
"""


@pytest.mark.slow
def test_a_setting_of_dvc_exp_run_reaches_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Anna")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "anna@example.org")
    dvc: tuple[Any, ...] = (sys.executable, "-m", "dvc")
    call("git", "init", "--quiet")
    call(*dvc, "init", "--quiet")
    call(*dvc, "config", "core.analytics", "false")
    Path("train.py").write_text(STAGE)
    Path("params.yaml").write_text("train_dpo:\n  learning_rate: 0.1\n  author: anna\n")
    Path("dvc.yaml").write_text(
        f"stages:\n  train_dpo: {{cmd: {sys.executable} train.py, params: [train_dpo], outs: [found.txt]}}\n"
    )
    call("git", "add", ".")
    call("git", "commit", "--quiet", "-m", "a stage")

    call(*dvc, "exp", "run", "-S", "train_dpo.learning_rate=0.00001", "-S", "train_dpo.author=no")

    assert "learning_rate: 1e-05" in Path("params.yaml").read_text()
    assert Path("found.txt").read_text() == "1e-05 no"
