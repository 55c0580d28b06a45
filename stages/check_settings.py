"""Check the whole of params.yaml, and the files it names, before any stage loads a model.

python -m stages.check_settings profiles/smollm.yaml      checks a profile that is not in force
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from synthalign import authors, contrast, demonstrations, endpoint, principles, revision, stage, vllm_engine
from synthalign.errors import UserError


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
            lines.append(f"{file}: {name}: the section is missing; compare with profiles/embedded.yaml")
            continue
        try:
            params.model_validate(settings[name])
        except ValidationError as error:
            lines += stage.explain(name, error, file)
    return lines


def sections(settings: Any, place: str) -> list[tuple[str, dict[str, Any]]]:
    """The settings and all settings within them, each with its place."""
    if not isinstance(settings, dict):
        return []
    within = [found for key, value in settings.items() for found in sections(value, f"{place}.{key}")]
    return [(place, settings), *within]


def wrong_inputs(settings: dict[str, Any]) -> list[str]:
    """What is wrong with the files of demonstrations and phrases and the endpoints that the settings name, and with the
    engines."""
    lines = []
    for stage_name, values in settings.items():
        for place, given in sections(values, stage_name):
            try:
                if isinstance(given.get("demonstrations"), str) and isinstance(given.get("shots"), int):
                    demonstrations.load(given["demonstrations"]).take(given["shots"])
                if "affixes" in given:
                    contrast.load(given["affixes"], given["task"])
                if "principles" in given:
                    principles.load(given["principles"]).of(given["task"], given["principles"])
                if "constitution" in given:
                    revision.load(given["constitution"]).prefix(given["shots"], given["constitution"])
                if given.get("engine") == "vllm":
                    vllm_engine.check_installed()
            except UserError as error:
                lines.append(f"{place}: {error}")
            if given.get("endpoint") is not None:
                asked = str(given["endpoint"])
                lines += [f"{place}.endpoint: {line}" for line in wrong_endpoint(asked, writes=True)]
            model = str(given.get("model"))
            if endpoint.is_endpoint(model):
                lines += [f"{place}.model: {line}" for line in wrong_endpoint(model, writes="engine" in values)]
    return lines


def wrong_endpoint(file: str, *, writes: bool) -> list[str]:
    """What is wrong with an endpoint in the place of a model."""
    if not writes:
        return [f"{file} is an endpoint, which can be asked for texts alone; allowed here: a model folder"]
    try:
        endpoint.read(file).key(file)
    except UserError as error:
        return str(error).splitlines()
    return []


def wrong_configurations(settings: dict[str, Any]) -> list[str]:
    """What build_comparisons says of configurations that sample_responses does not bear out."""
    known, pairs = settings["sample_responses"]["configurations"], settings["build_comparisons"]["size_pairs"]
    groups = [[group] if isinstance(group, str) else group for group in settings["build_comparisons"]["ranking"]]
    places = [("ranking", name) for group in groups for name in group]
    places += [("size_pairs", name) for pair in pairs for name in pair]
    lines = [
        f"build_comparisons.{key}: {name!r} is no configuration of sample_responses that answers the split train"
        for key, name in places
        if "train" not in known.get(name, {"splits": []})["splits"]
    ]
    for larger, smaller in [pair for pair in pairs if set(pair) <= set(known)]:
        for key in ("demonstrations", "shots"):
            one, other = known[larger][key], known[smaller][key]
            if one != other:
                lines.append(f"build_comparisons.size_pairs: {larger} and {smaller} differ in {key}: {one} and {other}")
    return lines


def wrong_authors(settings: dict[str, Any]) -> list[str]:
    """What is wrong with the files of DITTO's authors, and where the four stages differ about who they are."""
    lines = []
    for name, given in settings["sample_ditto"]["authors"].items():
        try:
            shown = authors.load(given["demonstrations"])
            authors.check_held_out(authors.prompts(given["prompts"]), shown, given["prompts"])
        except UserError as error:
            lines.append(f"sample_ditto.authors.{name}: {error}")
    files = {name: given["demonstrations"] for name, given in settings["sample_ditto"]["authors"].items()}
    for section in ("train_ditto", "train_spin"):
        found = {name: given["demonstrations"] for name, given in settings[section]["authors"].items()}
        if found != files:
            lines.append(f"{section}.authors: {found} where sample_ditto.authors has {files}; they must be the same")
    unknown = sorted(set(settings["score_ditto"]["authors"]) - set(files))
    return lines + [f"score_ditto.authors: {name!r} is no author of sample_ditto" for name in unknown]


def main(file: str) -> None:
    try:
        settings = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{file} has no sections; compare with profiles/embedded.yaml")

    wrong = wrong_sections(settings, file) or wrong_inputs(settings) + wrong_configurations(settings)
    wrong = wrong or wrong_authors(settings)
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
