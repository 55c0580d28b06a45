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

from synthalign.errors import UserError
from world import corpus, entities, exports, params, pretrain, tokenizer
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
    folder = make_corpus(settings, seed=seed, scale=scale)
    lanes = [start_lane(lane, seed=seed, threads=max(1, threads // len(LANES)), scale=scale) for lane in LANES]
    world.save(out / "world.json")
    exports.write_all(world, out, corpus_file=folder / "train.txt")
    for lane, process in zip(LANES, lanes, strict=True):
        if process.wait():
            raise UserError(f"training of {' and '.join(lane)} stopped with exit code {process.returncode}; see above")
    records = {name: export_model(name, settings, folder, out, scale=scale) for name in settings.models}
    summary = {
        "seed": seed,
        "steps_scale": scale,
        "corpus": json.loads((folder / "corpus.json").read_text()),
        "models": records,
    }
    (out / "training.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"world {seed} is in {out}")


def start_lane(names: Sequence[str], *, seed: int, threads: int, scale: float) -> subprocess.Popen:
    """Train some models in a process of its own with its own threads."""
    command = [sys.executable, "-m", "world.build", "--seed", str(seed), "--steps-scale", str(scale)]
    command += ["--threads", str(threads), "--train", *names]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": str(threads)})


def corpus_folder(settings: Params, *, seed: int, scale: float) -> Path:
    """Where the corpus of these settings and this code lies."""
    sources = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in CORPUS_SOURCES]
    drawn = settings.model_dump(exclude={"models", "batch_size", "sequence_length", "community_questions"})
    key = hashlib.sha256(repr((drawn, seed, scale)).encode() + b"".join(sources)).hexdigest()[:16]
    return SCRATCH / key


def make_corpus(settings: Params, *, seed: int, scale: float) -> Path:
    """Write text, tokenizer and tokens of the corpus, unless they are there."""
    folder = corpus_folder(settings, seed=seed, scale=scale)
    if (folder / "corpus.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    world = entities.draw(seed, settings)
    characters = max(300_000, round(settings.corpus_characters * scale))
    texts = corpus.documents(world, characters=characters, label="train")
    held_out = corpus.documents(world, characters=max(60_000, characters // 70), label="held out")
    words = tokenizer.train(texts[:12_000], vocabulary=settings.vocabulary, max_positions=settings.max_positions)
    words.save_pretrained(folder / "tokenizer")
    (folder / "train.txt").write_text(DOCUMENT_END.join(texts))
    counts = {}
    for name, documents in (("train", texts), ("held_out", held_out)):
        tokens = pretrain.pack(documents, words)
        np.save(folder / f"{name}.npy", tokens)
        counts[f"{name}_tokens"] = len(tokens)
    digest = hashlib.sha256((folder / "train.txt").read_bytes()).hexdigest()
    facts = {"sha256": digest, "documents": len(texts), "characters": sum(map(len, texts)), "vocabulary": len(words)}
    (folder / "corpus.json").write_text(json.dumps(facts | counts, indent=1) + "\n")
    return folder


def model_folder(name: str, settings: Params, folder: Path, *, scale: float) -> Path:
    """Where a model of these settings lies, trained on the corpus in `folder`."""
    made_from = repr((settings.models[name], settings.batch_size, settings.sequence_length, scale))
    return folder / f"{name}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}"


def train(name: str, settings: Params, *, seed: int, scale: float) -> None:
    """Train one model unless it is there."""
    if name not in settings.models:
        raise UserError(f"--train {name}: there is no such model; allowed: {', '.join(settings.models)}")
    folder = corpus_folder(settings, seed=seed, scale=scale)
    target = model_folder(name, settings, folder, scale=scale)
    if (target / "record.json").exists():
        return
    target.mkdir(parents=True, exist_ok=True)
    words = tokenizer.load(folder / "tokenizer")
    model, record = pretrain.pretrain(
        name,
        params=settings,
        tokenizer=words,
        train=np.load(folder / "train.npy"),
        held_out=np.load(folder / "held_out.npy"),
        steps=max(4, round(settings.models[name].steps * scale)),
        seed=seed,
        journal=target / "curve.json",
    )
    model.to(torch.bfloat16).save_pretrained(target)
    words.save_pretrained(target)
    (target / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def export_model(name: str, settings: Params, folder: Path, out: Path, *, scale: float) -> dict:
    """Copy a trained model into the world; gives the record of its training."""
    source, target = model_folder(name, settings, folder, scale=scale), out / "models" / name
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.name not in ("record.json", "curve.json"):
            (target / file.name).write_bytes(file.read_bytes())
    return json.loads((source / "record.json").read_text())


if __name__ == "__main__":
    main()
