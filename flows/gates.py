"""Whether a run made anything worse: the figures of flows/gates.yaml against the accepted ones, with intervals."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML, YAMLError

GATES = Path("flows/gates.yaml")
BASELINE = Path("flows/baseline.json")

Figure = Mapping[str, float | int | None]
"""value, and low, high (95%) and n where it was measured with them."""


class Gate(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """What a figure must not do."""

    better: Literal["higher", "lower"]
    """The direction in which it improves."""

    tolerance: float = Field(ge=0)
    """How much worse than the baseline it may become, in its own unit."""


@dataclass(frozen=True)
class Verdict:
    """A gate's figure now, at the last run and in the baseline."""

    name: str
    colour: Literal["green", "red", "new"]
    """new: the baseline does not have it yet."""

    why: str
    now: Figure | None
    last: Figure | None
    accepted: Figure | None


def read_gates(file: Path = GATES) -> dict[str, Gate]:
    """The gates by the name of their figure; ValueError with every wrong key, its value and what is allowed."""
    try:
        given = YAML(typ="safe").load(file.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, YAMLError) as error:  # a day that no calendar has is a ValueError
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{file}: a mapping from figures to gates is wanted, not {type(given).__name__}")
    gates, wrong = {}, []
    for name, values in given.items():
        if name.count(":") != 1:
            wrong.append(f"{file}: {name}: a name is file:keys, as in score_policies:policies.dpo")
            continue
        try:
            gates[name] = Gate.model_validate(values)
        except ValidationError as error:
            wrong += [
                f"{file}: {name}: {'.'.join(map(str, problem['loc']))} = {problem['input']!r}: {problem['msg']}"
                for problem in error.errors()
            ]
    if wrong:
        raise ValueError("\n".join(wrong))
    return gates


def figure(name: str, metrics: Path = Path("metrics")) -> Figure | None:
    """The figure of this name, file:keys below metrics/; None where it is not there or no finite number."""
    file, _, keys = name.partition(":")
    try:
        found: Any = json.loads((metrics / f"{file}.json").read_text(encoding="utf-8"))
        for key in keys.split("."):
            found = found[key]
        values = found if isinstance(found, dict) else {"value": found}
        kept = {key: values[key] for key in ("value", "low", "high", "n") if values.get(key) is not None}
        return kept if all(math.isfinite(value) for value in kept.values()) and "value" in kept else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def figures(names: Sequence[str]) -> dict[str, Figure]:
    """Those of these figures that are in metrics/."""
    return {name: found for name in names if (found := figure(name)) is not None}


def read_figures(file: Path) -> dict[str, Figure]:
    """Figures that were kept: the baseline, or the last run's; none where there is no file."""
    try:
        kept: dict[str, Figure] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return {name: dict(found) for name, found in kept.items() if found["value"] is not None}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{file} holds no figures ({error!r}); remove it") from error


def write_figures(found: Mapping[str, Figure], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(file)


def half(found: Figure) -> float:
    """Half the width of a figure's interval; 0 where it has none."""
    low, high = found.get("low"), found.get("high")
    return (high - low) / 2 if low is not None and high is not None else 0.0


def compare(gate: Gate, now: Figure, accepted: Figure) -> tuple[bool, str]:
    """Whether a figure passes, and why.

    With d the improvement over the baseline and h² = h_now² + h_baseline² the half-width of d's interval, the figure
    fails when d < -tolerance and d + h < 0: worse than is tolerated, and worse by more than chance explains. Both runs
    answer the same questions, so d's real interval is narrower; a drop within h passes unseen.
    """
    assert now["value"] is not None and accepted["value"] is not None
    sign = 1 if gate.better == "higher" else -1
    better_by = round(sign * (now["value"] - accepted["value"]), 9)  # .7 - .8 is below -.1
    margin = math.hypot(half(now), half(accepted))
    if better_by >= -gate.tolerance:
        return True, "no worse than is tolerated"
    if better_by + margin >= 0:
        return True, f"worse by {-better_by:.4g}, which chance explains (± {margin:.4g})"
    return False, f"worse by {-better_by:.4g} (± {margin:.4g}), tolerated {gate.tolerance:.4g}"


def judge(gates: Mapping[str, Gate], last: Mapping[str, Figure], accepted: Mapping[str, Figure]) -> list[Verdict]:
    """The verdict of every gate on the figures that are in metrics/ now."""
    verdicts = []
    for name, gate in gates.items():
        now, baseline = figure(name), accepted.get(name)
        colour: Literal["green", "red", "new"]
        if now is None:
            colour, why = "red", "not in metrics/, or no finite number"
        elif baseline is None:
            colour, why = "new", "not in the baseline; `python -m flows.accept` puts it there"
        else:
            passes, why = compare(gate, now, baseline)
            colour = "green" if passes else "red"
        verdicts.append(Verdict(name, colour, why, now, last.get(name), baseline))
    return verdicts
