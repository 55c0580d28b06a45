"""Base models: a folder is copied and completed, a hub model must be pinned, and what is no model is refused."""

import json
from pathlib import Path

import pytest

from stages import base_models
from stages.base_models import Model, Params
from synthalign.core.errors import UserError
from synthalign.generation import models
from tests import tiny

PINNED = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def params(source: str, revision: str | None = None, pad_token: str | None = None) -> Params:
    model = Model(source=source, revision=revision, pad_token=pad_token)
    return Params(small=model, medium=model, large=model)


def test_a_local_folder_becomes_a_base_model_that_loads() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())

    base_models.main(params("mine"))

    models.load_causal("models/base/small")
    assert models.load_tokenizer("models/base/small").pad_token == "<pad>"


def test_a_missing_pad_token_can_be_set_in_the_profile() -> None:
    tiny.save(Path("mine"), tiny.causal(), tiny.tokenizer())
    file = Path("mine/tokenizer_config.json")
    settings = json.loads(file.read_text())
    del settings["pad_token"]
    file.write_text(json.dumps(settings))

    with pytest.raises(UserError, match="set `pad_token` of this model in base_models"):
        base_models.main(params("mine"))

    base_models.main(params("mine", pad_token="<pad>"))

    assert models.load_tokenizer("models/base/small").pad_token == "<pad>"


def test_a_folder_that_is_no_model_is_refused() -> None:
    Path("empty").mkdir()

    with pytest.raises(UserError, match="empty: config.json is missing, so this is not a model folder"):
        base_models.main(params("empty"))


@pytest.mark.parametrize("revision", [None, "main", PINNED[:-1]])
def test_a_hub_model_must_be_pinned_to_a_commit(revision: str | None) -> None:
    with pytest.raises(UserError, match="needs `revision`, the 40 digits of a commit"):
        base_models.main(params("owner/name", revision))


def test_a_hub_that_can_not_be_reached_names_the_model_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(UserError, match="owner/name at 0123.*set `source` to the folder"):
        base_models.main(params("owner/name", PINNED))
