"""Where a base model may come from: a folder, LoRA adapters and their base, a GGUF file, a pinned model of the hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from synthalign.core.errors import UserError
from synthalign.generation import gguf_file, model_folder, models

TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
SMALL = ("config.json", "generation_config.json")
WANTED = ["model*.safetensors", "model.safetensors.index.json", "README.md", *SMALL, *TOKENIZER]


def fetch(source: str, revision: str | None, scratch: Path) -> Path:
    """The folder of a model: as it is there, downloaded at its pinned commit, or made below scratch, of a
    GGUF file or of LoRA adapters and their base.

    What was made there once is taken again. UserError when it cannot be had.
    """
    if (Path(source) / model_folder.ADAPTER).is_file():
        return _merge(Path(source), scratch)
    if Path(source).is_dir():
        return Path(source)
    if source.endswith(".gguf"):
        return _convert(Path(source), revision, scratch)
    if not revision or len(revision) != 40:
        raise UserError(
            f"base_models: {source!r} is not a folder here, and as a hub model it needs `revision`, "
            f"the 40 digits of a commit; it is {revision!r}"
        )
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise UserError(
            f"base_models: {source} at {revision} could not be fetched ({type(error).__name__}: "
            f"{error}); check the name, or download it elsewhere and set `source` to the folder"
        ) from error


def _convert(file: Path, sha256: str | None, scratch: Path) -> Path:
    """A GGUF file as a model folder."""
    if not file.is_file():
        raise UserError(
            f"base_models: there is no file {file}; `python -m synthalign bring data/sources/pocket.yaml` fetches "
            "those of the profile pocket, others must be there"
        )
    if not sha256 or len(sha256) != 64:
        raise UserError(
            f"base_models: {file} needs `revision`, the 64 digits of its sha256; it is {sha256!r}, the file's is "
            f"{gguf_file.digest(file)}"
        )
    folder = scratch / sha256
    if not folder.exists():
        gguf_file.convert(gguf_file.open_file(file, sha256), folder)
    return folder


def _merge(source: Path, scratch: Path) -> Path:
    """LoRA adapters and the base that they name as one model folder."""
    model_folder.check(source)
    folder = scratch / model_folder.weights_hash(source)
    if not folder.exists():
        models.save(models.load_causal(source), models.read_tokenizer(source), folder)
    return folder
