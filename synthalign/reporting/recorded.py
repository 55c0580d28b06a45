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

Claim = Mapping[str, Any]
"""A claim of `claims.claims`."""

Lock = Mapping[str, Mapping[str, Any]]
"""The stages of a dvc.lock."""

FILES = ("claims", "methods", "recorded")
"""What `make claims` writes of several seeds; no metrics of one run."""

NO_METRICS = (*FILES, "real_claims")
"""The same, and what `real_claims` writes."""


def is_of_one_run(name: str) -> bool:
    """Whether a JSON file with this path below metrics/ holds metrics of one run: no plot, nothing of several seeds."""
    return name not in NO_METRICS and not name.startswith(("plots/", "seeds/"))


def read_lock(folder: Path) -> Lock:
    """The stages of the folder's dvc.lock; none where there is no such file."""
    file = folder / "dvc.lock"
    if not file.is_file():
        return {}
    return dict((yaml_file.load(file.read_text(encoding="utf-8")) or {}).get("stages") or {})


def digest(value: Any) -> str:
    """Eight hex digits of a value, the order of keys aside."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def of_settings(settings: Mapping[str, Any], sections: Sequence[str]) -> dict[str, str]:
    """Eight hex digits of each of these sections of params.yaml, seeds aside: what an experiment beside the graph says
    of the settings that it was run with (`of_settings` in its metrics file)."""
    return {name: digest(_seedless(settings[name])) for name in sections}


def _seedless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _seedless(one) for key, one in value.items() if key != "seed"}
    return value


def of_others(figures: Any, settings: Mapping[str, Any]) -> bool:
    """Whether a metrics file says that it is of other settings than these."""
    told = figures.get("of_settings", {}) if isinstance(figures, Mapping) else {}
    known = [name for name in told if name in settings]
    return len(known) < len(told) or of_settings(settings, known) != told


def lock_digest(lock: Lock) -> str:
    """Eight hex digits of all outputs, but for the page, which shows them."""
    return digest({out["path"]: out["md5"] for name in lock if name != "report" for out in lock[name].get("outs", [])})


def hashes(metrics: Path) -> dict[str, str]:
    """The MD5 of every metrics file below the folder by its name, as dvc.lock has it; those of one run."""
    found = {}
    for file in sorted(metrics.rglob("*.json")):
        name = file.relative_to(metrics).with_suffix("").as_posix()
        if is_of_one_run(name):
            found[name] = hashlib.md5(file.read_bytes()).hexdigest()
    return found


def origin(lock: str, settings: str, seeds: int, first: Sequence[Claim]) -> dict[str, Any]:
    """What metrics/recorded.json says of the run of the first seed.

    lock      eight hex digits of its outputs
    settings  eight hex digits of its params.yaml
    seeds     how many runs the recorded figures are of
    figures   what it alone had for each claim
    """
    found = {claim["id"]: figure(claim) for claim in first}
    return {"lock": lock, "settings": settings, "seeds": seeds, "figures": found}


def figure(claim: Claim) -> list[float] | None:
    """Value, interval and n of a claim; None where it was not measured."""
    return None if claim["value"] is None else [claim["value"], claim["low"], claim["high"], claim["n"]]


def of_this_run(known: Sequence[Claim], of: Mapping[str, Any], here: Sequence[Claim]) -> list[Claim]:
    """The recorded claims of which the run at hand is the first seed: its figure is the one recorded, to the digit.

    of    metrics/recorded.json
    here  the claims of the run at hand alone
    """
    before, now = of.get("figures", {}), {claim["id"]: figure(claim) for claim in here}
    return [claim for claim in known if now.get(claim["id"]) and now[claim["id"]] == before.get(claim["id"])]


def stands(known: Sequence[Claim], of: Mapping[str, Any], here: Sequence[Claim]) -> bool:
    """Whether nothing that the run at hand measured differs from what was recorded, and something is the same."""
    measured = sum(figure(claim) is not None for claim in here)
    return 0 < measured == len(of_this_run(known, of, here))


def said(of: Mapping[str, Any]) -> str:
    """Which run the figures are of, in words."""
    seeds, lock, settings = (of.get(key, "?") for key in ("seeds", "lock", "settings"))
    return f"recorded over {seeds} seeds (outputs {lock}, settings {settings})"


def state(of: Mapping[str, Any], here: Sequence[Claim]) -> str:
    """Which run the figures are of, and whether the metrics files are still that run's, in a sentence."""
    before, now = of.get("figures", {}), {claim["id"]: figure(claim) for claim in here}
    changed = sum(now.get(name) != found for name, found in before.items())
    if not before:
        return "Nobody wrote down of which run the recorded figures are; `make claims` does."
    if not changed:
        return f"Figures are {said(of)}; the first seed is the run in `dvc.lock`."
    return (
        f"Figures are {said(of)}, an earlier run: {changed} of the {len(before)} figures of its first seed changed "
        "since then, and `make claims` has not been run again."
    )


def folder_md5(files: Mapping[str, str]) -> str:
    """The hash of a folder as dvc.lock has it: that of the list of its files, {path in it: MD5}."""
    listed = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def up_to_date(lock: Lock, settings: Mapping[str, Any]) -> set[str]:
    """The stages whose last run was with these settings and with what the stages before them made last.

    A stage that was not run after a setting, or a stage before it, changed has its old outputs still; they are of
    another run. Changes of code are not looked at, nor is check_settings, which reads all settings and makes nothing.
    """
    made = {out["path"]: (name, out["md5"]) for name, stage in lock.items() for out in stage.get("outs", [])}
    known = {"check_settings": True}

    def is_as_made(path: str, md5: str) -> bool:
        """Whether what a stage has read was made by stages, and made last, that are current; or by none."""
        if path in made:
            maker, now = made[path]
            return md5 == now and is_current(maker)
        below = {name: of for name, of in made.items() if name.startswith(f"{path}/")}  # a family's members
        here = {name.removeprefix(f"{path}/"): now for name, (maker, now) in below.items() if is_current(maker)}
        return not below or md5 == folder_md5(here)  # dvc.lock keeps members that are taken out

    def is_current(name: str) -> bool:
        if name not in known:
            known[name] = True  # for itself; DVC's graph has no circles
            asked = lock[name].get("params", {}).get("params.yaml", {})
            same = all(at(settings, key) == value for key, value in asked.items())
            known[name] = same and all(is_as_made(dep["path"], dep["md5"]) for dep in lock[name].get("deps", []))
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
