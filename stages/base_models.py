"""Bring the vanilla models into models/base, pinned and checked, so that every later stage reads a local folder."""

import json
import shutil
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from pydantic import BaseModel, Field

from synthalign.core import stage
from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.generation import models

WANTED = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
]


class Model(BaseModel, frozen=True, extra="forbid", strict=True):
    source: str = Field(min_length=1)
    """A local model folder, or a model of the Hugging Face hub as owner/name."""

    revision: str | None
    """The commit of a hub model, all 40 hex digits: a branch would move under the cache. Null for a local folder."""

    pad_token: str | None
    """A token of the vocabulary to pad with, for tokenizers that come without one; null keeps the tokenizer's own."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    small: Model
    """Stands for the paper's 7B: it writes configurations D and E, and is the one that the paper aligns."""

    medium: Model
    """Stands for the paper's 13B."""

    large: Model
    """Stands for the paper's 30B: it writes configurations A and B and the demonstrations."""


def fetch(model: Model) -> Path:
    """The folder of a model, downloaded at its pinned commit where it is not local."""
    if Path(model.source).is_dir():
        return Path(model.source)
    if not model.revision or len(model.revision) != 40:
        raise UserError(
            f"base_models: {model.source!r} is not a folder here, and as a hub model it needs `revision`, "
            f"the 40 digits of a commit; it is {model.revision!r}"
        )
    try:
        return Path(snapshot_download(model.source, revision=model.revision, allow_patterns=WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise UserError(
            f"base_models: {model.source} at {model.revision} could not be fetched ({type(error).__name__}: "
            f"{error}); check the name, or download it elsewhere and set `source` to the folder"
        ) from error


def complete_tokenizer(folder: Path, pad_token: str | None) -> None:
    """Write our chat template and the chosen pad token into the folder's tokenizer configuration."""
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    settings["chat_template"] = chat.CHAT_TEMPLATE
    if pad_token is not None:
        settings["pad_token"] = pad_token
    file.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def bring(model: Model, folder: Path) -> None:
    """Copy one model to its folder, complete its tokenizer, and see that both load."""
    source = fetch(model)
    models.check_folder(source)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in sorted(file for pattern in WANTED for file in source.glob(pattern)):
        shutil.copyfile(file, folder / file.name)

    complete_tokenizer(folder, model.pad_token)
    models.load_tokenizer(folder)
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB from {model.source}")


def main(params: Params) -> None:
    for size in Params.model_fields:
        bring(getattr(params, size), Path("models/base") / size)


if __name__ == "__main__":
    stage.run(main, "base_models", Params)
