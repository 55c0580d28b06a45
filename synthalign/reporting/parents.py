"""The models that a policy was made from, as dvc.lock has it, and what they are given under."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.generation import endpoint, model_folder
from synthalign.reporting import licences, lineage
from synthalign.reporting.licences import Licence, Listed
from synthalign.reporting.recorded import Lock


def bases(lock: Lock, folder: str) -> dict[str, dict[str, Any]]:
    """The base models that the policy was trained from: folder, and its source with revision as base_models had it.

    A parent is a model that a stage above reads and that base_models made; those that only wrote data for it too.
    """
    found: dict[str, dict[str, Any]] = {}
    if "base_models" not in lock:
        return found
    known = lineage.settings(lock["base_models"]).get("base_models") or {}
    made = {out["path"] for out in lineage.outs(lock["base_models"])}
    stages = lineage.above(lock, folder)
    read = {dep["path"] for name in stages for dep in lineage.deps(lock[name])} | {folder}
    for parent in sorted(made & read):
        given = known.get(Path(parent).name)
        if isinstance(given, Mapping):
            found[parent] = dict(given)
    return found


def ancestor(lock: Lock, folder: str) -> str:
    """The model from which the weights of this one were trained: from stage to stage, the model that the stage names.

    A stage says in its settings or its member's which model it starts from, as `model` or `policy`, or reads one alone.
    """
    seen = set()
    while folder not in seen:
        seen.add(folder)
        name = lineage.maker(lock, folder)
        if name is None:
            break
        starts = {value for key, value in _flat(lineage.settings(lock[name])) if key in ("model", "policy")}
        read = {dep["path"] for dep in lineage.deps(lock[name]) if dep["path"].startswith("models/")}
        parents = read & starts or read
        if len(parents) == 1:
            folder = parents.pop()
    return folder


def _flat(settings: Any, key: str = "") -> list[tuple[str, Any]]:
    """The settings with the last word of each key."""
    if isinstance(settings, Mapping):
        return [pair for name, value in settings.items() for pair in _flat(value, str(name).rpartition(".")[2])]
    return [(key, settings)] if isinstance(settings, str) else []


def inherited(lock: Lock, folder: str, listed: Listed) -> Licence | None:
    """What the licences of the parents come to: that of the weights, and each special one of a model that wrote data.

    Several are `other` by their names, with the link of the first that has one.  None where none is known.
    """
    start, by_parent = ancestor(lock, folder), given_under(lock, folder, listed)
    own = by_parent.get(start, [])
    special = special_ones(by_parent)
    if len({*own}) <= 1 and not {*special} - {*own}:
        return own[0] if own else None
    held = [*(own or [Licence("unknown")]), *special]
    name = "-and-".join(dict.fromkeys(one.called.lower().replace(" ", "-") for one in held))
    return Licence("other", name, next((one.link for one in held if one.link), None))


def given_under(lock: Lock, folder: str, listed: Listed) -> dict[str, Sequence[Licence]]:
    """The licences of every base model of `bases`, of adapters those of their base too; a GGUF file's revision is its
    sha256."""
    return {
        parent: [
            *dict.fromkeys(
                one
                for source in _chain(str(given["source"]))
                for one in licences.of(source, given.get("revision"), listed)
            )
        ]
        for parent, given in bases(lock, folder).items()
    }


def _chain(source: str) -> list[str]:
    """A source with what the adapters in it are for, and so on; alone where these are not here any more."""
    try:
        return [str(one) for one in model_folder.chain(source)] if Path(source).is_dir() else [source]
    except UserError:
        return [source]


def special_ones(by_parent: Mapping[str, Sequence[Licence]]) -> list[Licence]:
    """Those of the licences that are special, each once."""
    return [*dict.fromkeys(one for some in by_parent.values() for one in some if licences.is_special(one))]


def endpoints(lock: Lock, folder: str) -> list[str]:
    """The endpoint files that settings of the stages above name: models elsewhere that wrote or judged data for it."""
    stages = lineage.above(lock, folder)
    texts = [pair for name in stages for pair in _flat(lineage.settings(lock[name]))]
    return sorted(
        {text for key, text in texts if endpoint.is_endpoint(text) and (key == "model" or "endpoints" in text)}
    )


def served(file: str) -> str:
    """The model behind an endpoint and its address, where its file is still here."""
    try:
        given = endpoint.read(file)
    except UserError:
        return "not to be read now"
    return f"{given.model} at {given.identity}"
