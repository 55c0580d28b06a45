"""Build a whole world into a folder: knowledge, corpus, three base models, and everything that is asked of them.

    python -m world.build --seed 0 --out data/embedded [--threads 2] [--steps-scale 1.0]

Finished parts are kept in `.work/world/` under a hash of what made them, and are not made again.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from synthalign.core.errors import UserError
from world import authors, corpus, entities, exports, params, pretrain, tokenizer
from world.entities import World
from world.params import Params

SCRATCH = Path(".work/world")
CORPUS_SOURCES = (
    "answers", "corpus", "dialogues", "encyclopaedia", "entities", "oracle", "questions", "tokenizer", "wording",
)  # fmt: skip
DOCUMENT_END = "\n<eos>\n"
LANES = (("large",), ("small", "medium"))
"""Models that are trained one after the other; the lanes run at the same time."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="another seed: other facts, names, wordings, weights")
    parser.add_argument("--out", type=Path, default=Path("data/embedded"), help="folder of the world")
    parser.add_argument("--threads", type=int, default=2, help="threads in all, shared by the lanes")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="factor on training steps and corpus size")
    parser.add_argument("--train", nargs="+", help="train these models only (what a lane runs)")
    options = parser.parse_args(arguments)
    settings = params.load()
    try:
        if options.train:
            torch.set_num_threads(options.threads)
            for name in options.train:
                train(name, settings, seed=options.seed, scale=options.steps_scale)
        else:
            build(settings, seed=options.seed, out=options.out, threads=options.threads, scale=options.steps_scale)
    except UserError as error:
        sys.exit(f"error: {error}")


def build(settings: Params, *, seed: int, out: Path, threads: int, scale: float) -> None:
    """Make every part that is missing and put the world into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    world = entities.draw(seed, settings)
    folders = make_corpora(world, settings, scale=scale)
    lanes = [start_lane(lane, seed=seed, threads=max(1, threads // len(LANES)), scale=scale) for lane in LANES]
    world.save(out / "world.json")
    exports.write_all(world, out, corpus_file=folders[0] / "train.txt")
    authors.write_all(world, out / "authors")
    for lane, process in zip(LANES, lanes, strict=True):
        if process.wait():
            raise UserError(f"training of {' and '.join(lane)} stopped with exit code {process.returncode}; see above")
    records = {name: export_model(name, settings, folders, out, scale=scale) for name in settings.models}
    summary = {
        "seed": seed,
        "steps_scale": scale,
        "corpus": [json.loads((folder / "corpus.json").read_text()) for folder in folders],
        "models": records,
    }
    (out / "training.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"world {seed} is in {out}")


def start_lane(names: Sequence[str], *, seed: int, threads: int, scale: float) -> subprocess.Popen:
    """Train some models in a process of its own with its own threads."""
    command = [sys.executable, "-m", "world.build", "--seed", str(seed), "--steps-scale", str(scale)]
    command += ["--threads", str(threads), "--train", *names]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": str(threads)})


def key_of(*made_from: object) -> str:
    """A short name for what a part was made from."""
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]


def corpus_folders(world: World, settings: Params, *, scale: float) -> list[Path]:
    """Where the corpora of the phases lie, by these settings and this code."""
    code = b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in CORPUS_SOURCES)
    used = settings.model_dump(
        exclude={"models", "phases", "batch_size", "sequence_length", "community_questions", "eval_questions"}
    )
    return [
        SCRATCH / f"corpus-{index}-{key_of(used, phase.model_dump(), index, world.seed, scale, code)}"
        for index, phase in enumerate(settings.phases)
    ]


def make_corpora(world: World, settings: Params, *, scale: float) -> list[Path]:
    """Write text and tokens of every phase, unless they are there; the tokenizer is that of the first phase."""
    folders = corpus_folders(world, settings, scale=scale)
    for phase, folder in enumerate(folders):
        if (folder / "corpus.json").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        characters = max(300_000, round(settings.phases[phase].characters * scale))
        texts = corpus.documents(world, phase=phase, characters=characters, label=f"train{phase or ''}")
        held_out = corpus.documents(
            world, phase=phase, characters=max(60_000, characters // 70), label=f"held out{phase or ''}"
        )
        if phase == 0:
            words = tokenizer.train(
                texts[:12_000], vocabulary=settings.vocabulary, max_positions=settings.max_positions
            )
            words.save_pretrained(folder / "tokenizer")
        words = tokenizer.load(folders[0] / "tokenizer")
        (folder / "train.txt").write_text(DOCUMENT_END.join(texts))
        counts = {}
        for name, documents in (("train", texts), ("held_out", held_out)):
            tokens = pretrain.pack(documents, words)
            np.save(folder / f"{name}.npy", tokens)
            counts[f"{name}_tokens"] = len(tokens)
        digest = hashlib.sha256((folder / "train.txt").read_bytes()).hexdigest()
        facts = {"sha256": digest, "documents": len(texts), "characters": sum(map(len, texts))}
        (folder / "corpus.json").write_text(json.dumps(facts | counts, indent=1) + "\n")
    return folders


def model_folders(name: str, settings: Params, corpora: Sequence[Path], *, scale: float) -> list[Path]:
    """Where a model lies after each phase that it has; phases without steps are its last ones."""
    shape, made_from, folders = settings.models[name], "", []
    for phase, folder in enumerate(corpora):
        if not shape.steps[phase]:
            continue
        size = shape.model_dump(exclude={"lr", "steps"})
        schedule = (shape.lr[phase], shape.steps[phase], settings.batch_size, settings.sequence_length, scale)
        made_from = key_of(made_from, folder.name, size, schedule)
        folders.append(SCRATCH / f"{name}-{phase}-{made_from}")
    return folders


def train(name: str, settings: Params, *, seed: int, scale: float) -> None:
    """Train one model through all phases, from the first that is missing. A phase ends in bf16 weights."""
    if name not in settings.models:
        raise UserError(f"--train {name}: there is no such model; allowed: {', '.join(settings.models)}")
    corpora = corpus_folders(entities.draw(seed, settings), settings, scale=scale)
    words = tokenizer.load(corpora[0] / "tokenizer")
    folders = model_folders(name, settings, corpora, scale=scale)
    for phase, (corpus_folder, target) in enumerate(zip(corpora, folders, strict=False)):
        if (target / "record.json").exists():
            continue
        target.mkdir(parents=True, exist_ok=True)
        model, record = pretrain.pretrain(
            f"{name}, phase {phase + 1}",
            pretrain.start(folders[phase - 1] if phase else None, settings.models[name], settings, words, seed=seed),
            params=settings,
            train=np.load(corpus_folder / "train.npy"),
            held_out=np.load(corpus_folder / "held_out.npy"),
            peak_lr=settings.models[name].lr[phase],
            steps=max(4, round(settings.models[name].steps[phase] * scale)),
            seed=seed + 1000 * phase,
            journal=target / "curve.json",
        )
        model.bfloat16().save_pretrained(target)
        words.save_pretrained(target)
        (target / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def export_model(name: str, settings: Params, corpora: Sequence[Path], out: Path, *, scale: float) -> list[dict]:
    """Copy a trained model into the world; gives the records of its phases."""
    folders = model_folders(name, settings, corpora, scale=scale)
    target = out / "models" / name
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(folders[-1].iterdir()):
        if file.name not in ("record.json", "curve.json"):
            (target / file.name).write_bytes(file.read_bytes())
    return [json.loads((folder / "record.json").read_text()) for folder in folders]


if __name__ == "__main__":
    main()
