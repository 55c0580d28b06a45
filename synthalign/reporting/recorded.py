"""Which run the recorded claims are of, and which of them the run at hand has measured.

`make claims` takes hours, so its figures are recorded: metrics/claims.json and metrics/methods.json. They are of one
graph and its settings, and metrics/recorded.json says of which. A page about another run must not show them as its own.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthalign.core import yaml_file

Lock = Mapping[str, Mapping[str, Any]]
"""The stages of a dvc.lock."""

FILES = ("claims", "methods", "recorded")
"""What `make claims` writes of several seeds; no metrics of one run."""


def read_lock(folder: Path) -> Lock:
    """The stages of the folder's dvc.lock; none where there is no such file."""
    file = folder / "dvc.lock"
    if not file.is_file():
        return {}
    return dict((yaml_file.load(file.read_text(encoding="utf-8")) or {}).get("stages") or {})


def digest(value: Any) -> str:
    """Eight hex digits of a value, the order of keys aside."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def lock_digest(lock: Lock) -> str:
    """Eight hex digits of all outputs, but for the page, which shows them."""
    return digest({out["path"]: out["md5"] for name in lock if name != "report" for out in lock[name].get("outs", [])})


def hashes(metrics: Path) -> dict[str, str]:
    """The MD5 of every metrics file below the folder by its name, as dvc.lock has it; plots and FILES left out."""
    found = {}
    for file in sorted(metrics.rglob("*.json")):
        name = file.relative_to(metrics).with_suffix("").as_posix()
        if name not in FILES and not name.startswith("plots/"):
            found[name] = hashlib.md5(file.read_bytes()).hexdigest()
    return found


def origin(metrics: Path, seeds: int) -> dict[str, Any]:
    """What metrics/recorded.json says: the run of the first seed, whose metrics these are.

    lock      eight hex digits of its outputs
    settings  eight hex digits of its params.yaml
    seeds     how many runs the recorded figures are of
    metrics   the MD5 of each of its metrics files
    """
    settings = yaml_file.load((metrics.parent / "params.yaml").read_text(encoding="utf-8"))
    lock = lock_digest(read_lock(metrics.parent))
    return {"lock": lock, "settings": digest(settings), "seeds": seeds, "metrics": hashes(metrics)}


def source(claim: Mapping[str, Any]) -> str:
    """The name of the metrics file that a claim's figure comes from."""
    file = str(claim["source"]).split("; ")[-1].split(":")[0]
    return file.removeprefix("metrics/").removesuffix(".json")


def of_this_run(
    claims: Sequence[Mapping[str, Any]], of: Mapping[str, Any], now: Mapping[str, str]
) -> list[Mapping[str, Any]]:
    """The recorded claims whose metrics file is, byte for byte, one of the run at hand.

    of   metrics/recorded.json
    now  the MD5 of the run's metrics files by name; a file that the run did not make is not there
    """
    before = of.get("metrics", {})
    return [claim for claim in claims if source(claim) in now and now[source(claim)] == before.get(source(claim))]


def stands(claims: Sequence[Mapping[str, Any]], of: Mapping[str, Any], now: Mapping[str, str]) -> bool:
    """Whether nothing that the run at hand measured differs from what was recorded, and something is the same."""
    ours = [claim for claim in claims if source(claim) in now]
    return bool(ours) and len(of_this_run(ours, of, now)) == len(ours)


def said(of: Mapping[str, Any]) -> str:
    """Which run the figures are of, in words."""
    seeds, lock, settings = (of.get(key, "?") for key in ("seeds", "lock", "settings"))
    return f"recorded over {seeds} seeds (outputs {lock}, settings {settings})"


def state(of: Mapping[str, Any], now: Mapping[str, str]) -> str:
    """Which run the figures are of, and whether the metrics files are still that run's, in a sentence."""
    before = of.get("metrics", {})
    changed = sum(now.get(name) != md5 for name, md5 in before.items())
    if not before:
        return "Nobody wrote down of which run the recorded figures are; `make claims` does."
    if not changed:
        return f"Figures are {said(of)}; the first seed is the run in `dvc.lock`."
    return (
        f"Figures are {said(of)}, an earlier run: {changed} of its {len(before)} metrics files have changed since, and "
        "`make claims` has not been run again."
    )


def up_to_date(lock: Lock, settings: Mapping[str, Any]) -> set[str]:
    """The stages whose last run was with these settings and with what the stages before them made last.

    A stage that was not run after a setting, or a stage before it, changed has its old outputs still; they are of
    another run. Changes of code are not looked at, nor is check_settings, which reads all settings and makes nothing.
    """
    made = {out["path"]: (name, out["md5"]) for name, stage in lock.items() for out in stage.get("outs", [])}
    known = {"check_settings": True}

    def is_current(name: str) -> bool:
        if name not in known:
            known[name] = True  # for itself; DVC's graph has no circles
            asked = lock[name].get("params", {}).get("params.yaml", {})
            same = all(at(settings, key) == value for key, value in asked.items())
            before = [(*made[dep["path"]], dep["md5"]) for dep in lock[name].get("deps", []) if dep["path"] in made]
            known[name] = same and all(md5 == now and is_current(maker) for maker, md5, now in before)
        return known[name]

    return {name for name in lock if is_current(name)}


MISSING = object()


def at(settings: Any, key: str) -> Any:
    """What stands at a dotted key; MISSING where nothing does."""
    for part in key.split("."):
        if not isinstance(settings, Mapping) or part not in settings:
            return MISSING
        settings = settings[part]
    return settings


def current(metrics: Path, lock: Lock, settings: Mapping[str, Any]) -> set[str]:
    """The names of the metrics files that the stages made which are up to date."""
    now = hashes(metrics)
    stages = up_to_date(lock, settings)
    made = {out["path"]: out["md5"] for name in stages for out in lock[name].get("outs", [])}
    return {name for name, md5 in now.items() if made.get(f"metrics/{name}.json") == md5}
