"""GGUF files of tiny models, written as llama.cpp's converter writes them."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, quants

from synthalign.generation import gguf_file
from tests import tiny

NORMAL, CONTROL, BYTE = 1, 3, 6
LAYER = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
QWEN3 = LAYER | {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
GEMMA2 = LAYER | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
LAYERS = {"llama": LAYER, "qwen2": LAYER, "qwen3": QWEN3, "gemma2": GEMMA2, "gemma3": QWEN3 | GEMMA2}
OTHERS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def llama_cpp_name(name: str, architecture: str) -> str:
    part, _, end = name.rpartition(".")
    if part in OTHERS:
        return f"{OTHERS[part]}.{end}"
    _, _, layer, inner = part.split(".", 3)
    return f"blk.{layer}.{LAYERS.get(architecture, LAYER)[inner]}.{end}"


def halves_beside_each_other(weight: np.ndarray, heads: int) -> np.ndarray:
    """As llama.cpp keeps the rows of Llama's queries and keys."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write(
    file: Path,
    model: Any,
    *,
    architecture: str = "llama",
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    tensors: dict[str, np.ndarray] | None = None,
    tokenizer: Any = None,
    **settings: Any,
) -> str:
    """A tiny model as llama.cpp would write it; the sha256 of the file.

    tokenizer  byte-level BPE that splits as GPT-2 does; without, that of tiny.py
    settings   beside what is taken from the model, or in its place (None: left out), dots written as __
    """
    config = model.config
    bpe = json.loads((tokenizer or tiny.tokenizer()).backend_tokenizer.to_str())["model"]
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    words = sorted(bpe["vocab"], key=bpe["vocab"].get)
    said: dict[str, Any] = {
        f"{architecture}.context_length": config.max_position_embeddings,
        f"{architecture}.block_count": config.num_hidden_layers,
        f"{architecture}.embedding_length": config.hidden_size,
        f"{architecture}.feed_forward_length": config.intermediate_size,
        f"{architecture}.attention.head_count": config.num_attention_heads,
        f"{architecture}.attention.head_count_kv": config.num_key_value_heads,
        f"{architecture}.rope.dimension_count": head,
        f"{architecture}.attention.key_length": head,
        f"{architecture}.attention.sliding_window": getattr(config, "sliding_window", None),
        f"{architecture}.rope.freq_base": 10000.0,
        f"{architecture}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{architecture}.vocab_size": config.vocab_size,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [CONTROL if word in ("<eos>", "<pad>") else NORMAL for word in words],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in bpe["merges"]],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.padding_token_id": 1,
    } | {name.replace("__", "."): value for name, value in settings.items()}
    writer = gguf.GGUFWriter(file, architecture)
    for name, value in said.items():
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif value is not None:
            writer.add_uint32(name, value)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        there, weight = llama_cpp_name(name, architecture), value.numpy()
        if architecture.startswith("gemma") and there.endswith("norm.weight"):
            weight = weight + 1
        if architecture == "llama" and (".attn_q." in there or ".attn_k." in there):
            heads = config.num_attention_heads if ".attn_q." in there else config.num_key_value_heads
            weight = halves_beside_each_other(weight, heads)
        if kind is not GGMLQuantizationType.F32 and weight.ndim == 2:
            writer.add_tensor(there, quants.quantize(weight, kind), raw_dtype=kind)
        else:
            writer.add_tensor(there, weight)
    for there, weight in (tensors or {}).items():
        writer.add_tensor(there, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return gguf_file.digest(file)
