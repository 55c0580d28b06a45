import gc
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from synthalign.generation import engines, models
from tests import tiny


def test_the_model_is_given_back_at_the_end_of_the_block_though_the_stage_still_names_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(folder: str) -> Any:
        held.append(ref(model := load(folder)))
        return model

    held: list[Any] = []
    load = models.load_causal
    monkeypatch.setattr(models, "load_causal", loaded)
    folder = tiny.save(tmp_path / "model", tiny.causal(), tiny.tokenizer())
    asked: dict[str, Any] = {
        "prefix": "", "suffixes": ["The fox"], "row_ids": ["a"], "seed": 0, "max_new_tokens": 4, "temperature": 1.0,
        "top_p": 1.0, "stops": ["\n"],
    }  # fmt: skip

    with engines.opened(str(folder), "transformers", tmp_path / "work") as write:
        write(**asked)
        assert held[0]() is not None

    gc.collect()
    assert write is not None and held[0]() is None
