"""This machine's own files, which git ignores: how `accelerate launch` starts a stage, and what the machine holds."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def files() -> dict[str, Path]:
    """Where the two are, by the name under which a stage reads them."""
    hardware = os.environ.get("SYNTHALIGN_HARDWARE", "hardware.yaml")
    return {"accelerate.yaml": Path("accelerate.yaml"), "hardware.yaml": Path(hardware)}


def settings(file: Path) -> dict[str, Any]:
    """What a file of YAML says, nothing where there is none; the stages check each key. ValueError: it has no keys."""
    if not file.exists():
        return {}
    try:
        found = YAML(typ="safe").load(file) or {}
    except YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds {found!r}: write `key: value` lines, as in accelerate/")
    return found


def both() -> tuple[dict[str, Any], dict[str, Any]]:
    """What accelerate.yaml and hardware.yaml say."""
    launch, hardware = map(settings, files().values())
    return launch, hardware


def has_several_processes(launch: Mapping[str, Any]) -> bool:
    """Whether accelerate.yaml starts a stage as several processes: they find each other at one port and share the
    machine's devices, so one such stage works at a time."""
    return bool(launch.get("num_processes", 1) != 1)
