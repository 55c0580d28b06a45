"""Bring the vanilla models into models/base, pinned and checked, so that every later stage reads a local folder."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from transformers import PreTrainedTokenizerBase

from synthalign.core import stage
from synthalign.dialogue import encoding
from synthalign.generation import model_folder, models, sources


class Model(BaseModel, frozen=True, extra="forbid", strict=True):
    source: str = Field(min_length=1)
    """A local model folder, one of LoRA adapters, a GGUF file, or a model of the Hugging Face hub as owner/name."""

    revision: str | None
    """The commit of a hub model, all 40 hex digits: a branch would move under the cache. The sha256 of a GGUF file, 64
    of them. Null for a local folder."""

    pad_token: str | None
    """A token of the vocabulary to pad with, for tokenizers that come without one; null keeps the tokenizer's own."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    small: Model
    """Stands for the paper's 7B: it writes configurations D and E, and is the one that the paper aligns."""

    medium: Model
    """Stands for the paper's 13B."""

    large: Model
    """Stands for the paper's 30B: it writes configurations A and B and the demonstrations."""


def complete_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, pad_token: str | None) -> None:
    """Write the tokenizer's chat template and the chosen pad token into the folder's tokenizer configuration."""
    changes = {"chat_template": tokenizer.chat_template}
    if pad_token is not None:
        changes["pad_token"] = pad_token
    file = folder / "tokenizer_config.json"
    write(file, read(file) | changes if file.exists() else changes)
    older = folder / "special_tokens_map.json"  # where there is one, it has the last word
    if pad_token is not None and older.exists():
        write(older, read(older) | {"pad_token": pad_token})


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def write(file: Path, settings: dict[str, Any]) -> None:
    file.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def bring(model: Model, folder: Path, scratch: Path) -> None:
    """Check one model's weights and tokenizer against each other, copy what is read of them, complete the tokenizer.

    A tokenizer of an older format is converted, so that no later stage needs the packages for it.
    """
    source = sources.fetch(model.source, model.revision, scratch)
    tokenizer = models.read_tokenizer(source)
    spare = models.check_tokens(source, tokenizer, model.pad_token)
    tokenizer.chat_template = encoding.chat_template(tokenizer)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    is_current = (source / "tokenizer.json").exists()
    small = [
        file
        for pattern in (*sources.SMALL, *(sources.TOKENIZER if is_current else ()))
        for file in source.glob(pattern)
    ]
    for file in sorted({*small, *model_folder.weight_files(source)}):
        shutil.copyfile(file, folder / file.name)
    if not is_current:
        tokenizer.save_pretrained(folder)

    if spare:
        model_folder.leave_out(folder, spare)
        print(f"{folder}: without {', '.join(spare)}, special tokens that the model has no row for")
    complete_tokenizer(folder, tokenizer, model.pad_token)
    left = models.load_tokenizer(folder)
    assert not {*spare} & {*left.get_vocab()}, "a special token without a row is named in a file that is not known here"
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB from {model.source}")


def main(params: Params) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for size in Params.model_fields:
            bring(getattr(params, size), Path("models/base") / size, Path(scratch))


if __name__ == "__main__":
    stage.run(main, "base_models", Params)
