"""The stages of dvc.yaml with the members of their families, `${...}` filled in from params.yaml."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from synthalign.core import yaml_file

Values = Mapping[str, Any]


def members(stage: Values, settings: Values) -> dict[str, tuple[Values, Values]]:
    """A stage's members by name, each with its entry and the values that `${...}` in it stands for.

    stage     an entry below `stages` in dvc.yaml; one that is no family is its only member, named ''
    settings  the content of params.yaml
    """
    if "foreach" not in stage:
        return {"": (stage, settings)}
    over = stage["foreach"]
    over = at(settings, over[2:-1]) if isinstance(over, str) else over
    named = over if isinstance(over, Mapping) else {item: item for item in over}
    return {str(key): (stage["do"], {**settings, "key": key, "item": item}) for key, item in named.items()}


def paths(entries: Sequence[Any], values: Values) -> Iterator[str]:
    """The files and folders of deps, outs or metrics; an entry is a path, or a path with what holds for it."""
    for entry in entries:
        path = entry if isinstance(entry, str) else next(iter(entry))
        yield re.sub(r"\$\{([^}]*)\}", lambda match: str(at(values, match[1])), path)


def tables(folder: Path = Path(".")) -> dict[str, str]:
    """The tables that the graph of a checkout makes ("queries", "responses/a"), each with its stage; {} elsewhere."""
    if not (folder / "dvc.yaml").is_file():
        return {}
    stages = yaml_file.load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    settings = yaml_file.load((folder / "params.yaml").read_text(encoding="utf-8"))
    found = {}
    for name, stage in stages.items():
        for member, (entry, values) in members(stage, settings).items():
            for path in paths(entry.get("outs", []), values):
                if table := re.fullmatch(r"data/(.*)\.parquet", path):
                    found[table[1]] = f"{name}@{member}" if member else name
    return found


def at(values: Values, place: str) -> Any:
    """The value at a place like `section.key`."""
    return reduce(lambda value, key: value[key], place.split("."), values)
