"""What is given to make reaches the command as it was typed, and what make prints can be pasted."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests import small_tables

ROOT = small_tables.ROOT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with every table, small, in a folder with a blank in its name; its `dvc` does nothing."""
    folder = tmp_path / "my project"
    folder.mkdir()
    monkeypatch.chdir(small_tables.project(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    small_tables.write(folder, small_tables.rows())
    Path("Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    commands = folder / ".venv/bin"
    commands.mkdir(parents=True)
    (commands / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (commands / "dvc").write_text("#!/bin/sh\n")
    (commands / "accelerate-launch").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    for command in commands.iterdir():
        command.chmod(0o755)
    Path("requirements.lock").touch()
    os.utime("requirements.lock", (0, 0))
    for name in (".venv/ready", "accelerate.yaml", "hardware.yaml"):
        Path(name).touch()
    Path("models/base").mkdir(parents=True)
    return folder


def make(*arguments: str) -> str:
    done = subprocess.run(["make", "--silent", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("SELECT 'costs 5 $' AS a", "costs 5 $"),
        ("SELECT regexp_matches('a', '^a$') AS a", "true"),
        ('SELECT 1 AS "a$", \'"\' AS "b c"', '1   "'),
        ("SELECT $$it's$$ AS a", "it's"),
        ("SELECT '$(words a b) ${HOME} `id` \\n' AS a", "$(words a b) ${HOME} `id` \\n"),
        ("SELECT '$(' AS a", "$("),
        ("-- Which?\nSELECT '# no remark' AS a -- 100%", "# no remark"),
    ],
)
def test_a_question_is_asked_as_it_was_typed(here: Path, question: str, answer: str) -> None:
    assert make("sql", f"Q={question}").splitlines()[-1].strip() == answer


def test_the_name_of_an_author_is_one_word_whatever_is_in_it(here: Path) -> None:
    said = make("ditto", 'NAME=o"hara $(HOME)').splitlines()

    assert [word for word in said if "hara" in word] == ['o"hara $(HOME)'] * 2


def test_an_author_is_aligned_with_the_base_models_of_the_settings_in_force(here: Path) -> None:
    Path(".venv/bin/dvc").write_text('#!/bin/sh\necho "dvc $*"\n')

    assert make("ditto", "NAME=anna").startswith("dvc repro base_models\n")  # though models/base is there


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_the_hardware_file_that_make_copies_belongs_to_the_launch_file_that_is_there(here: Path, device: str) -> None:
    Path("accelerate").symlink_to(ROOT / "accelerate")
    launch = (ROOT / f"accelerate/{device}.yaml").read_text(encoding="utf-8")
    Path("accelerate.yaml").write_text(launch.replace("num_processes: 1", "num_processes: 2"), encoding="utf-8")
    Path("hardware.yaml").unlink()

    make("hardware.yaml")

    assert Path("hardware.yaml").read_bytes() == (ROOT / f"accelerate/{device}.hardware.yaml").read_bytes()


def test_without_a_launch_file_make_takes_those_of_the_device_that_is_named(here: Path) -> None:
    for name in ("accelerate.yaml", "hardware.yaml"):
        Path(name).unlink()
    (here / "accelerate").symlink_to(ROOT / "accelerate")

    make("accelerate.yaml", "hardware.yaml", "ACCELERATE=gpu")

    assert Path("hardware.yaml").read_bytes() == (ROOT / "accelerate/gpu.hardware.yaml").read_bytes()
    assert Path("accelerate.yaml").read_bytes() == (ROOT / "accelerate/gpu.yaml").read_bytes()


def test_the_reports_address_can_be_pasted(here: Path) -> None:
    address = make("report").strip()

    assert " " not in address
    assert unquote(urlsplit(address).path) == str(here / "report/index.html")


def test_every_command_of_the_help_has_its_words_in_one_column(here: Path) -> None:
    said = make("help").splitlines()

    commands = re.findall(r"^([a-z-]+):.*## ", Path("Makefile").read_text(encoding="utf-8"), flags=re.M)
    words = [re.match(r"  make ([a-z-]+) +", line) for line in said]
    assert [found and found[1] for found in words] == commands
    assert len({found.end() for found in words if found}) == 1


@pytest.mark.parametrize("paid", ["judge_answers/replies.jsonl", "sample_answers/0a1b/spent.2c3d.0.jsonl"])
def test_replies_that_an_endpoint_was_paid_for_are_not_removed_without_a_word(here: Path, paid: str) -> None:
    file = Path(".work") / paid
    file.parent.mkdir(parents=True)
    file.write_text("{}\n")

    refused = subprocess.run(["make", "--silent", "clean"], capture_output=True, text=True)

    assert refused.returncode == 2 and file.exists()
    assert str(file) in refused.stdout and "make clean CONFIRM=1 removes it" in refused.stdout
    make("clean", "CONFIRM=1")
    assert not Path(".work").exists()


def test_scratch_folders_that_nobody_was_paid_for_are_removed_at_once(here: Path) -> None:
    Path(".work/train_sft").mkdir(parents=True)

    assert make("clean") == ""
    assert not Path(".work").exists()
