"""What is wrong with the files and endpoints that settings name: each is opened, before any stage does so."""

import contextlib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

from synthalign.core import json_lines
from synthalign.core.errors import UserError
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


WEIGHTS = {"labeller", "people", "policy", "reference", "reward", "start"}
"""Settings that name a model whose weights are read, beside `model`."""


def wrong(settings: dict[str, Any]) -> list[str]:
    """Everything that is, one line each; the settings are of the right types by now."""
    return wrong_inputs(settings) + wrong_brought(settings) + wrong_authors(settings)


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
            for key, model in given.items():
                weights = key in WEIGHTS or place.endswith((".rewards", ".likelihoods"))
                if isinstance(model, str) and endpoint.is_endpoint(model) and (weights or key == "model"):
                    writes = "engine" in values and not weights
                    lines += [f"{place}.{key}: {line}" for line in wrong_endpoint(model, writes=writes)]
    return lines


def are_there(place: str, *files: str) -> bool:
    """Whether all of the files are there, those of people's that are still to be made aside, which stdout names."""
    missing = [file for file in files if file.startswith(PEOPLE) and not Path(file).exists()]
    for file in missing:
        print(f"{place}: {file} is not there yet; `python -m synthalign people` makes it, docs/data.md")
    return not missing


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


def wrong_authors(settings: dict[str, Any]) -> list[str]:
    """What is wrong with the files of DITTO's authors, and where the four stages differ about who they are."""
    lines = []
    for name, given in settings["sample_ditto"]["authors"].items():
        try:
            file = authors.file_of(name, {name: given["demonstrations"]}, stage="sample_ditto")
            shown = authors.load(file)
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
    lines += [f"score_ditto.authors: {name!r} is no author of sample_ditto" for name in unknown]
    return lines + [
        f"sample_ditto.self_prompts: {name!r} is no author there, and there is no {authors.brought(name)}; they are "
        f"{', '.join(files)}"
        for name in settings["sample_ditto"]["self_prompts"]
        if name not in files and not authors.brought(name).exists()
    ]
