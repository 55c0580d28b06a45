"""What all commands of `python -m synthalign` have in common."""

import subprocess
import sys
from pathlib import Path

import pytest

from synthalign.commands import cli
from tests.small_tables import ROOT


def test_a_reader_that_has_had_enough_ends_a_command_quietly() -> None:
    command = f"{sys.executable} -m synthalign sql 'FROM range(1000000)' --format csv | head -1"

    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (141, "range\n", "")


def test_a_file_to_import_that_is_not_there_is_told_before_tables_that_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as stopped:
        cli.main(["annotate", "import", "nosuch"])

    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("annotate: there is no file nosuch; ")
