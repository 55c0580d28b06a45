"""Check the whole of params.yaml, and the files it names, before any stage loads a model.

python -m stages.check_settings profiles/smollm.yaml      checks a profile that is not in force, composed with base.yaml
"""

import importlib
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from synthalign.commands import profiles, setting_files, setting_graph, setting_stages
from synthalign.core import stage
from synthalign.core.errors import UserError


def stages_with_settings() -> dict[str, type[BaseModel]]:
    """The Params of every stage file that has one, by the name of its section."""
    names = sorted(
        file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in ("__init__", Path(__file__).stem)
    )
    modules = {name: importlib.import_module(f"stages.{name}") for name in names}
    return {name: module.Params for name, module in modules.items() if hasattr(module, "Params")}


def wrong_sections(settings: dict[str, Any], file: str) -> list[str]:
    """Every wrong, missing or unknown key of the file, one line each."""
    expected = stages_with_settings()
    lines = [
        f"{file}: {name}: no stage has this name; allowed: {', '.join(expected)}"
        for name in sorted(set(settings) - set(expected))
    ]
    for name, params in expected.items():
        if name not in settings:
            lines.append(f"{file}: {name}: the section is missing; compare with profiles/base.yaml")
            continue
        try:
            params.model_validate(settings[name])
        except ValidationError as error:
            lines += stage.explain(name, error, file)
    return lines


def wrong_together(settings: dict[str, Any]) -> list[str]:
    """What is wrong with settings that are each right: by the files they name, by each other, and by the graph."""
    return (
        setting_graph.wrong_names(settings) + setting_files.wrong(settings) + setting_stages.wrong(settings)
        or setting_graph.wrong(settings)
        or setting_files.wrong_held_out(settings)
    )


def main(file: str) -> None:
    overlay = profiles.is_overlay(file)
    settings = stage.checked(profiles.composed(Path(file)).settings, file) if overlay else stage.read(file)
    wrong = wrong_sections(settings, file) or wrong_together(settings)
    if wrong:
        raise UserError(f"{len(wrong)} wrong\n" + "\n".join(wrong))

    if file == "params.yaml":
        stage.write_metrics("check_settings", sections=sorted(settings))
        stage.note_duration("check_settings")
    print(f"{file}: {len(settings)} sections, all right")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "params.yaml")
    except UserError as error:
        print(f"check_settings: {error}", file=sys.stderr)
        raise SystemExit(1) from error
