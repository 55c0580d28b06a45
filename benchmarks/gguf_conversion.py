"""A GGUF file made a model folder beside transformers' loading of the same file, tokenizer and model together.

Theirs is loaded alone: `save_pretrained` refuses what comes of it. Ours is written as well, after the file's hash was
checked. Seconds of the processor, so that other work on the machine counts for neither.
"""

import json
import random
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.bench import Comparison, versions
from benchmarks.peers import environment
from synthalign.generation import gguf_file

FILE = Path("models/gguf/smollm2-135m-instruct.gguf")
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
RUNS = 5
LINES = 2000

WORDS = [
    "the",
    "House",
    "don't",
    "I'LL",
    "naïve",
    "Ünder",
    "Привет",
    "日本語",
    "한국어",
    "עברית",
    "हिन्दी",
    "🙂",
    "e.g.",
]
WORDS += ["C++", "f(x)", "a_b", "=>", "...", "—", "“q”", "Straße"]
NUMBERS = [
    "½",
    "²",
    "٣٤",
    "１２３",
    "1,024",
    "-7",
    "38%",
    "$19.99",
    "0x1F3A",
    "07:45",
    "2024-03-11",
    "3.14159",
    "1e-05",
]
GAPS = [" ", " ", "  ", "   ", "\n", "\n\n", "\n\n  ", "\t", "\r\n", " \n", "    ", ", ", "\u3000"]
MARKS = ["- ", "* ", "  * ", "{}. ", "{}) ", "  {}. ", "\t{}.\t", "{}.  "]


def texts() -> list[str]:
    """Code of this project, passages with numbers in many forms, and lists, of the same kind on every run."""
    chance = random.Random(5)
    return [*islice(code(), LINES * 3 // 10), *islice(made(chance), LINES - LINES * 3 // 10)]


def code() -> Iterator[str]:
    for file in sorted(Path("synthalign").rglob("*.py")):
        lines = file.read_text(encoding="utf-8").split("\n")
        yield from ("\n".join(lines[start : start + 8]) for start in range(0, len(lines), 8))


def made(chance: random.Random) -> Iterator[str]:
    def word() -> str:
        number = str(chance.randrange(10 ** chance.randrange(1, 12)))
        return chance.choice([chance.choice(WORDS), chance.choice(NUMBERS), number])

    while True:
        yield "".join(word() + chance.choice(GAPS) for _ in range(chance.randrange(3, 25)))
        marks = [chance.choice(MARKS).format(place) for place in range(1, chance.randrange(2, 14))]
        yield "\n".join(mark + " ".join(word() for _ in range(chance.randrange(1, 6))) for mark in marks)


def compare() -> Comparison:
    torch.set_num_threads(1)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"

        def ours() -> float:
            begun = time.process_time()
            gguf_file.convert(gguf_file.open_file(FILE, SHA256), folder)
            return time.process_time() - begun

        ours()  # the first one imports
        here, there = [], []
        for _ in range(RUNS):
            here.append(ours())
            begun = time.process_time()
            tokenizer = AutoTokenizer.from_pretrained(FILE.parent, gguf_file=FILE.name)
            model = AutoModelForCausalLM.from_pretrained(FILE.parent, gguf_file=FILE.name, dtype=torch.float32)
            there.append(time.process_time() - begun)
        found, theirs = load_file(folder / "model.safetensors"), model.state_dict()
        differ = sum(not torch.equal(found[name], theirs[name]) for name in found)
        lines = texts()
        ids = AutoTokenizer.from_pretrained(folder)(lines)["input_ids"]
        told = subprocess.run(
            [str(environment("llamacpp") / "bin" / "python"), "benchmarks/peers/llamacpp_tokenize.py", str(FILE)],
            input=json.dumps(lines), capture_output=True, text=True, check=True,
        )  # fmt: skip
        wanted = json.loads(told.stdout[told.stdout.index("[[") :])
        their_ids = tokenizer(lines)["input_ids"]
    return Comparison(
        work="a GGUF file (SmolLM2-135M, Q4_1) to a model folder, hash checked, written: processor time",
        against="from_pretrained(gguf_file=…) of tokenizer and model, not written",
        ratios=[one / other for one, other in zip(there, here, strict=True)],
        at_least=5.0,
        versions=versions("torch", "transformers", "gguf"),
        notes={
            "seconds": round(sum(here) / len(here), 2),
            "their_seconds": round(sum(there) / len(there), 2),
            "tensors": len(found),
            "tensors_that_differ": differ,
            "lines": len(lines),
            "lines_other_than_llama_cpp": sum(one != other for one, other in zip(ids, wanted, strict=True)),
            "their_lines_other_than_llama_cpp": sum(one != other for one, other in zip(their_ids, wanted, strict=True)),
        },
    )
