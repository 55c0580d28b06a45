"""Small random models of many families, by what their layers do with earlier tokens.

    model = families.causal("gemma3")             # `WHOLE`, `WINDOWS` and `REFUSED` hold the names
    reward = families.reward("gemma3")            # the same body with one output

A window is 16 tokens, so that nearly every text of a test is longer.
"""

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from tests import tiny

WINDOW = 16

SHAPE: dict[str, Any] = dict(
    vocab_size=tiny.VOCABULARY,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=tiny.CONTEXT,
    bos_token_id=None,
    eos_token_id=0,
    pad_token_id=1,
    initializer_range=0.2,
)
EXPERTS: dict[str, Any] = dict(num_experts=4, num_local_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
LINEAR: dict[str, Any] = dict(
    linear_conv_kernel_dim=4, linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2
)
MAMBA: dict[str, Any] = dict(
    mamba_d_state=8, mamba_n_heads=4, mamba_d_head=16, mamba_n_groups=1, mamba_chunk_size=16, mamba_expand=2
)

WHOLE: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": dict(head_dim=8),
    "gpt_neox": dict(rotary_pct=0.5),
    "opt": dict(word_embed_proj_dim=32, ffn_dim=64),
    "gemma": dict(head_dim=8),
    "gpt2": dict(n_embd=32, n_layer=4, n_head=4, n_positions=tiny.CONTEXT),
    "olmo2": {},
    "mixtral": EXPERTS,
}
"""Every layer sees all earlier tokens."""

WINDOWS: dict[str, dict[str, Any]] = {
    "mistral": dict(sliding_window=WINDOW, head_dim=8),
    "ministral": dict(sliding_window=WINDOW, head_dim=8),
    "gemma2": dict(sliding_window=WINDOW, head_dim=8, attn_logit_softcapping=5.0),
    "gemma3_text": dict(sliding_window=WINDOW, head_dim=8, sliding_window_pattern=3),
    "gemma4_text": dict(
        sliding_window=WINDOW,
        head_dim=8,
        global_head_dim=16,
        num_hidden_layers=6,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=tiny.VOCABULARY,
    ),
    "qwen2": dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
    "qwen3": dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2, head_dim=8),
    "qwen2_moe": EXPERTS
    | dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1, shared_expert_intermediate_size=32),
    "phi3": dict(sliding_window=WINDOW),
    "starcoder2": dict(sliding_window=WINDOW),
    "gpt_oss": EXPERTS | dict(sliding_window=WINDOW, head_dim=8),
    "cohere2": dict(sliding_window=WINDOW, sliding_window_pattern=2, logit_scale=1.0),
    "llama4_text": EXPERTS | dict(attention_chunk_size=WINDOW, head_dim=8, intermediate_size_mlp=64),
}
"""Some or all layers see a window or a chunk of WINDOW tokens."""

REFUSED: dict[str, dict[str, Any]] = {
    "lfm2": dict(layer_types=["conv", "full_attention"] * 2, block_auto_adjust_ff_dim=False),
    "mamba": dict(state_size=8, conv_kernel=4),
    "mamba2": dict(state_size=8, conv_kernel=4, num_heads=8, head_dim=8, n_groups=1, chunk_size=16),
    "minimax": EXPERTS | dict(layer_types=["linear_attention", "full_attention"] * 2, block_size=16, head_dim=8),
    "diffllama": {},
    "granitemoehybrid": EXPERTS
    | MAMBA
    | dict(
        layer_types=["linear_attention", "full_attention"] * 2,
        shared_intermediate_size=64,
        position_embedding_type="rope",
    ),
    "qwen3_next": EXPERTS
    | LINEAR
    | dict(
        linear_num_value_heads=4,
        head_dim=8,
        shared_expert_intermediate_size=32,
        layer_types=["linear_attention", "full_attention"] * 2,
    ),
    "doge": dict(keep_window_size=8, sliding_window=None),
    "jamba": EXPERTS
    | dict(attn_layer_period=2, attn_layer_offset=1, use_mamba_kernels=False, mamba_d_state=8, mamba_dt_rank=4),
    "falcon_h1": MAMBA | dict(head_dim=8, mamba_d_ssm=64),
    "bloom": dict(n_layer=4, n_head=4),
    "recurrent_gemma": dict(
        lru_width=32, attention_window_size=WINDOW, head_dim=8, block_types=["recurrent", "attention"]
    ),
}
"""Some layers read earlier tokens in another way than through the attention interface."""


def config(family: str, settings: dict[str, Any]) -> Any:
    return AutoConfig.for_model(family, **(SHAPE | settings))


def causal(family: str, settings: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """A random causal language model in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _restless(AutoModelForCausalLM.from_config(config(family, settings)).eval())


def reward(family: str, settings: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """A random reward model (one output) in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = AutoModelForSequenceClassification.from_config(config(family, settings | dict(num_labels=1)))
        return _restless(made.eval())


def _restless(model: PreTrainedModel) -> PreTrainedModel:
    """Weights that a family leaves empty or at zero are drawn too, attention sinks among them."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.isfinite().all() or (parameter == 0).all():
                parameter.normal_(0, 0.2)
    return model
