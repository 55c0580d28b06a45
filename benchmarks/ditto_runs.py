"""One run of DITTO or of what it is compared with, on one author of the embedded world, and many beside each other.

A run is an author, a variant and a seed.  It is trained on the author's demonstrations and answers the author's forty
held-out prompts; the style oracle of `world/authors.py` scores the answers.  Finished runs are kept in
.work/ditto_ablation, so that a command can be interrupted and started again.
"""

import fcntl
import functools
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks import ditto_labels, many_runs
from synthalign.core import code, stage
from synthalign.core.ids import content_id
from synthalign.dialogue import chat
from synthalign.ditto import answers, authors, fine_tuning, outcome, training
from synthalign.ditto.authors import Demonstration
from synthalign.ditto.draws import Fractions
from synthalign.generation import generate, models
from world.authors import AUTHORS, TUNING_AUTHORS, Author, style_score
from world.oracle import Oracle

FOLDER = Path("data/embedded/authors")
WORLD = Path("data/embedded")
SAMPLES = 2
"""Answers to every held-out prompt."""

ALL = 7
"""Demonstrations of each author."""

FEW = 4
"""Demonstrations that labelled pairs are compared with: those of the user study."""

LABELLERS = ("captain", "poet")
"""The authors who label pairs; the paper has one."""

Settings = dict[str, Any]
"""Those of train_ditto, and: reference, as in `training.align`; demonstrations, how many; labels, whose samples are
labelled (`ditto_labels`), base or tuned, None for a run of DITTO; spin, the settings of train_spin."""

Result = dict[str, Any]
"""Of one run: scores, at each point (an iteration, a number of labelled pairs; one for what has no points) one list of
style scores for each held-out prompt; and, of the last point, other means."""


def changed(settings: Settings, **changes: Any) -> Settings:
    """The settings with other values; a dot in a name goes into a section."""
    found = json.loads(json.dumps(settings))
    for name, value in changes.items():
        *sections, key = name.split(".")
        at = found
        for section in sections:
            at = at[section]
        if key not in at:
            raise SystemExit(f"train_ditto has no setting {name}")
        at[key] = value
    return found


def shares(online: float, replay: float, inter: float) -> dict[str, float]:
    return {"online": online, "replay": replay, "inter": inter}


def without(settings: Settings, *kinds: str) -> Settings:
    """No pairs of these kinds, and the online ones in their place: a batch stays as large as it is."""
    given = settings["fractions"]
    left = {kind: 0.0 if kind in kinds else share for kind, share in given.items()}
    left["online"] = round(given["online"] + sum(given[kind] for kind in kinds), 6)
    return changed(settings, fractions=left)


LOOP = ["iterations", "steps_per_iteration", "negatives", "pairs_per_demonstration", "fractions", "reference", "beta"]
LOOP += ["learning_rate", "warmup", "temperature", "top_p"]
"""The settings of the preference steps that SFT has not."""

FAR = {"sft.stop_loss": 0.1, "sft.max_steps": 80}

VARIANTS: dict[str, Callable[[Settings], Settings]] = {
    "zero_shot": lambda s: s,
    "few_shot": lambda s: s,
    # The author describes the style, in three wordings, and keeps the one that serves best.
    "self_prompt": lambda s: s,
    "sft": lambda s: changed(s, iterations=0),
    # As many steps as SFT and DITTO have together, and no stop rule.
    "sft_long": lambda s: changed(
        s,
        iterations=0,
        **{"sft.stop_loss": 0.0, "sft.max_steps": s["sft"]["max_steps"] + s["iterations"] * s["steps_per_iteration"]},
    ),
    # Fine-tuned much further than the paper's stop rule allows, and DITTO from there.
    "sft_far": lambda s: changed(s, iterations=0, **FAR),
    "ditto_far": lambda s: changed(s, **FAR),
    "spin": lambda s: changed(s, reference="previous", **{key: s["spin"][key] for key in LOOP if key in s["spin"]}),
    "ditto": lambda s: s,
    "update_reference": lambda s: changed(s, reference="previous"),
    # The same number of samples, steps and pairs, but all samples come from the first policy.
    "up_front": lambda s: changed(
        s,
        iterations=1,
        steps_per_iteration=s["iterations"] * s["steps_per_iteration"],
        negatives=s["iterations"] * s["negatives"],
        fractions=shares(1.0, 0.0, 0.0),
    ),
    "no_replay": lambda s: without(s, "replay"),
    "no_inter": lambda s: without(s, "inter"),
    "online_only": lambda s: without(s, "replay", "inter"),
    "negatives_1": lambda s: changed(s, negatives=1),
    "negatives_5": lambda s: changed(s, negatives=5),
    **{f"demonstrations_{n}": functools.partial(lambda s, n: changed(s, demonstrations=n), n=n) for n in range(1, ALL)},
    # DPO on pairs that the author labels, samples of the base model or of that fine-tuned on the demonstrations.
    "labels_base": lambda s: changed(s, labels="base", demonstrations=FEW),
    "labels_tuned": lambda s: changed(s, labels="tuned", demonstrations=FEW),
}
"""What each variant does to the settings of `ditto`."""


def some(demonstrations: Sequence[Demonstration], count: int, *, seed: int) -> list[Demonstration]:
    """So many demonstrations in their order: of one seed fewer are part of more, and each seed has others."""
    chosen = sorted(demonstrations, key=lambda one: content_id("some demonstrations", seed, one.demonstration_id))
    return [one for one in demonstrations if one in chosen[:count]]


def drafts(author: Author) -> list[str]:
    """What an author writes of the style to a model, in three wordings."""
    return [
        f"Write {author.sentences} sentences. Begin with: {author.opening} End with: {author.closing} "
        f"End the others with: , {author.aside}{author.mark}",
        f"This is how I write. First I say: {author.opening} Then I answer, and after each sentence I say "
        f"{author.aside}. Last I say: {author.closing}",
        f"{author.opening} The answer, {author.aside}{author.mark} {author.closing}",
    ]


def answered(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, prefix: str, settings: Settings, seed: int
) -> list[list[generate.Generation]]:
    """The model's answers to the prompts; one seed has the same random numbers for all variants."""
    return generate.generate(
        model,
        tokenizer,
        prefix=prefix,
        suffixes=[chat.prompt([{"role": "user", "content": prompt}]) for prompt in prompts],
        row_ids=list(prompts),
        samples=SAMPLES,
        seed=seed,
        max_new_tokens=settings["max_new_tokens"],
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        stops=chat.STOPS,
    )


def self_prompt(
    model: Any, tokenizer: Any, author: Author, demonstrations: Sequence[Demonstration], settings: Settings, seed: int
) -> tuple[int, str]:
    """Which draft the author keeps, and its prefix: that whose answers to the demonstrations' own prompts have most of
    the style, as a person who tries prompts would find out."""
    prefixes = [answers.described(draft) for draft in drafts(author)]
    asked = [one.prompt for one in demonstrations]
    styles = []
    for prefix in prefixes:
        made = answered(model, tokenizer, asked, prefix=prefix, settings=settings, seed=seed)
        styles.append(fmean(style_score(author, chat.clean(one.text)) for row in made for one in row))
    best = max(range(len(styles)), key=styles.__getitem__)
    return best, prefixes[best]


def one_run(name: str, variant: str, settings: Settings, seed: int, oracle: Oracle, work: Path) -> Result:
    """Train one variant on one author with one seed, and score it at every point."""
    demonstrations = some(authors.load(FOLDER / f"{name}.jsonl"), settings["demonstrations"], seed=seed)
    prompts = authors.prompts(FOLDER / "heldout" / f"{name}.txt")
    author = (AUTHORS | TUNING_AUTHORS)[name]
    result: Result = {"scores": []}

    def score(model: Any, tokenizer: Any, prefix: str = "") -> None:
        made = answered(model, tokenizer, prompts, prefix=prefix, settings=settings, seed=seed)
        texts = [[chat.clean(one.text) for one in row] for row in made]
        totals = [oracle.score(p, text) for p, row in zip(prompts, texts, strict=True) for text in row]
        result["scores"].append([[style_score(author, text) for text in row] for row in texts])
        result["oracle"] = fmean(total.total for total in totals if total)
        result["characters"] = fmean(len(text) for row in texts for text in row)
        result["cut_off"] = fmean(one.finish_reason == "length" for row in made for one in row)
        result["copied"] = fmean(text in {d.output for d in demonstrations} for row in texts for text in row)

    base = settings["model"]
    if variant in ("zero_shot", "few_shot", "self_prompt"):
        model, tokenizer = models.load_causal(base), models.load_tokenizer(base)
        prefix = chat.few_shot("", [one.messages for one in demonstrations]) if variant == "few_shot" else ""
        if variant == "self_prompt":
            result["draft"], prefix = self_prompt(model, tokenizer, author, demonstrations, settings, seed)
        score(model, tokenizer, prefix)
        return result
    accelerator = Accelerator()
    shared = {key: settings[key] for key in ("weight_decay", "device_batch_size", "max_new_tokens")} | {"seed": seed}
    start = base
    if settings["labels"] != "base":
        start, log = tuned(accelerator, name, demonstrations, settings, shared, work)
        result |= fine_tuning.supervised_summary(log, settings["sft"]["stop_loss"])
    policy, tokenizer = models.load_causal(start), models.load_tokenizer(start)
    if settings["labels"]:
        score(policy, tokenizer)
        result["labelled"] = ditto_labels.learn(
            accelerator,
            policy,
            tokenizer,
            [one.prompt for one in demonstrations],
            functools.partial(style_score, author),
            settings,
            seed=seed,
            on_point=lambda: score(policy, tokenizer),
        )
        return result
    if not settings["iterations"]:
        score(policy, tokenizer)
        return result
    folder = work / f"run-{digest(name, variant, settings, seed)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    learned = training.align(
        accelerator,
        policy,
        tokenizer,
        demonstrations,
        folder=folder,
        on_iteration=lambda t, _: (
            score(policy, tokenizer) if variant == "ditto" or t == settings["iterations"] else None
        ),
        **{key: settings[key] for key in LOOP} | {"fractions": Fractions(**settings["fractions"])},
        **shared,
    )
    shutil.rmtree(folder)
    return result | outcome.summary(learned)


def tuned(
    accelerator: Accelerator,
    name: str,
    demonstrations: Sequence[Demonstration],
    settings: Settings,
    shared: Settings,
    work: Path,
) -> tuple[Path, training.Log]:
    """The model fine-tuned on the demonstrations, which several variants start from; made by the first that asks."""
    made_of = (settings["sft"], settings["model"], settings["weight_decay"], [one.messages for one in demonstrations])
    folder = work / f"sft-{name}-{shared['seed']}-{digest(made_of)}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return fine_tuning.supervised(
            accelerator, settings["model"], demonstrations, folder=folder, file=name, **settings["sft"], **shared
        )


def digest(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


# -- many runs --------------------------------------------------------------------------------------------------------


@functools.cache
def oracle() -> Oracle:
    """The world's, read once a process."""
    return Oracle.load(WORLD)


def timed(name: str, variant: str, settings: Settings, seed: int, work: Path) -> Result:
    """`one_run` in whatever process, and the processor time that it took."""
    torch.set_num_threads(1)
    start = time.process_time()
    return one_run(name, variant, settings, seed, oracle(), work) | {"cpu_seconds": time.process_time() - start}


def all_runs(
    names: Sequence[str], variants: Sequence[str], settings: Settings, *, seeds: int, jobs: int
) -> dict[str, Result]:
    """The result of every run by "author/variant/seed", `jobs` of them beside each other; only LABELLERS label."""
    work = stage.work_dir("ditto_ablation", Path(settings["model"]), *code.of(__file__))
    keys: dict[str, str] = {}
    todo: dict[str, Callable[[], Result]] = {}
    for seed, name, variant in product(range(seeds), names, variants):
        given = VARIANTS[variant](settings)
        if given["labels"] and name in AUTHORS and name not in LABELLERS:
            continue
        demonstrations = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
        key = keys[f"{name}/{variant}/{seed}"] = digest(name, demonstrations, variant, given, seed)
        todo[key] = functools.partial(timed, name, variant, given, seed, work)
    found = many_runs.kept(work, todo, processes=jobs, desc="runs")
    return {run: found[key] for run, key in keys.items()}
