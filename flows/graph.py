"""The stages of dvc.yaml and what each needs, as DVC sees them, and which of them `dvc repro` would pass over.

DVC is imported when it is needed: a flow must be quick to import.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from graphlib import TopologicalSorter
from typing import Any

GPU = ("python -m warm.launch", "accelerate-launch")
"""A command that starts with one of these is a GPU task."""

ALL = "all"


@dataclass(frozen=True)
class Stage:
    """A stage as the flow needs it."""

    name: str
    """As DVC writes it: family@member, and folder/dvc.yaml:name in another file."""

    needs: tuple[str, ...]
    """The stages whose outputs it reads."""

    gpu: bool
    outs: tuple[str, ...]
    """The files and folders that it writes, seen from the root of the repository."""

    uncached: tuple[str, ...] = ()
    """Of these, what git holds and DVC does not: metrics."""


def look(targets: Sequence[str]) -> tuple[dict[str, Stage], set[str]]:
    """These stages and what they need, each after those that it needs, and which of them DVC has to be asked about:
    those that differ from dvc.lock now, and those that come after one.

    One look for all: to ask DVC about each in a process of its own takes a second a stage. ValueError for a name that
    no stage has; RuntimeError with DVC's reason where it cannot tell.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    try:
        with _repository() as repo, lock_repo(repo):
            stages = select(_read(repo), targets)
            asked = [stage for stage in repo.index.stages if stage.addressing in stages]
            changed = {stage.addressing for stage in asked if stage.changed()}
    except DvcException as error:
        raise RuntimeError(str(error)) from error
    for name, stage in stages.items():
        if changed.intersection(stage.needs):
            changed.add(name)
    return stages, changed


def read() -> dict[str, Stage]:
    """Every stage with a command of the repository in the current folder, each after those that it needs."""
    with _repository() as repo:
        return _read(repo)


def _repository() -> Any:
    from dvc.repo import Repo

    return Repo()


def _read(repo: Any) -> dict[str, Stage]:
    from dvc.repo.reproduce import get_active_graph

    def place(out: Any) -> str:
        return str(out.fs.relpath(out.fs_path, repo.root_dir))

    graph = get_active_graph(repo.index.graph)  # without the edges into frozen stages
    commanded = sorted((stage for stage in graph if stage.cmd), key=lambda stage: stage.addressing)
    found = {
        stage.addressing: Stage(
            stage.addressing,
            tuple(sorted(needed.addressing for needed in graph.successors(stage) if needed.cmd)),
            (stage.cmd if isinstance(stage.cmd, str) else stage.cmd[0]).startswith(GPU),
            tuple(place(out) for out in stage.outs),
            tuple(place(out) for out in stage.outs if not out.use_cache),
        )
        for stage in commanded
    }
    order = TopologicalSorter({stage.name: stage.needs for stage in found.values()}).static_order()
    return {name: found[name] for name in order}


def select(stages: Mapping[str, Stage], targets: Sequence[str]) -> dict[str, Stage]:
    """These stages, families or `all`, and what they need; ValueError for a name that no stage has."""
    wanted: set[str] = set()
    for target in targets:
        named = {name for name in stages if target in (ALL, name, name.split("@")[0])}
        if not named:
            near = get_close_matches(target, stages, n=3)
            raise ValueError(
                f"targets: {target!r} is no stage of dvc.yaml; "
                + (f"did you mean {', '.join(near)}?" if near else "`dvc stage list --name-only` names them")
            )
        wanted |= named
    for name in reversed(list(stages)):  # each before those that it needs
        if name in wanted:
            wanted |= set(stages[name].needs)
    return {name: stage for name, stage in stages.items() if name in wanted}


def mend() -> str:
    """Mend what a killed DVC left behind, a dvc.lock that was cut above all; returns what was broken."""
    command = [sys.executable, "-m", "synthalign", "recover"]
    return subprocess.run(command, capture_output=True, text=True).stderr.strip()
