"""Of which models and files the figures of a run are, with hashes: from its params.yaml, dvc.lock and folder."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.reporting import recorded

FILES = (
    "mine_queries.seed_queries",
    "mine_queries.eval_questions",
    "train_asis_reward.community_qa",
    "label_gold.human_pairs",
    "score_rewards.human_pairs",
    "score_rewards.votes",
    "score_benchmarks.heldout_text",
    "score_benchmarks.hhh",
    "score_benchmarks.truthfulqa",
    "train_ditto.authors",
    "sample_ditto.authors",
    "score_ditto.texts",
    "score_ditto.plain",
)
"""The settings that name people's files, or hold others that do."""


def inputs(folder: Path) -> dict[str, Any]:
    """The base models and people's files of the run in a folder.

    models  by size: the settings of `base_models`, and md5 of the folder that was made of it, None before it was
    files   by setting, and by what stands below it: path, sha256 of the file as it lies there, and md5 as the stage's
            run had it where DVC tracks it

    A file that is not there has no sha256.  UserError when the folder has no params.yaml.
    """
    file = folder / "params.yaml"
    if not file.is_file():
        raise UserError(f"{file}: no such file; a metrics folder lies beside the params.yaml and dvc.lock of its run")
    settings = yaml_file.load(file.read_text(encoding="utf-8"))
    lock = recorded.read_lock(folder)
    made = _hashes(lock.get("base_models", {}).get("outs", []))  # others may be of another run, of other settings
    models = {
        size: dict(given) | {"md5": made.get(f"models/base/{size}")}
        for size, given in _mapping(recorded.at(settings, "base_models")).items()
    }
    named = [pair for key in FILES for pair in _named(key, recorded.at(settings, key))]
    files = {key: _file(folder, path, _read_by(lock, key.split(".")[0])) for key, path in named}
    return {"models": models, "files": files}


def shared(names: Sequence[str], all_inputs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The `inputs` of all runs; UserError when one has others than the first, whose figures then are no seeds of one.

    names  of the runs, for the error
    """
    first = all_inputs[0]
    for run, other in zip(names[1:], all_inputs[1:], strict=True):
        for part in ("models", "files"):
            for name in sorted({*first[part], *other[part]}):
                one, its = first[part].get(name), other[part].get(name)
                if one != its:
                    raise UserError(
                        f"{run}: {name} is {its}, and in {names[0]} it is {one}; seeds have the same models and "
                        "files, so leave the one out, or run it again"
                    )
    return first


def _read_by(lock: recorded.Lock, section: str) -> dict[str, Any]:
    stages = [stage for name, stage in lock.items() if name.split("@")[0] == section]
    return _hashes([dep for stage in stages for dep in stage.get("deps", [])])


def _hashes(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {entry["path"]: entry.get("md5") for entry in entries}


def _named(key: str, found: Any) -> list[tuple[str, str]]:
    """Every file that a setting, or what it holds, names: `key.author.prompts` and its path."""
    if isinstance(found, str):
        return [(key, found)]
    return [pair for name, below in _mapping(found).items() for pair in _named(f"{key}.{name}", below)]


def _file(folder: Path, path: str, hashed: Mapping[str, Any]) -> dict[str, Any]:
    file = folder / path
    content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
    return {"path": path, "sha256": content, "md5": hashed.get(path)}


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}
