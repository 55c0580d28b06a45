"""vLLM is an extra: without it there is one line to read, with it the rows of an engine of ours."""

import importlib.util
from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.generation import engines, parallel
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
