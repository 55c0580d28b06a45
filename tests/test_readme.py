"""README and the pages it leads to: nothing in them that is not there."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from synthalign.reporting import layout

PAGES = ["README.md", "CONTRIBUTING.md", "findings/README.md", *map(str, sorted(Path("docs").rglob("*.md")))]
README = Path("README.md").read_text(encoding="utf-8")


def test_the_readme_is_read_in_five_minutes():
    assert len(README.encode()) <= 12_000


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_of_the_repository(page):
    text = Path(page).read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]

    assert [link for link in links if link and not (Path(page).parent / link).exists()] == []


def test_the_readme_leads_to_every_page_of_docs():
    pages = {str(page) for page in Path("docs").glob("*.md")} | {
        str(page) for page in Path("docs/methods").glob("*.md")
    }

    assert pages - set(re.findall(r"\]\(([^)\s]+)\)", README)) == set()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/start.md", "docs/plan.md", "docs/graph.md"])
def test_every_command_that_a_page_shows_is_in_the_makefile(page):
    shown = set(re.findall(r"(?:^ {4}|`|&& )make ([a-z-]+)", Path(page).read_text(encoding="utf-8"), flags=re.M))
    there = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(encoding="utf-8"), flags=re.M))

    assert shown - there == set()


def test_the_number_in_the_first_paragraph_is_the_recorded_one():
    claims = {claim["id"]: claim for claim in json.loads(Path("metrics/claims.json").read_text(encoding="utf-8"))}
    first = README.split("\n\n")[1]

    assert re.findall(r"\d+%", first) == [f"{claims['small_vs_large']['value']:.0%}"]
    assert claims["small_vs_large"]["holds"]


def test_contributing_has_the_packages_in_the_order_of_their_imports():
    text = Path("CONTRIBUTING.md").read_text(encoding="utf-8")

    assert tuple(re.findall(r"^ {4}([a-z]+) {2,}", text, flags=re.M)) == layout.PACKAGES


def make_findings(folder: Path, scripts: dict[str, str]) -> subprocess.CompletedProcess:
    (folder / "findings").mkdir()
    for name, script in scripts.items():
        (folder / "findings" / name).write_text(script)
    command = ["make", "-s", "-f", str(Path("Makefile").absolute()), "findings"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_make_findings_runs_all_of_them_and_fails_if_one_does(tmp_path):
    ran = make_findings(tmp_path, {"a.sh": "exit 1\n", "b.sh": "echo seen\n", "README.md": "exit 1\n"})

    assert ran.stdout.splitlines() == ["FAIL findings/a.sh", "seen", "PASS findings/b.sh"]
    assert ran.returncode != 0


def test_make_findings_passes_where_all_do_and_where_there_are_none(tmp_path):
    assert make_findings(tmp_path, {}).returncode == 0
    (tmp_path / "more").mkdir()
    assert make_findings(tmp_path / "more", {"a.sh": "true\n"}).returncode == 0
