"""What is where: the list of files in docs/layout.md, from what every file says of itself at its beginning.

python -m synthalign.reporting.layout            write the list between the markers of docs/layout.md
python -m synthalign.reporting.layout --check    exit 1 when the page says something else than the files
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from synthalign.core.errors import UserError
from synthalign.reporting import generated_part

PAGE = Path("docs/layout.md")
BEGIN, END = "<!-- files: written by make readme -->", "<!-- /files -->"

DATA = (".html", ".css", ".js")
"""Of files of a package that are no code of it; they have the name of the module that reads them."""

FOLDERS = {
    "synthalign": (".py", *DATA),
    "stages": (".py",),
    "world": (".py",),
    "warm": (".py",),
    "flows": (".py", ".yaml"),
    "benchmarks": (".py",),
    "queries": (".sql",),
    "profiles": (".yaml",),
    "findings": (".sh",),
    "tests": (".py",),
}
"""The folders of the list, with the ends of the files that it names there."""

PACKAGES = ("core", "dialogue", "generation", "queries", "feedback", "reward", "policies", "judging", "flan", "ditto",
            "reporting", "commands")  # fmt: skip
"""The packages of synthalign from the lowest up: a package imports only those that stand before it."""


def files(folder: Path) -> str:
    """The part of the page between the markers.

    folder  the root of the project

    Raises UserError where a file has no first line that says what it is.
    """
    parts = []
    for top in FOLDERS:
        for directory in _directories(folder / top):
            entries = list(_entries(folder, directory))
            if entries:
                parts.append("\n\n".join(_head(folder, directory)))
                parts.append("\n".join(entries))
    return "\n\n".join(parts)


def _directories(top: Path) -> list[Path]:
    """A folder and those below it; the packages in their own order, the rest by name."""
    if top.name == "tests":  # its folders are those of the code
        return [top]
    below = {file.parent for file in top.rglob("*") if file.suffix in FOLDERS[top.name]}

    def order(directory: Path) -> tuple[int, str]:
        name = directory.relative_to(top).parts[:1]
        return (PACKAGES.index(name[0]) if name and name[0] in PACKAGES else -1, directory.as_posix())

    return sorted(below, key=order)


def _head(folder: Path, directory: Path) -> Iterator[str]:
    yield f"## {directory.relative_to(folder).as_posix()}/"
    doorplate = directory / "__init__.py"
    said = ast.get_docstring(ast.parse(doorplate.read_text(encoding="utf-8"))) if doorplate.exists() else None
    if said:
        yield _first_sentence(said)


def _entries(folder: Path, directory: Path) -> Iterator[str]:
    listed = FOLDERS[directory.relative_to(folder).parts[0]]
    for file in sorted(file for file in directory.glob("*") if file.suffix in listed):
        if file.name != "__init__.py":
            path = file.relative_to(folder).as_posix()
            yield f"- [`{file.name}`](../{path}): {_escaped(first_line(file))}"


def first_line(file: Path) -> str:
    """The first line of a module's docstring, or the first sentence of the comment that another file begins with."""
    if file.suffix in DATA:
        return f"What `{file.stem}.py` puts into its page."
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".sql":
        first, _, _ = text.partition("\n")
        said = first.removeprefix("--").strip() if first.startswith("--") else ""
    elif file.suffix in (".yaml", ".sh"):
        lines = text.removeprefix("#!/usr/bin/env bash\n").splitlines()
        comment = takewhile(lambda line: line.startswith("# "), lines)
        said = _first_sentence("\n".join(line.removeprefix("#") for line in comment))
    else:
        said = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].strip()
    if not said:
        raise UserError(f"{file} does not say in its first line what it is; docs/layout.md shows that line")
    return said


def _first_sentence(text: str) -> str:
    """The first sentence of a docstring, whose lines may break within it."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    end = paragraph.find(". ")
    return _escaped(paragraph if end < 0 else paragraph[: end + 1])


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m synthalign.reporting.layout", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when it is not up to date")
    given = parser.parse_args(arguments)

    old = PAGE.read_text(encoding="utf-8")
    new = generated_part.replaced(old, BEGIN, END, files(Path()), name=str(PAGE))
    if not given.check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != old:
        raise UserError(f"{PAGE} is not the list of the files; run `make readme`")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"layout: {error}", file=sys.stderr)
        raise SystemExit(1) from error
