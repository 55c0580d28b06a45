"""What a stage takes: the time of its last runs, their rows and tokens, and what its endpoints may cost.

Times are from .work/durations.jsonl, of this machine; rows and tokens from metrics/; caps and prices from the files of
endpoints.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ruamel.yaml import YAMLError

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.core.stage import DURATIONS

COUNTS = ("responses", "answers", "demonstrations", "pairs", "kept", "accepted", "steps")
"""What the metrics of a stage count its rows by."""


@dataclass(frozen=True)
class Money:
    """What a stage may spend at its endpoints."""

    at_most: float | None
    """A limit, or what the last run cost; None where neither is known."""

    basis: str
    """`max_cost`, `last run`, or what to do about a cost that is not known."""


def metrics(stage: str) -> dict[str, Any]:
    """The figures of a stage's last run; none where it has no metrics file."""
    file = Path("metrics") / f"{stage.replace('@', '/')}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def last_run(figures: Mapping[str, Any]) -> dict[str, int]:
    """The rows and tokens of the last run, as far as its metrics tell."""
    counts = {key: figures[key] for key in COUNTS if isinstance(figures.get(key), int)}
    if "target_tokens" in figures:
        counts["tokens"] = figures["target_tokens"]
    elif counts and "tokens" in figures:  # of one response or answer
        counts["tokens"] = round(figures["tokens"] * next(iter(counts.values())))
    return counts


def durations(file: Path = DURATIONS) -> dict[str, list[float]]:
    """The seconds of every run that this machine knows of, by stage, the oldest first."""
    found: dict[str, list[float]] = {}
    for name, seconds, _ in _runs(file):
        found.setdefault(name, []).append(seconds)
    return found


def last_whole(file: Path) -> dict[str, float]:
    """The seconds of every stage's last run, where it was not the rest of an interrupted one."""
    last = {name: (seconds, is_rest) for name, seconds, is_rest in _runs(file)}
    return {name: seconds for name, (seconds, is_rest) in last.items() if not is_rest}


def _runs(file: Path) -> Iterator[tuple[str, float, bool]]:
    """The stage of every run, its seconds, and whether an interrupted run had begun it."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            name = row["stage"] if row["item"] is None else f"{row['stage']}@{row['item']}"
            yield name, float(row["seconds"]), bool(row.get("resumed"))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}:{number}: no duration: {line[:80]!r}; remove the line") from error


def estimate(stage: str, history: Mapping[str, Sequence[float]]) -> tuple[float | None, bool]:
    """The median of a stage's last five runs, else that of its siblings' medians; and whether it is the siblings'."""
    if stage in history:
        return median(history[stage][-5:]), False
    family = stage.split("@")[0] + "@"
    siblings = [median(runs[-5:]) for name, runs in history.items() if name.startswith(family)]
    return (median(siblings), True) if siblings else (None, False)


def endpoints(settings: Mapping[str, Any], member: str) -> list[str]:
    """The files of endpoints that a section names as `model` or `endpoint`, for one member of a family."""
    found = [settings[key] for key in ("model", "endpoint") if str(settings.get(key, "")).endswith((".yaml", ".yml"))]
    for value in settings.values():
        if isinstance(value, Mapping):
            inner = value.get(member, value)
            found += endpoints(inner, member) if isinstance(inner, Mapping) else []
    return sorted(set(found))


def money(files: Sequence[str], figures: Mapping[str, Any]) -> Money | None:
    """The most that a stage may spend; None where it asks no endpoint."""
    if not files:
        return None
    total, bases = 0.0, set()
    for name in files:
        try:
            endpoint = yaml_file.load(Path(name).read_text(encoding="utf-8"))
            if endpoint.get("max_cost") is not None:
                total += float(endpoint["max_cost"])
                bases.add("max_cost")
            elif len(files) == 1 and {"prompt_tokens", "completion_tokens"} <= figures.keys():
                for kind in ("prompt", "completion"):
                    total += figures[f"{kind}_tokens"] * float(endpoint[f"{kind}_price"]) / 1e6
                bases.add("last run")
            else:
                return Money(None, f"unknown: set max_cost in {name}")
        except (OSError, YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{name}: no endpoint that tells its price: {error!r}") from error
    return Money(round(total, 6), bases.pop())
