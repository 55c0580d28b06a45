#!/usr/bin/env bash
# transformers 5.23.0: two recurrent models take the padding of a batch for text, and nothing says so.
# Valid input: tiny random models of eight recurrent or hybrid architectures; one prompt alone, and the same padded on the left by five
# tokens with their attention_mask, as a batch of prompts of different length is; both through greedy `generate`.
# Expected: the same tokens, or an error where a mask cannot be kept. Seen: Mamba, Mamba 2, Bamba, Falcon H1, Granite Hybrid and
# Qwen3-Next write the same; RecurrentGemma and RWKV take the mask without a word and write other tokens. On the right, where a
# padding comes after the text, all eight give the logits of the text alone. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0
cat > pad.py <<'P'
import logging, warnings

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

torch.set_num_threads(1)
common = dict(vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2)
mamba = dict(mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8)
models = {
    "mamba": dict(state_size=8), "mamba2": dict(num_heads=8, head_dim=8, n_groups=1, state_size=8), "bamba": dict(**mamba, attn_layer_indices=[1, 3]),
    "falcon_h1": dict(mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8),
    "granitemoehybrid": dict(**mamba, layer_types=["mamba", "attention"] * 2, num_local_experts=0, shared_intermediate_size=64),
    "qwen3_next": dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8),
    "recurrent_gemma": dict(attention_window_size=8, lru_width=32), "rwkv": dict(attention_hidden_size=32),
}
said = []
handler = logging.Handler(); handler.emit = lambda record: said.append(record.getMessage()); logging.getLogger("transformers").addHandler(handler)
with warnings.catch_warnings(record=True) as warned, torch.no_grad():
    warnings.simplefilter("always")
    for name, own in models.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[name](**common | own)).eval().float()
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.3)
        text, none = torch.randint(3, 97, (1, 13)), torch.zeros(1, 5, dtype=torch.long)
        ones = torch.ones_like(text)
        alone = model.generate(text, do_sample=False, max_new_tokens=20, eos_token_id=96)[0, 13:].tolist()
        padded = model.generate(torch.cat([none, text], 1), attention_mask=torch.cat([none, ones], 1), do_sample=False, max_new_tokens=20, eos_token_id=96)[0, 18:].tolist()
        right = model(input_ids=torch.cat([text, none], 1), attention_mask=torch.cat([ones, none], 1), use_cache=False).logits[0, :13]
        plain = model(input_ids=text, use_cache=False).logits[0]
        print(f"{name}: padded on the left the same {padded == alone}, on the right {torch.allclose(right, plain, atol=1e-4 * float(plain.abs().max()))}")
print("told of padding or mask:", sum("pad" in one.lower() or "mask" in one.lower() for one in [*said, *map(str, warned)]))
P
venv/bin/pip list 2> /dev/null | grep -iE "^(transformers|torch) "
seen=$(venv/bin/python pad.py 2> /dev/null)
echo "$seen"
[ "$seen" = 'mamba: padded on the left the same True, on the right True
mamba2: padded on the left the same True, on the right True
bamba: padded on the left the same True, on the right True
falcon_h1: padded on the left the same True, on the right True
granitemoehybrid: padded on the left the same True, on the right True
qwen3_next: padded on the left the same True, on the right True
recurrent_gemma: padded on the left the same False, on the right True
rwkv: padded on the left the same False, on the right True
told of padding or mask: 0' ]
