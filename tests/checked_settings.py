"""Settings of one's own through check_settings: the embedded profile, to be changed.

settings = checked_settings.embedded()
settings["train_sft"]["model"] = "my/llama"
checked_settings.complaint(tmp_path, settings)      # what is told; checked_settings.check where nothing is
"""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from stages import check_settings
from synthalign.commands import profiles
from synthalign.core.errors import UserError


def embedded() -> dict[str, Any]:
    """The settings of the embedded profile, to be changed."""
    return deepcopy(_embedded())


@cache
def _embedded() -> dict[str, Any]:
    return yaml.safe_load(profiles.composed(Path("profiles/embedded.yaml")).settings)


def check(folder: Path, settings: dict[str, Any]) -> None:
    """Check them as a file in this folder."""
    YAML().dump(settings, folder / "mine.yaml")
    check_settings.main(str(folder / "mine.yaml"))


def complaint(folder: Path, settings: dict[str, Any]) -> str:
    """What is told of them."""
    with pytest.raises(UserError) as caught:
        check(folder, settings)
    return str(caught.value)
