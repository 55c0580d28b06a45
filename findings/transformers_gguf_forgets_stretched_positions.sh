#!/usr/bin/env bash
# transformers 5.23.0 with gguf 0.19.0: a GGUF file of a Llama 3.1 loses its stretched positions, without a word.
# Valid input: a tiny Llama with rope_type llama3 (factor 8, made for 64 positions), written by gguf's own writer as llama.cpp's
# converter writes Llama 3.1 and later: the stretching as the tensor rope_freqs.weight. Then `from_pretrained(gguf_file=...)`.
# Expected: the same model, or an error that names the tensor. Seen: every weight is equal, the tensor is passed over, the config
# says rope_type default, no warning mentions it, and on 256 tokens the logits differ. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check gguf==0.19.0 transformers==5.23.0 accelerate==1.15.0
cat > build.py <<'P'
import logging, warnings

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
scaling = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512, rope_parameters=scaling, tie_word_embeddings=False, initializer_range=0.3)
model = LlamaForCausalLM(config).eval()
heads, size = 2, 16

def permuted(weight):  # the order that llama.cpp's converter gives the rows of queries and keys
    return weight.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(weight.shape)

plain = 1.0 / 10000.0 ** (torch.arange(0, size, 2).float() / size)
factors = (plain / model.model.rotary_emb.inv_freq).numpy().astype(np.float32)  # what converters write as rope_freqs
writer = gguf.GGUFWriter("tiny.gguf", "llama")
writer.add_block_count(2); writer.add_context_length(512); writer.add_embedding_length(32); writer.add_feed_forward_length(64)
writer.add_head_count(2); writer.add_head_count_kv(2); writer.add_layer_norm_rms_eps(config.rms_norm_eps)
writer.add_rope_freq_base(10000.0); writer.add_rope_dimension_count(size); writer.add_vocab_size(64)
writer.add_tokenizer_model("gpt2"); writer.add_tokenizer_pre("llama-bpe"); writer.add_token_list([f"t{i}" for i in range(64)]); writer.add_token_merges(["t 1"])
names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
for name, weight in model.state_dict().items():
    stem = name.removesuffix(".weight"); value = weight.numpy()
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3); value = permuted(value) if rest in ("self_attn.q_proj", "self_attn.k_proj") else value
        writer.add_tensor(f"blk.{layer}.{names[rest]}.weight", np.ascontiguousarray(value))
    else:
        writer.add_tensor(f"{names[stem]}.weight", value)
writer.add_tensor("rope_freqs.weight", factors)
writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()

said = []
handler = logging.Handler(); handler.emit = lambda record: said.append(record.getMessage()); logging.getLogger("transformers").addHandler(handler)
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    back = AutoModelForCausalLM.from_pretrained(".", gguf_file="tiny.gguf", dtype=torch.float32).eval()
ids = torch.randint(0, 64, (1, 256))
with torch.no_grad():
    apart = (model(ids).logits - back(ids).logits).abs()[0].max(-1).values
same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values()))
told = sum("rope" in text for text in [*said, *map(str, warned)])
print(f"weights equal {same}, rope in the config {back.config.rope_parameters['rope_type']}, logits apart {bool(apart.max() > 1e-3)}, told {told}")
P
venv/bin/pip list 2> /dev/null | grep -iE "^(gguf|transformers|torch) "
seen=$(venv/bin/python build.py 2> /dev/null)
echo "$seen"
[ "$seen" = 'weights equal True, rope in the config default, logits apart True, told 0' ]
