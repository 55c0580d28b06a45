"""A real model through llama.cpp's own converter and back.

Runs where LLAMA_CPP names a checkout of llama.cpp (the sdist of llama-cpp-python has one in vendor/) and
SYNTHALIGN_BENCH_SMALL or SYNTHALIGN_BENCH_LARGE a model's folder, as those of `benchmarks/` do.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from synthalign.commands import llama_cpp
from synthalign.generation import gguf_file, models
from tests.small_tables import ROOT

FOLDERS = {name: os.environ.get(f"SYNTHALIGN_BENCH_{name}", "") for name in ("SMALL", "LARGE")}

DECODING = {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 64}


@pytest.mark.skipif(not os.environ.get("LLAMA_CPP"), reason="LLAMA_CPP names no checkout of llama.cpp")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_real_model_comes_back_from_its_gguf_with_its_tokens_and_its_weights(tmp_path: Path, name: str) -> None:
    if not FOLDERS[name]:
        pytest.skip(f"SYNTHALIGN_BENCH_{name} names no model")
    folder, back = tmp_path / "model", tmp_path / "back"
    shutil.copytree(FOLDERS[name], folder)

    llama_cpp.convert(folder, llama_cpp.find(), DECODING)

    file = folder / "model-F16.gguf"
    back.mkdir()
    gguf_file.convert(gguf_file.open_file(file, gguf_file.digest(file)), back)
    ours, its = (AutoTokenizer.from_pretrained(str(one)) for one in (folder, back))
    lines = (ROOT / "data/embedded/heldout_text.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[:200]] + ["  7 + 77\n\n\n\tnaïve 東京 🙂<0x41>", " a", ""]
    assert [its(text)["input_ids"] for text in texts] == [ours(text)["input_ids"] for text in texts]
    before, after = (dict(models.load_causal(one).named_parameters()) for one in (folder, back))
    assert before.keys() == after.keys()
    for key, weight in before.items():
        assert (weight - after[key]).abs().max() <= weight.abs().max() * 2**-11, key  # half a step of float16
