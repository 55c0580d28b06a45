from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.reporting import layout

DOORPLATE = '''"""Files, rows and settings: what
everything stands on. It imports nothing of ours.

More.
"""
'''


def project(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_a_package_shows_the_first_sentence_of_its_doorplate_and_the_first_line_of_each_module(tmp_path):
    root = project(
        tmp_path,
        {
            "synthalign/__init__.py": "",
            "synthalign/core/__init__.py": DOORPLATE,
            "synthalign/core/ids.py": '"""Ids that depend\non nothing else."""\n',
            "queries/lengths.sql": "-- How long are <answers>?\n-- A note.\nSELECT 1\n",
        },
    )

    assert layout.files(root) == (
        "## synthalign/core/\n\nFiles, rows and settings: what everything stands on.\n\n"
        "- [`ids.py`](../synthalign/core/ids.py): Ids that depend\n\n"
        "## queries/\n\n- [`lengths.sql`](../queries/lengths.sql): How long are &lt;answers>?"
    )


def test_a_finding_and_a_profile_show_the_first_sentence_of_their_comment(tmp_path):
    root = project(
        tmp_path,
        {
            "profiles/small.yaml": "# Small: one\n# GPU. Untried.\n\nseed: 1\n",
            "findings/x_does.sh": "#!/usr/bin/env bash\n# x 1.2.0: it does\n# what nobody would guess. More.\nset -e\n",
            "world/params.yaml": "seed: 0\n",
        },
    )

    assert layout.files(root) == (
        "## profiles/\n\n- [`small.yaml`](../profiles/small.yaml): Small: one GPU.\n\n"
        "## findings/\n\n- [`x_does.sh`](../findings/x_does.sh): x 1.2.0: it does what nobody would guess."
    )


def test_of_the_tests_those_are_listed_that_stand_in_no_folder(tmp_path):
    names = ["tests/test_all.py", "tests/core/test_ids.py"]

    said = layout.files(project(tmp_path, {name: '"""A."""\n' for name in names}))

    assert said == "## tests/\n\n- [`test_all.py`](../tests/test_all.py): A."


def test_packages_stand_in_the_order_of_the_data_and_folders_within_them_behind_them(tmp_path):
    names = ["synthalign/a.py", "synthalign/commands/a.py", "synthalign/reporting/report/a.py"]
    names += ["synthalign/reporting/a.py", "synthalign/core/a.py", "stages/a.py"]

    said = layout.files(project(tmp_path, {name: '"""A."""\n' for name in names}))

    assert [line.removeprefix("## ") for line in said.splitlines() if line.startswith("## ")] == [
        "synthalign/", "synthalign/core/", "synthalign/reporting/", "synthalign/reporting/report/",
        "synthalign/commands/", "stages/",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"), [("stages/x.py", "import os\n"), ("findings/x.sh", "true\n"), ("queries/x.sql", "SELECT 1\n")]
)
def test_a_file_that_does_not_say_what_it_is_is_named(tmp_path, name, text):
    with pytest.raises(UserError, match=f"{name} does not say in its first line what it is"):
        layout.files(project(tmp_path, {name: text}))


def test_the_page_is_written_between_its_marks_and_goes_stale_with_a_docstring(tmp_path, monkeypatch):
    page = f"# Head\n\n{layout.BEGIN}\n{layout.END}\n"
    monkeypatch.chdir(project(tmp_path, {"stages/x.py": '"""One."""\n', "docs/layout.md": page}))

    with pytest.raises(UserError, match="run `make readme`"):
        layout.main(["--check"])
    layout.main([])
    layout.main(["--check"])
    assert Path("docs/layout.md").read_text().startswith(f"# Head\n\n{layout.BEGIN}\n\n## stages/\n\n- [`x.py`]")

    Path("stages/x.py").write_text('"""Another."""\n')
    with pytest.raises(UserError, match="run `make readme`"):
        layout.main(["--check"])


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--chekc", 2)])
def test_the_page_stays_as_it_is_where_help_is_asked_for_or_an_argument_is_wrong(tmp_path, monkeypatch, argument, code):
    page = f"# Head\n\n{layout.BEGIN}\n{layout.END}\n"
    monkeypatch.chdir(project(tmp_path, {"stages/x.py": '"""One."""\n', "docs/layout.md": page}))

    with pytest.raises(SystemExit) as stopped:
        layout.main([argument])

    assert stopped.value.code == code
    assert Path("docs/layout.md").read_text() == page


def test_the_committed_page_lists_the_files_of_this_checkout():
    layout.main(["--check"])
