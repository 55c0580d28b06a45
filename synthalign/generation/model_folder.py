"""What has to be in a model folder, seen from its small files and the headers of its weights before anything is loaded.

transformers reads `model.safetensors`, or without it the shards that `model.safetensors.index.json` names, and no other
weights; the tokenizer from `tokenizer.json`, or from older files that it converts with packages of their own.

A folder of LoRA adapters names the folder of its base, which may be one of adapters again; see `adapters`.
"""

import hashlib
import json
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import utils

from synthalign.core.errors import UserError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLED_ADAPTER = "adapter_model.bin"
BASE_HASH = "base.sha256"
"""`weights_hash` of the base that adapters were trained on; those made elsewhere have none."""
UNQUANTISED = (
    "the weights are quantised, and here they are read as they are: take the unquantised folder or a GGUF file"
)
QUANTISED = "hf_quant_config.json"
"""What ModelOpt writes beside quantised weights; transformers does not read it."""
WEIGHT_TYPES = {"F64", "F32", "F16", "BF16"}
"""As a file's header names them. What is quantised has others: F8_E4M3, I8, codes of 4 bits packed in U8 or I32."""
BUFFERS = (".bias", "_mask", "position_ids")
"""How tensors of other types end that are no weights: masks and places that GPT-2, Pythia or CodeGen are saved with."""
NAMES_OF_TOKENS = ("tokenizer.json", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")
"""Where tokens may be named; those of the last three are added to the vocabulary where it lacks them."""


def check(folder: str | Path) -> None:
    """UserError unless the folder holds a configuration, whole weights as safetensors, and a tokenizer that opens.

    Of adapters, they and their base do so together, and the base has the weights that they were trained on.
    """
    base = chain(folder)[-1]
    file = config_file(folder)
    try:
        config = _json(file)
    except FileNotFoundError as error:
        raise UserError(f"{file.parent}: config.json is missing, so this is not a model folder") from error
    if not isinstance(config, dict) or not config.get("model_type"):
        raise UserError(f"{file} names no model_type, so transformers cannot load it")
    _check_unpacked(base)
    weight_files(base)
    for adapter, below in reversed(list(pairwise(chain(folder)))):
        _check_adapter(adapter, below)
    _check_tokenizer(tokenizer_folder(folder))


def _check_unpacked(folder: Path) -> None:
    """UserError where a model's configuration says that its weights are quantised.

    transformers needs packages for most methods, and takes codes for weights where it knows no method (ModelOpt). What
    it unpacks by itself, fp8 and mxfp4, it saves under the names of the codes: fp8 is then read as other weights.
    """
    file = folder / "config.json"
    given = _json(file) if file.exists() else {}
    parts = [given, given.get("text_config")] if isinstance(given, dict) else []
    for part in (one for one in parts if isinstance(one, dict)):
        if said := part.get("quantization_config") or part.get("compression_config"):
            method = said.get("quant_method") if isinstance(said, dict) else None
            raise UserError(f"{file} has a quantization_config{f' ({method})' if method else ''}; {UNQUANTISED}")
    if (folder / QUANTISED).exists():
        raise UserError(f"{folder} has a {QUANTISED}; {UNQUANTISED}")


def chain(folder: str | Path) -> list[Path]:
    """The folder, where it holds adapters the one they are for, and so on: the last holds a whole model.

    UserError where one is not there, names no base, or is its own base.
    """
    folders = [Path(folder)]
    if not folders[0].is_dir():
        raise UserError(f"{folder}: no such model folder; `dvc repro` makes those under models/, others must be there")
    while (file := folders[-1] / ADAPTER).exists():
        settings = _json(file)
        base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
        if not base or not isinstance(base, str):
            raise UserError(f"{file} names no base_model_name_or_path; write the folder of the adapters' base there")
        if not Path(base).is_dir():
            raise UserError(
                f"{folders[-1]} holds adapters for {base}, and there is no such folder; bring that model there, or "
                f"write where it is as base_model_name_or_path of {file}"
            )
        if Path(base) in folders:
            raise UserError(f"{file}: {base} is the base of adapters that lead to itself")
        folders.append(Path(base))
    return folders


def config_file(folder: str | Path) -> Path:
    """The config.json that holds for a folder: of adapters without one, it is their base's."""
    folders = chain(folder)
    return next((one for one in folders if (one / "config.json").exists()), folders[-1]) / "config.json"


def tokenizer_folder(folder: str | Path) -> Path:
    """The folder whose tokenizer holds for a folder: of adapters without one, it is their base's."""
    folders = chain(folder)
    names = ("tokenizer.json", "vocab.json", "tokenizer.model")
    return next((one for one in folders if any((one / name).exists() for name in names)), folders[-1])


def weights_hash(folder: str | Path) -> str:
    """SHA-256 of a folder's weights, in hex; of adapters, with those of what lies below them."""
    digest = hashlib.sha256()
    *adapters, base = chain(folder)
    for file in (*(one / ADAPTER_WEIGHTS for one in adapters), *weight_files(base)):
        if file.name != INDEX:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _check_adapter(folder: Path, base: Path) -> None:
    if not (folder / ADAPTER_WEIGHTS).exists():
        if (folder / PICKLED_ADAPTER).exists():
            raise UserError(
                f"{folder}: {PICKLED_ADAPTER} is pickled, and pickled weights are never loaded; save the adapters "
                f"again with peft 0.7 or later, which writes {ADAPTER_WEIGHTS}"
            )
        raise UserError(f"{folder}: {ADAPTER_WEIGHTS} is missing beside {ADAPTER}; copy the folder again, whole")
    _tensors(folder / ADAPTER_WEIGHTS)
    file = folder / BASE_HASH
    if file.exists() and file.read_text(encoding="utf-8").strip() != (found := weights_hash(base)):
        raise UserError(
            f"{folder} holds adapters for {base}, but for other weights than are there now (SHA-256 {found[:12]}…, "
            f"not as in {file.name}); train the adapters again, or bring the base that they were trained on"
        )


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads weights from, an index of shards among them.

    UserError when there are none, a shard is missing, a file does not hold weights, or a shard not those of the index.
    """
    if (folder / WEIGHTS).exists():
        _tensors(folder / WEIGHTS)
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.exists():
        found = sorted(file.name for file in folder.glob("*.safetensors"))
        if not found:
            raise UserError(f"{folder}: no *.safetensors; convert the weights (pickled weights are never loaded)")
        raise UserError(
            f"{folder}: {', '.join(found[:3])} cannot be read without {INDEX}, and there is no {WEIGHTS}; copy the "
            "folder again, whole"
        )
    shards = _shards(index)
    missing = [name for name in shards if not (folder / name).exists()]
    if missing:
        raise UserError(
            f"{folder}: {missing[0]} is missing, one of {len(missing)} of the {len(shards)} files that {INDEX} names; "
            "fetch what is missing, or copy the folder again, whole"
        )
    for name, wanted in shards.items():
        absent = sorted(wanted - _tensors(folder / name))
        if absent:
            raise UserError(
                f"{folder / name}: {absent[0]} is not in it, one of {len(absent)} weights that {INDEX} says are; the "
                "two are of different downloads: fetch both again"
            )
    return [index, *(folder / name for name in shards)]


def _shards(index: Path) -> dict[str, set[str]]:
    """Of an index, each file with the names of its tensors."""
    given = _json(index)
    places = given.get("weight_map") if isinstance(given, dict) else None
    if not places or not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise UserError(f"{index} has no `weight_map` of weights and files; fetch it again")
    shards: dict[str, set[str]] = {}
    for tensor, name in sorted(places.items(), key=lambda place: place[::-1]):
        if Path(name).name != name:
            raise UserError(f"{index}: {name!r}, the file of {tensor}, is not a file of this folder")
        shards.setdefault(name, set()).add(tensor)
    return shards


def _tensors(file: Path) -> set[str]:
    """The names in the header of a file of weights; UserError where one is quantised."""
    try:
        with safe_open(file, framework="pt") as weights:
            types = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file} does not hold weights ({error}); where it is a pointer of Git LFS, fetch the file itself"
        ) from error
    for name, kind in sorted(types.items()):
        if kind not in WEIGHT_TYPES | {"BOOL", "I64"} and not name.endswith(BUFFERS):
            raise UserError(f"{file}: {name} is of the type {kind}; {UNQUANTISED}")
    return {*types}


def _check_tokenizer(folder: Path) -> None:
    """UserError without a tokenizer, or when transformers would guess how to read it or lacks the package to."""
    if any((folder / name).exists() for name in ("tokenizer.json", "vocab.json")):
        return
    file = folder / "tokenizer.model"
    if not file.exists():
        raise UserError(f"{folder}: no tokenizer (tokenizer.json, tokenizer.model or vocab.json) beside the model")
    with file.open("rb") as opened:
        is_sentencepiece = opened.read(1) == b"\n"  # how its messages begin; tiktoken's lines begin with base64
    if is_sentencepiece:
        needed = {"sentencepiece": utils.is_sentencepiece_available(), "protobuf": utils.is_protobuf_available()}
    else:
        needed = {"tiktoken": utils.is_tiktoken_available()}
    missing = [name for name, is_there in needed.items() if not is_there]
    if missing:
        raise UserError(
            f"{file} is a tokenizer of {' and '.join(needed)}, and there is no tokenizer.json; "
            f"`pip install {' '.join(missing)}` lets transformers convert it, or put the model's tokenizer.json there"
        )
    settings = folder / "tokenizer_config.json"
    given = _json(settings) if settings.exists() else {}
    if not isinstance(given, dict) or not given.get("tokenizer_class"):
        raise UserError(
            f"{settings} names no `tokenizer_class`, without which transformers reads tokenizer.model with rules that "
            "are not the model's; copy the file from the model, or put its tokenizer.json there"
        )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}") from error


def leave_out(folder: Path, tokens: Collection[str]) -> None:
    """Take added tokens out of the files that name them."""
    for file in (folder / name for name in NAMES_OF_TOKENS):
        if not file.exists():
            continue
        given = _json(file)
        if file.name == NAMES_OF_TOKENS[0]:
            given["added_tokens"] = _without(given["added_tokens"], tokens)
        else:
            given = _without(given, tokens)
        file.write_text(json.dumps(given, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _without(given: Any, tokens: Collection[str]) -> Any:
    """JSON without the entries that are these tokens: as a text, as a key, or as what has it as `content`."""

    def is_one(entry: Any) -> bool:
        text = entry.get("content") if isinstance(entry, dict) else entry
        return isinstance(text, str) and text in tokens

    if isinstance(given, dict):
        return {key: _without(entry, tokens) for key, entry in given.items() if key not in tokens and not is_one(entry)}
    if isinstance(given, list):
        return [_without(entry, tokens) for entry in given if not is_one(entry)]
    return given
