"""What code a module runs, for the name of a scratch folder: no run goes on with what other code has made."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

OURS = {"stages", "synthalign", "world", "benchmarks"}
"""The packages below it whose code is ours."""


@cache
def of(module: str | Path) -> tuple[Path, ...]:
    """The file of a module of ours, and those of all that it imports, be it within a function, and that these import.

    module  its `__file__`
    """
    found: set[Path] = set()
    left = [Path(module).resolve()]
    while left:
        if (file := left.pop()) not in found:
            found.add(file)
            left += [place for name in _imported(file) if (place := ROOT / f"{name.replace('.', '/')}.py").exists()]
    return tuple(sorted(found))


def _imported(file: Path) -> set[str]:
    """The names of ours that a file imports, each as if it were a module's."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] in OURS}
