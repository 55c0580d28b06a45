"""What all commands of `python -m synthalign` have in common."""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
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


def options(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, str]]:
    """(command, option) of all that a parser and those below it understand; ("plan", "") is the command itself."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield name, ""
                yield from options(below, command or name)
        else:
            yield from ((command, one) for one in action.option_strings if one.startswith("--") and one != "--help")


def test_the_page_of_commands_lists_every_command_with_its_options_and_no_others() -> None:
    page = (ROOT / "docs/start.md").read_text(encoding="utf-8")
    table = page.partition("| command | what it does | options |")[2].partition("| variable |")[0]
    rows = {re.match(r"\| `([a-z-]+)", row)[1]: row for row in table.splitlines() if row.startswith("| `")}  # type: ignore[index]

    known = set(options(cli.commands_parser()))

    assert ("annotate", "--items") in known and ("export", "") in known
    assert {command for command, option in known if option} <= rows.keys()
    for command, option in known:
        words = re.findall(r"[a-z-]+", rows.get(command, table))
        assert (option or command) in words, f"{command} {option} is not in docs/start.md"
    for command, row in rows.items():
        assert set(re.findall(r"--[a-z-]+", row)) <= {option for name, option in known if name == command}, command


def test_the_page_of_commands_names_every_variable_that_the_code_reads() -> None:
    page = (ROOT / "docs/start.md").read_text(encoding="utf-8")
    inner = {"SYNTHALIGN_WARM", "SYNTHALIGN_WARM_STARTED", "SYNTHALIGN_RUN", "SYNTHALIGN_LAUNCHER"}  # we set them
    files = [
        file for top in ("synthalign", "stages", "flows", "warm", "benchmarks") for file in (ROOT / top).rglob("*.py")
    ]
    read = {name for file in files for name in re.findall(r'"((?:SYNTHALIGN|LLAMA)_[A-Z_0-9]+)"', file.read_text())}

    assert {"SYNTHALIGN_MIRROR", "LLAMA_CPP"} < read
    for name in read - inner:
        assert name in page or name.removesuffix("_F16").removesuffix("_F32") in page, name
