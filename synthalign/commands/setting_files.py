"""What is wrong with the files that settings name, and where the settings of several stages do not fit together."""

import contextlib
import re
from collections.abc import Callable
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any

from synthalign.core import json_lines, yaml_file
from synthalign.core.errors import UserError
from synthalign.core.graph import at, members, paths
from synthalign.dialogue import demonstrations, prompts
from synthalign.ditto import authors
from synthalign.feedback import community, contrast, human_pairs, principles, revision
from synthalign.flan import instructions
from synthalign.generation import endpoint, vllm_engine
from synthalign.judging import benchmarks, people
from synthalign.queries import mining

READERS: dict[tuple[str, str], Callable[[Path], Any]] = {
    ("train_asis_reward", "community_qa"): community.load,
    ("label_gold", "human_pairs"): lambda file: human_pairs.load(file, feedback="gold"),
    ("train_ppo", "ptx_texts"): json_lines.texts,
    ("score_rewards", "human_pairs"): people.preferred,
    ("score_rewards", "votes"): people.voted,
    ("score_scorers", "human_pairs"): people.preferred,
    ("score_scorers", "votes"): people.voted,
    ("score_benchmarks", "heldout_text"): json_lines.texts,
    ("score_benchmarks", "cloze"): lambda file: benchmarks.load_cloze(file, seed=0),
    ("score_benchmarks", "hhh"): lambda file: benchmarks.load_hhh(file, seed=0),
    ("score_benchmarks", "truthfulqa"): lambda file: benchmarks.load_truthfulqa(file, seed=0),
    ("build_mixture", "source"): instructions.load,
    ("answer_tasks", "source"): instructions.load,
}
"""Files that people bring, by stage and key, and what reads them there."""

PEOPLE = "data/people/"
"""Where files of people's are made, which git does not hold."""

MEASURED = {
    ("score_rewards", "human_pairs"): ("label_gold", "human_pairs"),
    ("score_scorers", "human_pairs"): ("label_gold", "human_pairs"),
    ("score_rewards", "votes"): ("train_asis_reward", "community_qa"),
    ("score_scorers", "votes"): ("train_asis_reward", "community_qa"),
}
"""Files of pairs to measure with, and what is trained on pairs of the same kind."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""What a member of a family may be called: its name is a stage's and a file's, stands in commands, and DVC splits the
places of settings at every dot; `dvc exp run -S` takes a name that begins with a digit for a number."""


def wrong(settings: dict[str, Any]) -> list[str]:
    """Everything that is, one line each; the settings are of the right types by now."""
    first = wrong_names(settings) + wrong_inputs(settings) + wrong_brought(settings) + wrong_configurations(settings)
    first += wrong_models(settings) if not first else []
    return first or wrong_graph(settings) or wrong_authors(settings) + wrong_held_out(settings)


def sections(settings: Any, place: str) -> list[tuple[str, dict[str, Any]]]:
    """The settings and all settings within them, each with its place."""
    if not isinstance(settings, dict):
        return []
    within = [found for key, value in settings.items() for found in sections(value, f"{place}.{key}")]
    return [(place, settings), *within]


def wrong_names(settings: dict[str, Any]) -> list[str]:
    """The members of families whose names are not NAME."""
    allowed = "allowed: a letter or _ first, then letters from a to z, digits, _ and -, as in smollm2-1_7b"
    stages = yaml_file.load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    families = [entry for entry in stages.values() if str(entry.get("foreach")).startswith("$")]
    return [
        f"{family['foreach'][2:-1]}: {name!r} is no name for a member; {allowed}"
        for family in families
        for name in members(family, settings)
        if not NAME.fullmatch(name)
    ]


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
                if str(given.get("prompts")).endswith(".jsonl"):
                    prompts.load(given["prompts"])
                if "seed_queries" in given and are_there(place, given["seed_queries"], given["eval_questions"]):
                    mining.read_apart(given["seed_queries"], given["eval_questions"])
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


def are_there(place: str, *files: str) -> bool:
    """Whether all of the files are there, those of people's that are still to be made aside, which stdout names."""
    missing = [file for file in files if file.startswith(PEOPLE) and not Path(file).exists()]
    for file in missing:
        print(f"{place}: {file} is not there yet; `python -m synthalign people` makes it, docs/data.md")
    return not missing


def wrong_models(settings: dict[str, Any]) -> list[str]:
    """The model folders that no stage makes and that are not there, and base models that no hub can be asked for."""
    stages = yaml_file.load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    entries = [found for stage in stages for found in members(stage, settings).values()]
    made = {out for entry, values in entries for out in paths(entry.get("outs", []), values)}
    lines = []
    for size, model in settings["base_models"].items():
        if model["source"].endswith(".gguf"):
            lines += wrong_gguf(f"base_models.{size}", Path(model["source"]), str(model["revision"]))
        elif not Path(model["source"]).is_dir() and not re.fullmatch(r"[0-9a-f]{40}", str(model["revision"])):
            lines.append(
                f"base_models.{size}: {model['source']} is not a folder here, and as a hub model it needs `revision`, "
                f"the 40 hex digits of a commit; it is {model['revision']!r}"
            )
    for name, section in settings.items():
        for place, given in sections(section, name):
            for key, value in given.items():
                is_model = isinstance(value, str) and value.startswith("models/")
                if is_model and value not in made and not Path(value).is_dir() and not value.endswith(".gguf"):
                    near = " or ".join(get_close_matches(value, sorted(made), n=2)) or "a folder of yours"
                    lines.append(f"{place}.{key} = {value!r}: no stage makes it; perhaps {near}")
    return lines


def wrong_gguf(place: str, file: Path, sha256: str) -> list[str]:
    """What is wrong with a GGUF file in the place of a model; one that is not there yet is no fault of the settings."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return [f"{place}: {file} needs `revision`, the 64 hex digits of its sha256; it is {sha256!r}"]
    if not file.is_file():
        print(f"{place}: {file} is not there yet; `python -m synthalign bring LIST` fetches it, docs/data.md")
    return []


def wrong_brought(settings: dict[str, Any]) -> list[str]:
    """What is wrong with the data that people bring.

    What is not there yet is no fault of the settings: stdout says what is still to be brought.
    """
    lines = []
    for (section, key), read in READERS.items():
        file = settings[section][key]
        if file is None or Path(file).is_dir():
            continue
        if not Path(file).exists():
            print(f"{section}.{key}: {file} is not there yet; docs/data.md says what it holds")
            continue
        try:
            read(Path(file))
        except UserError as error:
            lines += [f"{section}.{key}: {line}" for line in str(error).splitlines()]
    return lines


def wrong_held_out(settings: dict[str, Any]) -> list[str]:
    """Where a stage measures with a pair that another one trains on."""
    lines = []
    for (section, key), trained in MEASURED.items():
        file, other = settings[section][key], settings[trained[0]][trained[1]]
        if not (file and other and Path(file).is_file() and Path(other).is_file()):
            continue
        with contextlib.redirect_stdout(None):  # what is left out of the files has been said
            both = pairs_of(key, Path(file)) & pairs_of(trained[1], Path(other))
        if both:
            lines.append(
                f"{section}.{key}: {len(both):,} pairs of {file} are in {other} too, which {'.'.join(trained)} trains "
                f"on (one is about {min(both)[0][:60]!r}); measure with others, as `python -m synthalign people` does"
            )
    return lines


def pairs_of(key: str, file: Path) -> set[tuple[str, frozenset[str]]]:
    """Every pair of answers in a file of people's, with what they answer."""
    if key == "human_pairs":
        rows, _ = human_pairs.load(file, feedback="people")
        return {
            (
                "\n".join(said["content"] for said in row["prompt"]),
                frozenset(row[side][-1]["content"] for side in human_pairs.SIDES),
            )
            for row in rows
        }
    if key == "votes":
        held_out = people.voted(file)
        texts = [said[-1]["content"] for said in held_out.dialogues]
        return {(question, frozenset(texts[2 * at : 2 * at + 2])) for at, question in enumerate(held_out.questions)}
    return {
        (row["question"], frozenset((one["text"], other["text"])))
        for row in community.load(file)
        for one, other in combinations(row["answers"], 2)
    }


def wrong_endpoint(file: str, *, writes: bool) -> list[str]:
    """What is wrong with an endpoint in the place of a model."""
    if not writes:
        return [f"{file} is an endpoint, which can be asked for texts alone; allowed here: a model folder"]
    try:
        given = endpoint.read(file)
        given.addresses(file)
        given.key(file)
    except UserError as error:
        return str(error).splitlines()
    return []


def ranking(settings: dict[str, Any]) -> list[list[str]]:
    """The configurations from best to worst; those of a group are not compared with each other."""
    return [[group] if isinstance(group, str) else group for group in settings["build_comparisons"]["ranking"]]


def wrong_configurations(settings: dict[str, Any]) -> list[str]:
    """What build_comparisons says of configurations that sample_responses does not bear out."""
    known, pairs = settings["sample_responses"]["configurations"], settings["build_comparisons"]["size_pairs"]
    groups = ranking(settings)
    places = [("ranking", name) for group in groups for name in group]
    places += [("size_pairs", name) for pair in pairs for name in pair]
    lines = [
        f"build_comparisons.{key}: {name!r} is no configuration of sample_responses that answers the split train"
        for key, name in places
        if "train" not in known.get(name, {"splits": []})["splits"]
    ]
    ranked = {name: place for place, group in enumerate(groups) for name in group}
    for larger, smaller in [pair for pair in pairs if set(pair) <= set(known)]:
        if ranked.get(larger, -1) != ranked.get(smaller, -1) and {larger, smaller} <= set(ranked):
            lines.append(f"build_comparisons.size_pairs: {larger} and {smaller} are compared by ranking already")
        for key in ("demonstrations", "shots"):
            one, other = known[larger][key], known[smaller][key]
            if one != other:
                lines.append(f"build_comparisons.size_pairs: {larger} and {smaller} differ in {key}: {one} and {other}")
    return lines


def wrong_graph(settings: dict[str, Any]) -> list[str]:
    """Where dvc.yaml cannot follow the settings, so that DVC stops at once or keeps a result that is out of date."""
    graph = yaml_file.load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return null_dependencies(settings, graph) + unknown_tables(settings, graph)


def null_dependencies(settings: dict[str, Any], graph: dict[str, Any]) -> list[str]:
    """The settings that dvc.yaml has for dependencies and that are null."""
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
        lines += [
            f"{place} is null, and dvc.yaml needs it to know when {name} must run again"
            for place in re.findall(r"\$\{(\w+\.[\w.]+)\}", " ".join(deps))
            if not place.startswith("item.") and at(settings, place) is None
        ]
    return lines


def unknown_tables(settings: dict[str, Any], graph: dict[str, Any]) -> list[str]:
    """The tables that settings let a stage read and that dvc.yaml does not know it to read."""
    lines = []
    named = {
        ("build_comparisons", "data/responses"): [name for group in ranking(settings) for name in group],
        ("judge_answers", "data/answers"): [name for pair in settings["judge_answers"]["pairs"] for name in pair],
    }
    for (name, folder), tables in named.items():
        lines += [
            f"{name}: {file} is read by these settings, and dvc.yaml does not say so; add it to the deps there"
            for file in sorted({f"{folder}/{table}.parquet" for table in tables} - set(graph[name]["deps"]))
        ]
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
    judge = settings["score_ditto"]
    if judge["texts"] is not None and judge["oracle"] is None:
        from synthalign.ditto import authorship  # with scikit-learn, which takes a second to import

        try:
            authorship.learned(judge["texts"], judge["plain"])
        except UserError as error:
            lines.append(f"score_ditto: {error}")
    unknown = sorted(set(settings["score_ditto"]["authors"]) - set(files))
    return lines + [f"score_ditto.authors: {name!r} is no author of sample_ditto" for name in unknown]
