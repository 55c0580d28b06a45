"""vLLM is an extra: without it there is one line to read, with it the rows of an engine of ours."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from synthalign.core.errors import UserError
from synthalign.generation import engines, parallel, vllm_engine
from tests import tiny

IS_INSTALLED = importlib.util.find_spec("vllm") is not None


@pytest.mark.skipif(IS_INSTALLED, reason="vLLM is installed")
def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    model = tiny.save(tmp_path / "model", tiny.causal(), tiny.tokenizer())

    told = r"^engine = vllm, but .* pip install '\.\[vllm\]'$"
    with pytest.raises(UserError, match=told), engines.opened(str(model), "vllm", tmp_path) as write:
        write(prefix="", suffixes=["The fox"], row_ids=["a"])


@pytest.mark.slow
@pytest.mark.skipif(not IS_INSTALLED, reason="vLLM is an extra")
def test_every_row_has_its_samples_and_is_kept_once(tmp_path: Path) -> None:
    model = "data/embedded/models/small"  # vLLM has no attention for the heads of a tiny model
    with engines.opened(model, "vllm", tmp_path) as write:
        made = parallel.generated(
            write, folder=tmp_path, name="rows", prefix="The fox ", suffixes=["lives", "eats", "sleeps"],
            row_ids=["a", "b", "c"], samples=2, seed=0, max_new_tokens=6, temperature=1.0, top_p=0.9, stops=["\n"],
        )  # fmt: skip
        with pytest.raises(UserError, match="max_new_tokens = 2000 do not fit the context"):
            write(
                prefix="", suffixes=["The fox"], row_ids=["a"], seed=0, max_new_tokens=2000, temperature=1.0, top_p=1.0
            )

    assert {row: len(many) for row, many in made.items()} == {"a": 2, "b": 2, "c": 2}
    assert all(1 <= len(one.token_ids) <= 6 and "\n" not in one.text for many in made.values() for one in many)
    assert len((tmp_path / "rows.0.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("", "float32"),
        ("weights: {training: fp32, reading: bf16}", "bfloat16"),
        ("weights: {training: fp32, reading: auto}", "float32"),  # as the folder has them
    ],
)
def test_weights_are_read_in_the_type_that_the_hardware_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, dtype: str
) -> None:
    """vLLM's own `auto` reads float32 in 16 bits.  A stand-in for the package, which is an extra, takes the words."""
    model = tiny.save(tmp_path / "model", tiny.causal(), tiny.tokenizer())
    given: dict[str, Any] = {}
    package: Any = ModuleType("vllm")
    package.EngineArgs = given.update
    package.LLMEngine = SimpleNamespace(from_engine_args=lambda _: None)
    package.__spec__ = ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.chdir(tmp_path)
    if text:
        Path("hardware.yaml").write_text(text)

    vllm_engine.load(str(model), gpu=None)

    assert given["dtype"] == dtype
