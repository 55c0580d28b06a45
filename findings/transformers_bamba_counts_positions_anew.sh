#!/usr/bin/env bash
# transformers 5.23.0: Bamba reads what comes behind a cache as if it stood at the beginning of the text.
# Valid input: a tiny random model; 15 tokens read into a DynamicCache, then the next 9 with that cache, in one pass or one by one,
# without position_ids, which every model derives when they are left out.
# Expected: the logits of the whole text in one pass. Seen: Llama, Gemma 3, Falcon H1, Qwen3-Next and Granite Hybrid give them; Bamba counts
# from 0 again, so that its rotary positions are wrong from the first token behind the cache. With position_ids, and so in `generate`,
# it is right. Nothing says so. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0
cat > behind.py <<'P'
import copy

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DynamicCache

torch.set_num_threads(1)
common = dict(vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2)
models = {
    "llama": {}, "gemma3_text": dict(sliding_window=8), "falcon_h1": dict(mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8),
    "qwen3_next": dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8),
    "granitemoehybrid": dict(mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8, layer_types=["mamba", "attention"] * 2, num_local_experts=0, shared_intermediate_size=64, position_embedding_type="rope"),
    "bamba": dict(mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8, attn_layer_indices=[1, 3]),
}
for name, own in models.items():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[name](**common | own)).eval().float()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    text, places = torch.randint(3, 97, (1, 24)), torch.arange(15, 24)[None]
    with torch.no_grad():
        whole = model(text, use_cache=False).logits[0, 15:]
        cache = DynamicCache(config=model.config)
        model(text[:, :15], past_key_values=cache, use_cache=True)
        kept = [copy.deepcopy(cache) for _ in range(3)]
        at_once = model(text[:, 15:], past_key_values=kept[0], use_cache=True).logits[0]
        singly = torch.cat([model(text[:, at : at + 1], past_key_values=kept[1], use_cache=True).logits[0] for at in range(15, 24)])
        placed = model(text[:, 15:], past_key_values=kept[2], position_ids=places, use_cache=True).logits[0]
    same = [torch.allclose(one, whole, atol=1e-4 * float(whole.abs().max())) for one in (at_once, singly, placed)]
    print(f"{name}: at once {same[0]}, one by one {same[1]}, with position_ids {same[2]}")
P
venv/bin/pip list 2> /dev/null | grep -iE "^(transformers|torch) "
seen=$(venv/bin/python behind.py 2> /dev/null)
echo "$seen"
[ "$seen" = 'llama: at once True, one by one True, with position_ids True
gemma3_text: at once True, one by one True, with position_ids True
falcon_h1: at once True, one by one True, with position_ids True
qwen3_next: at once True, one by one True, with position_ids True
granitemoehybrid: at once True, one by one True, with position_ids True
bamba: at once False, one by one False, with position_ids True' ]
