"""What `dvc repro` would run now, why, and what that would take, before anything is spent.

DVC tells which stages differ from dvc.lock. The rest is worked out here, in the order in which DVC would come to the
stages: one whose result is in the run cache is restored, so its outputs are known; what a stage will write that has to
run is not known, so all that reads it is expected to run too. No model is loaded.
"""

import difflib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.stage import Stage
from dvc.stage.cache import _can_hash
from dvc.stage.serialize import to_single_stage_lockfile

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.reporting.costs import Money, durations, endpoints, estimate, last_run, metrics, money
from synthalign.reporting.text_tables import Rows, plain

SETTINGS_CHECK = "check_settings"
"""The stage that all others follow. It loads no model, so the plan makes its check, and knows what it would write."""

CHANGES = {"modified": "changed", "deleted": "missing", "not in cache": "not in the cache", "new": "new"}


@dataclass(frozen=True)
class Step:
    """A stage that `dvc repro` would not pass over."""

    stage: str
    """Its name as DVC writes it, family@member."""

    action: str
    """run; restore: its result is in DVC's cache; frozen; stop: `dvc repro` would fail, as a file is missing."""

    why: list[str]
    last_run: dict[str, int] = field(default_factory=dict)

    seconds: float | None = None
    """The median of its last runs; None where neither it nor a sibling has any."""

    from_siblings: bool = False
    money: Money | None = None


# -- which stages, and why --------------------------------------------------------------------------------------------


def reasons(stage: Stage, status: Sequence[Any], decided: set[str]) -> list[str]:
    """DVC's status of a stage in words, but for the inputs whose fate is decided already."""
    if stage.deps and not any(dep.hash_info for dep in stage.deps):
        return ["never ran"]
    added = {str(entry) for entry in (*stage.deps, *stage.outs) if not entry.hash_info}  # DVC calls them modified

    def told(kind: str, changes: Mapping[str, str]) -> list[str]:
        return [
            f"{kind} {path} {'new' if path in added and change == 'modified' else CHANGES.get(change, change)}"
            for path, change in changes.items()
            if path not in decided
        ]

    why = []
    for entry in status:
        if isinstance(entry, str):
            why.append({"changed command": "cmd changed", "always changed": "always runs"}.get(entry, entry))
            continue
        for path, change in entry.get("changed deps", {}).items():
            why += told("params", change) if isinstance(change, dict) else told("dep", {path: change})
        why += told("out", entry.get("changed outs", {}))
    return why


def restored(repo: Repo, stage: Stage, only_outs: bool) -> list[Any] | None:
    """The outputs that DVC would take from its cache instead of running the stage; None where it has them not.

    The decisions of DVC's StageCache.restore, made without touching a file.
    """
    if not _can_hash(stage):
        return None
    if only_outs and all(out.hash_info for out in stage.outs):
        entry = to_single_stage_lockfile(stage)
    else:
        entry = repo.stage_cache._load(stage)
    if not entry:
        return None
    cached = repo.stage_cache._create_stage(entry, wdir=stage.wdir)
    return cached.outs if cached.outs_cached() else None


def take(dep: Any, out: Any) -> None:
    """Let an input have the content that it will have once its own stage is restored."""
    dep.hash_info, dep.meta = out.hash_info, out.meta
    dep.get_hash = lambda: out.hash_info


def meets(dep: Any, stage: Stage) -> bool:
    """Whether a stage writes this input, or part of it, or a folder that it is in."""
    fs, path = dep.fs, dep.fs_path
    return any(fs.isin_or_eq(path, out.fs_path) or fs.isin(out.fs_path, path) for out in stage.outs)


def collected(repo: Repo, target: str) -> list[Stage]:
    """The stages that a target names; UserError with the names that are like it where there is none."""
    try:
        return list(repo.stage.collect(target))
    except DvcException as error:
        names = {stage.addressing for stage in repo.index.stages}
        names |= {name.partition("@")[0] for name in names}
        near = difflib.get_close_matches(target, sorted(names), n=3)
        like = f" (like it: {', '.join(near)})" if near else ""
        raise UserError(f"there is no stage {target!r}{like}; `dvc stage list --name-only` has all names") from error


def stale(repo: Repo, targets: Sequence[str], check: subprocess.Popen[str] | None = None) -> list[Step]:
    """Every stage that `dvc repro` of the targets would not pass over, in the order in which it would come to them."""
    wanted = [stage for target in targets for stage in collected(repo, target)]
    status = repo.status()
    graph = get_active_graph(repo.index.graph)
    steps: list[Step] = []
    unknown: set[Stage] = set()  # stages whose outputs nobody knows before they have run
    known: dict[str, Any] = {}  # the outputs of stages that are restored, by path

    for stage in plan_repro(graph, wanted):
        name = stage.addressing
        if stage.frozen or not stage.cmd:
            missing = [f"out {out} missing; run `dvc checkout`" for out in stage.outs if not out.exists]
            if missing:
                unknown.add(stage)
                steps.append(Step(name, "stop", missing))
            elif stage.frozen:
                steps.append(Step(name, "frozen", ["frozen: not run, whatever changed"]))
            continue

        upstream = list(graph.successors(stage))
        given = [dep for dep in stage.deps if dep.fs_path in known]
        others = [dep for dep in stage.deps if dep.fs_path not in known]
        # A restored folder may hold an input, or lie in one: what the input will be is not known then either.
        partly = {
            s for s in upstream if any(out.fs_path in known for out in s.outs) and any(meets(d, s) for d in others)
        }
        waits = [s for s in upstream if s in unknown | partly]
        decided = {str(dep) for dep in stage.deps if dep in given or any(meets(dep, s) for s in waits)}

        why = reasons(stage, status.get(name, []), decided)
        lost = [dep for dep in others if str(dep) not in decided and not dep.exists]
        only_outs = all(reason.startswith("out ") for reason in why)
        for dep in given:
            if dep.hash_info != known[dep.fs_path].hash_info:
                why.append(f"dep {dep} restored")
                only_outs = False
        why += [f"after {s.addressing}" for s in waits]
        if not why:
            continue

        found = None
        if not waits and not lost:
            for dep in given:
                take(dep, known[dep.fs_path])
            for dep in others if not only_outs else []:
                dep.save()
            found = restored(repo, stage, only_outs)
        if found is not None:
            known |= {out.fs_path: out for out in found}
        elif not (name == SETTINGS_CHECK and check and writes_the_same(check)):
            unknown.add(stage)
        steps.append(Step(name, "stop" if lost else "run" if found is None else "restore", why))
    return steps


def start_settings_check(repo: Repo) -> subprocess.Popen[str] | None:
    """Start the check that check_settings would make; it takes seconds to import all stages, so DVC works beside it."""
    if not any(stage.addressing == SETTINGS_CHECK and stage.changed() for stage in repo.index.stages):
        return None
    # Another spelling of params.yaml: the check does not write its metrics file then.
    command = [sys.executable, "-m", f"stages.{SETTINGS_CHECK}", "./params.yaml"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def writes_the_same(check: subprocess.Popen[str]) -> bool:
    """Whether metrics/check_settings.json would stay as it is; UserError with the first line of what is refused."""
    said = check.communicate()[1]
    if check.returncode:
        wrong = [line.removeprefix("./") for line in said.splitlines() if line.startswith("./params.yaml:")]
        first = (wrong or said.strip().splitlines()[-1:] or ["the check of params.yaml failed"])[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(f"{first}{more}; `python -m stages.{SETTINGS_CHECK}` tells all")
    settings = yaml_file.load(Path("params.yaml").read_text(encoding="utf-8"))
    return metrics(SETTINGS_CHECK).get("sections") == sorted(settings)


def plan(repo: Repo, targets: Sequence[str] = ()) -> list[Step]:
    """Every stage that `dvc repro` of the targets, or of all, would not pass over, with what it takes."""
    with lock_repo(repo):  # one lock for all: DVC reads the graph anew with each
        check = start_settings_check(repo)
        try:
            steps = stale(repo, targets, check)
        finally:
            if check:
                check.kill()
    history = durations()
    settings = yaml_file.load(Path("params.yaml").read_text(encoding="utf-8")) if Path("params.yaml").exists() else {}
    filled = []
    for step in steps:
        name, _, member = step.stage.partition("@")
        figures = metrics(step.stage)
        seconds, from_siblings = estimate(step.stage, history) if step.action == "run" else (None, False)
        section = settings.get(name)
        files = endpoints(section, member) if step.action == "run" and isinstance(section, Mapping) else []
        filled.append(
            Step(step.stage, step.action, step.why, last_run(figures), seconds, from_siblings, money(files, figures))
        )
    return filled


# -- as text ----------------------------------------------------------------------------------------------------------


def spoken(seconds: float) -> str:
    """A time as people say it: 12 s, 4 min 10 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def time_cell(step: Step) -> str:
    if step.action != "run":
        return {"restore": "from the cache", "stop": "FAILS", "frozen": "not run"}[step.action]
    return "unknown" if step.seconds is None else f"{'~' if step.from_siblings else ''}{spoken(step.seconds)}"


def money_cell(spent: Money | None) -> str:
    if spent is None:
        return ""
    if spent.at_most is None:
        return spent.basis
    return f"{'about' if spent.basis == 'last run' else 'at most'} {spent.at_most:.2f} ({spent.basis})"


def table(steps: Sequence[Step]) -> Rows:
    """A row for every stage; the column of costs only where something costs money."""
    rows: Rows = [("stage", "why", "last run", "time", "cost")]
    for step in steps:
        more = f"; {len(step.why) - 2} more" if len(step.why) > 2 else ""
        counts = ", ".join(f"{count:,} {name}" for name, count in step.last_run.items())
        rows.append((step.stage, "; ".join(step.why[:2]) + more, counts, time_cell(step), money_cell(step.money)))
    return rows if any(step.money for step in steps) else [row[:-1] for row in rows]


def total(steps: Sequence[Step]) -> str:
    """How many stages, how long, and for how much."""
    running = [step for step in steps if step.action == "run"]
    times = [step.seconds for step in running if step.seconds is not None]
    unknown = len(running) - len(times)
    parts = [f"{len(running)} to run"]
    for action, words in (("restore", "from the cache"), ("stop", "cannot run")):
        count = sum(step.action == action for step in steps)
        parts += [f"{count} {words}"] if count else []
    if running:
        known = f"{'at least' if unknown else 'about'} {spoken(sum(times))}"
        parts.append((known if times else "time unknown") + (f" ({unknown} never timed here)" if unknown else ""))
    bills = [step.money for step in running if step.money]
    if bills:
        limits = [bill.at_most for bill in bills if bill.at_most is not None]
        how = "about" if any(bill.basis == "last run" for bill in bills) else "at most"
        parts.append(f"cost {how} {sum(limits):.2f}" if len(limits) == len(bills) else "cost without a limit")
    return "Total: " + ", ".join(parts) + "."


def as_text(steps: Sequence[Step]) -> str:
    """What `make plan` prints."""
    todo = [step for step in steps if step.action != "frozen"]
    if not todo:
        parts = ["Nothing to do."]
    else:
        parts = [plain(table(todo)), total(todo)]
        if any(reason.startswith("after ") for step in todo for reason in step.why):
            parts.append(
                "A stage that only follows others (after …) is passed over if what it reads comes out the same."
            )
    frozen = [step.stage for step in steps if step.action == "frozen"]
    return "\n\n".join(parts + [f"Frozen, never run: {', '.join(frozen)}."] * bool(frozen))


def as_json(steps: Sequence[Step]) -> str:
    """The same for programs: the steps, and the total with whether it is a lower bound."""
    running = [step for step in steps if step.action == "run"]
    seconds = sum(step.seconds for step in running if step.seconds is not None)
    at_least = any(step.seconds is None for step in running)
    told = {"stages": [asdict(step) for step in steps], "seconds": round(seconds, 1), "at_least": at_least}
    return json.dumps(told, indent=2)


def show(targets: Sequence[str] = (), *, json_wanted: bool = False) -> bool:
    """Print the plan for these targets, or for all, of the DVC repository that this folder is in.

    False where `dvc repro` would fail, as a file is missing.
    """
    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns of frozen stages, which are told here
    try:
        os.chdir(Repo.find_root())
        with Repo() as repo:
            steps = plan(repo, targets)
    except NotDvcRepoError as error:
        raise UserError(" ".join(str(error).split())) from error
    except DvcException as error:
        if not Path("params.yaml").exists():  # dvc.yaml takes paths and members from it
            raise UserError("there is no params.yaml; `make profile P=embedded` writes it") from error
        raise UserError(" ".join(str(error).split())) from error
    print(as_json(steps) if json_wanted else as_text(steps))
    return all(step.action != "stop" for step in steps)
