"""Where dvc.yaml cannot follow the settings: what a stage reads and none makes, and what it reads unsaid."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from synthalign.commands.setting_files import PEOPLE, READERS, sections
from synthalign.commands.setting_stages import ranking
from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.core.graph import Values, at, members, paths
from synthalign.generation import model_folder

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""What a member of a family may be called: its name is a stage's and a file's, stands in commands, and DVC splits the
places of settings at every dot; `dvc exp run -S` takes a name that begins with a digit for a number."""

SETTING = re.compile(r"\$\{([^}]*)\}")
"""A setting in a path of dvc.yaml."""

Graph = dict[str, Any]
"""The stages of dvc.yaml."""


def wrong(settings: dict[str, Any]) -> list[str]:
    """Where DVC would stop, at once or hours later, or keep a result that is out of date; one line each."""
    graph = stages()
    lines = wrong_models(settings, graph) or null_dependencies(settings, graph)
    if not lines:
        for check in (missing, unsaid, adapters_for_vllm, single_orders):
            lines += check(settings, graph)
    return lines


def stages() -> Graph:
    """The stages of dvc.yaml as they stand there."""
    return yaml_file.load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]  # type: ignore[no-any-return]


def wrong_names(settings: dict[str, Any]) -> list[str]:
    """The members of families whose names are not NAME."""
    allowed = "allowed: a letter or _ first, then letters from a to z, digits, _ and -, as in smollm2-1_7b"
    families = [entry for entry in stages().values() if str(entry.get("foreach")).startswith("$")]
    return [
        f"{family['foreach'][2:-1]}: {name!r} is no name for a member; {allowed}"
        for family in families
        for name in members(family, settings)
        if not NAME.fullmatch(name)
    ]


# -- what the graph makes and reads -----------------------------------------------------------------------------------


def written(entry: Values) -> list[Any]:
    """What a stage writes: outs, metrics and plots, as dvc.yaml has them."""
    return [one for kind in ("outs", "metrics", "plots") for one in entry.get(kind, [])]


def made(settings: Values, graph: Graph) -> dict[str, str]:
    """The files and folders that stages write, each with its stage."""
    return {
        path: name
        for name, stage in graph.items()
        for entry, values in members(stage, settings).values()
        for path in paths(written(entry), values)
    }


class Dep(NamedTuple):
    """A file or folder that a stage reads."""

    stage: str
    """The stage, or the family."""

    written: str
    """The path as dvc.yaml has it, with settings in it."""

    path: str

    place: str
    """The setting that names it; or the stage, where dvc.yaml alone does."""

    is_setting: bool
    """Whether it is a setting."""


def dependencies(settings: Values, graph: Graph) -> Iterator[Dep]:
    """What the stages read by dvc.yaml."""
    for name, stage in graph.items():
        family = str(stage.get("foreach"))
        for member, (entry, values) in members(stage, settings).items():
            for dep, path in zip(entry["deps"], paths(entry["deps"], values), strict=True):
                key, within = SETTING.search(dep), f"{family[2:-1]}.{member}"
                if key and key[1] not in ("key", "item"):
                    place = f"{key[1].replace('item.', f'{within}.')} = {at(values, key[1])!r}"
                    yield Dep(name, dep, path, place, is_setting=True)
                elif key and family.startswith("$"):
                    yield Dep(name, dep, path, within, is_setting=True)
                else:
                    yield Dep(name, dep, path, f"{name}@{member}" if member else name, is_setting=False)


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is that of a folder, or of something in it."""
    return Path(folder).resolve() in (Path(path).resolve(), *Path(path).resolve().parents)


# -- models -----------------------------------------------------------------------------------------------------------


def wrong_models(settings: dict[str, Any], graph: Graph) -> list[str]:
    """The model folders that no stage makes and that are not there, and base models that cannot be had."""
    outs = made(settings, graph)
    lines = []
    for size, model in settings["base_models"].items():
        if own := [out for out in outs for one in sources(model["source"]) if lies_in(one, out)]:
            lines.append(
                f"base_models.{size}.source = {model['source']!r}: {own[0]} is made by {outs[own[0]]}, and DVC deletes "
                "it before that runs; bring the model to a folder that no stage writes, and name that"
            )
        elif model["source"].endswith(".gguf"):
            lines += wrong_gguf(f"base_models.{size}", Path(model["source"]), str(model["revision"]))
        elif not Path(model["source"]).is_dir() and not re.fullmatch(r"[0-9a-f]{40}", str(model["revision"])):
            lines.append(
                f"base_models.{size}: {model['source']} is not a folder here, and as a hub model it needs `revision`, "
                f"the 40 hex digits of a commit; it is {model['revision']!r}"
            )
    for name, section in settings.items():
        for place, given in sections(section, name):
            for key, value in given.items():
                if not isinstance(value, str) or not value.startswith("models/") or value.endswith(".gguf"):
                    continue
                if str(Path(value)) not in outs and not Path(value).is_dir():
                    near = " or ".join(get_close_matches(value, sorted(outs), n=2)) or "a folder of yours"
                    lines.append(f"{place}.{key} = {value!r}: no stage makes it; perhaps {near}")
    return lines


def sources(source: str) -> list[str]:
    """The files and folders that a base model is made of: of adapters, the model below them too."""
    try:
        return [str(folder) for folder in model_folder.chain(source)]
    except UserError:  # no folder, or one that base_models refuses with more words
        return [source]


def wrong_gguf(place: str, file: Path, sha256: str) -> list[str]:
    """What is wrong with a GGUF file in the place of a model; one that is not there yet is no fault of the settings."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return [f"{place}: {file} needs `revision`, the 64 hex digits of its sha256; it is {sha256!r}"]
    if not file.is_file():
        print(f"{place}: {file} is not there yet; `python -m synthalign bring LIST` fetches it, docs/data.md")
    return []


def adapters_for_vllm(settings: dict[str, Any], graph: Graph) -> list[str]:
    """The models that vLLM is to write with and that a stage leaves as adapters."""
    outs = made(settings, graph)
    return [
        f"{dep.place}: {outs[dep.path]} leaves {dep.path} as adapters, and {dep.stage}.engine = vllm reads whole "
        f"models; set {outs[dep.path]}.lora.merge to true, or the engine to transformers"
        for dep in dependencies(settings, graph)
        if settings.get(dep.stage, {}).get("engine") == "vllm"
        and dep.path in outs
        and not dep.written.endswith(".reward}")  # which scores what vLLM has written
        and (settings[outs[dep.path]].get("lora") or {"merge": True})["merge"] is False
    ]


# -- dependencies -----------------------------------------------------------------------------------------------------


def null_dependencies(settings: dict[str, Any], graph: Graph) -> list[str]:
    """The settings that dvc.yaml has for dependencies, or label_gold needs, and that are null or not there at all."""
    lines = []
    for name, entry in graph.items():
        deps = entry.get("do", entry).get("deps", [])
        for key in re.findall(r"\$\{item\.(\w+)\}", " ".join(deps)):
            family = at(settings, entry["foreach"][2:-1])
            lines += [
                f"{name}.{member}: {key} is null, and dvc.yaml needs it to know when the stage must run again"
                for member, given in family.items()
                if given[key] is None
            ]
        for place in re.findall(r"\$\{(\w+\.[\w.]+)\}", " ".join(deps)):
            within, _, key = place.rpartition(".")
            if within != "item" and at(settings, within).get(key) is None:
                what = "null" if key in at(settings, within) else "not there"
                lines.append(f"{place} is {what}, and dvc.yaml needs it to know when {name} must run again")
    gold = settings["label_gold"]
    if "label_gold" in graph and gold["oracle"] is None and gold["human_pairs"] is None:
        lines.append(
            "label_gold: oracle and human_pairs are both null, so there is nothing to label with; set human_pairs to a "
            "file of prompt, chosen and rejected (docs/data.md), or take label_gold out of dvc.yaml"
        )
    return lines


def missing(settings: dict[str, Any], graph: Graph) -> list[str]:
    """The files and folders that a stage reads, no stage makes, and that are not there: DVC would stop at that stage.

    What people are still to bring is no fault of the settings.
    """
    everything = made(settings, graph)
    known = {str(part) for one in everything for part in (Path(one), *Path(one).parents)}
    to_bring = {f"${{{section}.{key}}}" for section, key in READERS}
    lines = []
    for dep in dependencies(settings, graph):
        is_made = str(Path(dep.path)) in known or any(str(folder) in everything for folder in Path(dep.path).parents)
        if not (is_made or Path(dep.path).exists() or dep.written in to_bring or dep.path.startswith(PEOPLE)):
            otherwise = "bring it" if dep.is_setting else f"take it out of {dep.stage} in dvc.yaml"
            remedies = [*likely(dep.path, everything if dep.is_setting else (), graph), otherwise]
            lines.append(f"{dep.place}: {dep.path} is not there, and no stage makes it; {'; or '.join(remedies)}")
    return list(dict.fromkeys(lines))  # where a setting of a whole family is wrong, its members say the same


def likely(path: str, everything: Iterable[str], graph: Graph) -> list[str]:
    """What may be meant by a path that is not there: paths that are like it, members that would make it."""
    near, families = get_close_matches(path, everything, n=2), []
    for stage in graph.values():
        if str(stage.get("foreach")).startswith("$"):
            for one in paths(written(stage["do"]), {"key": "*"}):
                if of := re.fullmatch(re.escape(one).replace(r"\*", "([^/]+)"), path):
                    families.append(f"{stage['foreach'][2:-1]}.{of[1]}")
    told = [f"perhaps {' or '.join(near)}"] if near else []
    return told + ([f"{' or '.join(families)} would make it"] if families else [])


def unsaid(settings: dict[str, Any], graph: Graph) -> list[str]:
    """The tables and models that settings let a stage read and that dvc.yaml does not know it to read."""
    outs = made(settings, graph)
    said = {(dep.stage, str(Path(dep.path))) for dep in dependencies(settings, graph)}
    lines = []
    for name, files in listed(settings).items():
        for file in sorted({str(Path(file)) for file in files} if name in graph else ()):
            if any((name, str(part)) in said for part in (Path(file), *Path(file).parents)):
                continue
            if file in outs or Path(file).exists():
                what = "and dvc.yaml does not say so; add it to the deps there"
            else:
                what = f"is not there, and no stage makes it; {'; or '.join([*likely(file, outs, graph), 'bring it'])}"
            lines.append(f"{name}: {file} is read by these settings, {what}")
    return lines


def listed(settings: dict[str, Any]) -> dict[str, list[str]]:
    """By stage, the tables and models that it reads by lists and mappings of its settings, if it measures anything."""

    def tables(folder: str, *lists: Iterable[str]) -> list[str]:
        return [f"data/{folder}/{name}.parquet" for names in lists for name in names]

    def judged(stage: str, *files: str) -> list[str]:
        own = settings[stage]
        if own["oracle"]:
            return [*files]
        return [*files, own["people"]] if own["people"] else []

    def ranked(stage: str, models: Iterable[str]) -> list[str]:
        own = settings[stage]
        responses = tables("responses", own["configurations"]) if own["oracle"] else []
        return [*responses, *models] if own["oracle"] or own["human_pairs"] or own["votes"] else []

    pairs, labels, policies = (settings[f"score_{what}"] for what in ("comparisons", "pairs", "policies"))
    rewards, scorers, tasks = (settings[f"score_{what}"] for what in ("rewards", "scorers", "tasks"))
    judges, methods = settings["judge_answers"], settings["compare_methods"]
    return {
        "build_comparisons": tables("responses", *ranking(settings), *settings["build_comparisons"]["size_pairs"]),
        "judge_answers": tables("answers", *judges["pairs"]) + ([judges["people"]] if judges["people"] else []),
        "score_comparisons": judged(
            "score_comparisons",
            *tables("responses", pairs["configurations"]),
            *tables("comparisons", pairs["filters"], pairs["others"]),
        ),
        "score_rewards": ranked("score_rewards", rewards["rewards"].values()),
        "score_scorers": ranked(
            "score_scorers",
            [*scorers["rewards"].values(), *scorers["likelihoods"].values()]
            + [model for one in scorers["implicit_rewards"].values() for model in one.values()],
        ),
        "score_candidates": judged("score_candidates"),
        "score_policies": judged("score_policies", *tables("answers", policies["policies"])),
        "score_snapshots": [f"data/{table}.parquet" for table in settings["score_snapshots"]["curves"].values()],
        "score_pairs": judged("score_pairs", *tables("comparisons", labels["tables"])),
        "compare_methods": tables("answers", methods["baselines"], methods["policies"]) if methods["oracle"] else [],
        "score_tasks": tables("task_answers", tasks["subjects"]) + tables("mixtures", tasks["mixtures"]),
    }


def single_orders(settings: dict[str, Any], graph: Graph) -> list[str]:
    """The labels of a single order that score_pairs is to compare and that no labeller will have given."""
    own, outs, orders = settings["score_pairs"], made(settings, graph), settings["label_pairs"]["orders"]
    lines = []
    for key in ("label_differences", "gap_differences") if own["oracle"] or own["people"] else ():
        for name, compared in own[key].items():
            for table in set(compared) - set(own["tables"]):
                labelled = table.removesuffix("_single_order")
                maker = outs.get(f"data/comparisons/{labelled}.parquet")  # of a table that is brought, none
                if maker and (maker != "label_pairs" or orders != "both"):
                    why = f"label_pairs.orders is {orders!r}" if maker == "label_pairs" else f"{maker} asks no labeller"
                    lines.append(
                        f"score_pairs.{key}.{name}: {table} needs labels of {labelled} by both orders of the options, "
                        f"and {why}; leave it out, or compare {labelled}"
                    )
    return lines
