"""What is wrong with the files that settings name, and where the settings of several stages do not fit together."""

from typing import Any

from synthalign import authors, contrast, demonstrations, endpoint, principles, revision, vllm_engine
from synthalign.errors import UserError


def wrong(settings: dict[str, Any]) -> list[str]:
    """Everything that is, one line each; the settings are of the right types by now."""
    return (wrong_inputs(settings) + wrong_configurations(settings)) or wrong_authors(settings)


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
