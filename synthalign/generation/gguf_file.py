"""A GGUF file as a plain model folder: float32 safetensors, config.json, a tokenizer. Several times faster than
transformers' `from_pretrained(gguf_file=…)`, with the same numbers bit for bit, and a folder that trains and saves.

Names of tensors are of gguf's table, those of settings of transformers'. What that drops without a word is refused:
a tensor that the model has no place for, and rotary positions that are stretched in a way its config would not say.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

from synthalign.core.errors import UserError
from synthalign.generation import gguf_header, gguf_tokenizer, model_folder
from synthalign.generation.gguf_header import Header

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3": "gemma3_text"}
"""Of a GGUF file, and the model_type of transformers; Mistral's files say llama."""

MORE = {"qwen3": {"attention.key_length": "head_dim"}}
"""Settings that transformers' tables leave to a default, which is one model's."""

LARGEST = {"gemma2": 46, "gemma3": 62}
"""Layers of Gemma's 27B models, whose queries are scaled by another number than the length of a head (llama.cpp)."""

EOT = "tokenizer.ggml.eot_token_id"

ENDS = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "</s>",
}
ENDS |= {"<EOT>", "[EOT]", "[EOS]", "<eos>", "<turn|>", "<end_of_utterance>"}
"""Control tokens that end a text or a turn whatever else the file says."""

FREQUENCIES = "rope_freqs.weight"
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""How all models with Llama 3.1's positions stretch them; a file has the outcome alone."""


def open_file(file: Path, sha256: str) -> Header:
    """The header of a file that can be read here; UserError when it is another, is cut off, or of an unknown kind."""
    header = gguf_header.read(file)
    found = digest(file)
    if found != sha256:
        raise UserError(
            f"{file} has the sha256 {found}, `revision` says {sha256}; fetch the file again, or write the first where "
            "this file is meant"
        )
    if (parts := header.settings.get("split.count", 1)) > 1:
        raise UserError(
            f"{file} is one of {parts} parts of a model; join them with llama.cpp's `llama-gguf-split --merge`, and "
            "name the whole file with its sha256"
        )
    kind = header.settings.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise UserError(
            f"{file} holds a model of the architecture {kind!r}; {', '.join(sorted(ARCHITECTURES))} are read here. "
            "Take the model's folder of safetensors instead of the GGUF file"
        )
    return header


def digest(file: Path) -> str:
    """The sha256 of a file, 64 hex digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def convert(header: Header, folder: Path) -> None:
    """Write the model of a file into a new folder; UserError before that when it cannot be.

    Weights are float32, one tensor in memory at a time.
    """
    tokenizer = gguf_tokenizer.build(header.settings, header.file)
    config = configuration(header)
    names = places(header, config)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = gguf_tokenizer.configuration(header.settings, config.max_position_embeddings)
    _write(folder / "tokenizer_config.json", settings)
    config.save_pretrained(folder)
    _write(folder / "generation_config.json", _ends(header, config))
    _write_weights(header, config, names, folder / model_folder.WEIGHTS)


def configuration(header: Header) -> PreTrainedConfig:
    """The model's configuration by transformers' table of names; UserError when a setting is one it has no name for."""
    said, kind = header.settings, header.settings["general.architecture"]
    table: dict[str, str | None] = dict(GGUF_CONFIG_MAPPING[kind]) | MORE.get(kind, {})  # type: ignore[call-overload]
    values = {name: said[f"{kind}.{key}"] for key, name in table.items() if name and f"{kind}.{key}" in said}
    values |= {
        f"{name}_token_id": said.get(f"tokenizer.ggml.{key}_token_id") for name, key in gguf_tokenizer.NAMES.items()
    }
    del values["unk_token_id"]
    values.setdefault("vocab_size", len(said.get("tokenizer.ggml.tokens", ())))
    if stretched := _stretched(said, kind):
        raise UserError(
            f"{header.file} stretches its positions ({stretched}), which is not read here; take the model's folder of "
            "safetensors instead of the GGUF file"
        )
    if FREQUENCIES in header.tensors:
        base = values.pop("rope_theta", 10000.0)
        values["rope_parameters"] = _llama3(header, base, values["head_dim"])
    if kind in LARGEST:
        is_largest = values["num_hidden_layers"] == LARGEST[kind]
        per_head = values["hidden_size"] // values["num_attention_heads"]
        values["query_pre_attn_scalar"] = per_head if is_largest else values["head_dim"]
    values["tie_word_embeddings"] = "output.weight" not in header.tensors
    config = AutoConfig.for_model(ARCHITECTURES[kind], dtype="float32", **values)
    config.architectures = [type(_empty(config)).__name__]
    return config


def _stretched(said: Mapping[str, Any], kind: str) -> str | None:
    """The setting by which positions are stretched, with its value; None where they are not.

    A file that names no way has the linear one, by a factor under its name of now or of 2023 (llama.cpp, as the
    specification of GGUF says); one that names `none` has none whatever factor stands there.
    """
    way = said.get(f"{kind}.rope.scaling.type")
    if way is not None:
        return None if way == "none" else f"{kind}.rope.scaling.type = {way!r}"
    for name in (f"{kind}.rope.scaling.factor", f"{kind}.rope.scale_linear"):
        if name in said:
            return None if said[name] in (0, 1) else f"{name} = {said[name]:g}"
    return None


def _empty(config: PreTrainedConfig) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _llama3(header: Header, base: float, size: int) -> dict[str, Any]:
    """The settings of Llama 3.1's positions that give the file's frequencies; UserError when none does."""
    given = header.values(FREQUENCIES)
    factor, low, high, window = float(given.max()), *LLAMA3.values()
    waves = 2 * math.pi * base ** (np.arange(0, size, 2) / size)
    smooth = np.clip((window / waves - low) / (high - low), 0, 1)
    if given.shape != waves.shape or not np.allclose(given, 1 / ((1 - smooth) / factor + smooth), rtol=1e-3):
        raise UserError(
            f"{header.file} stretches its positions ({FREQUENCIES}) otherwise than Llama 3.1; take the model's folder "
            "of safetensors instead of the GGUF file"
        )
    return {"rope_type": "llama3", "rope_theta": base, "factor": factor} | LLAMA3


def places(header: Header, config: PreTrainedConfig) -> dict[str, str]:
    """Of every tensor of the model its name in the file, sorted; UserError unless the two have the same ones."""
    model = _empty(config)
    name_of_kind = type(model).__name__
    tied = set(model._tied_weights_keys) if config.tie_word_embeddings else set()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if name not in tied}
    kind = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == header.settings["general.architecture"])
    table = get_tensor_name_map(kind, config.num_hidden_layers)
    known = {name: f"{table.get_name(part)}.{end}" for name in shapes for part, _, end in [name.rpartition(".")]}
    found = {name: there for name, there in known.items() if there in header.tensors}
    strange = sorted(set(header.tensors) - set(found.values()) - {FREQUENCIES})
    missing = sorted(set(shapes) - set(found))
    if strange or missing:
        what = f"has {strange[0]}, which {name_of_kind} has no place for" if strange else ""
        what = what or f"lacks {missing[0]} of {name_of_kind}"
        raise UserError(
            f"{header.file} {what}, one of {len(strange or missing)} tensors; take the model's folder of safetensors "
            "instead of the GGUF file"
        )
    for name, there in found.items():
        if header.tensors[there].shape != shapes[name]:
            raise UserError(
                f"{header.file}: {there} has the shape {list(header.tensors[there].shape)}, by the settings in the "
                f"file it is {list(shapes[name])}; convert the model again"
            )
    return dict(sorted(found.items()))


def _processor(header: Header, config: PreTrainedConfig) -> TensorProcessor:
    """What undoes how llama.cpp rearranges a tensor: the halves of Llama's heads, the 1 that Gemma's norms add."""
    kind = TENSOR_PROCESSORS.get(header.settings["general.architecture"], TensorProcessor)
    return kind(config=config.to_dict())


def _write_weights(header: Header, config: PreTrainedConfig, names: dict[str, str], file: Path) -> None:
    """A safetensors file: the length of a header, the header, and the numbers of one tensor after the other."""
    at = 0
    entries: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt"}}
    for name, there in names.items():
        shape = header.tensors[there].shape
        end = at + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    processor = _processor(header, config)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for there in names.values():
            values = processor.process(weights=header.values(there), name=there).weights
            opened.write(np.ascontiguousarray(values, dtype="<f4").data)


def _ends(header: Header, config: PreTrainedConfig) -> dict[str, Any]:
    """generation_config.json: the special tokens, and as ends of a text those of a turn, which the file names or
    llama.cpp knows by their words (src/llama-vocab.cpp)."""
    said = header.settings
    words, kinds = said.get("tokenizer.ggml.tokens", ()), said.get("tokenizer.ggml.token_type", ())
    known = [
        place
        for place, (word, kind) in enumerate(zip(words, kinds, strict=False))
        if word in ENDS and kind == gguf_tokenizer.CONTROL
    ]
    ends = sorted({end for end in (config.eos_token_id, said.get(EOT), *known) if end is not None})
    tokens = {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": ends if len(ends) > 1 else next(iter(ends), None),
        "pad_token_id": config.pad_token_id,
    }
    return {name: token for name, token in tokens.items() if token is not None}


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
