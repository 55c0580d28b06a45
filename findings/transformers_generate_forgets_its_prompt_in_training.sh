#!/usr/bin/env bash
# transformers 5.23.0: `generate` on a model in training mode with gradient checkpointing reads every token after the first alone.
# Valid input: a tiny random Llama without dropout, so that training mode changes nothing by itself; greedy decoding of 8 tokens.
# Expected: the tokens of evaluation mode, as a warning says that `use_cache` is set to False. Seen: the cache is left off in the layers, and
# the decoding loop still hands over one token at a time, so each but the first is drawn from the token before it alone. With `use_cache=False`
# given by the caller, or in evaluation mode, the tokens are right; in training mode without gradient checkpointing too. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0
cat > decode.py <<'P'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.set_num_threads(1)
torch.manual_seed(0)
config = LlamaConfig(vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
model = LlamaForCausalLM(config)
for weight in model.parameters():
    if weight.dim() > 1:
        torch.nn.init.normal_(weight, std=0.3)
text = torch.randint(3, 97, (1, 12))


def greedy(given=text, **settings):
    made = model.generate(given, attention_mask=torch.ones_like(given), do_sample=False, min_new_tokens=8, max_new_tokens=8, **settings)
    return made[0, given.shape[1] :].tolist()


model.eval()
plain = greedy()
model.train()
print(f"training mode: {greedy() == plain}")
model.gradient_checkpointing_enable()
seen = greedy()
print(f"and gradient checkpointing: {seen == plain}, its first token {seen[0] == plain[0]}")
print(f"and use_cache=False: {greedy(use_cache=False) == plain}")
model.eval()
print(f"evaluation mode: {greedy() == plain}")
P
venv/bin/pip list 2> /dev/null | grep -iE "^(transformers|torch) "
seen=$(venv/bin/python decode.py 2> /dev/null)
echo "$seen"
[ "$seen" = 'training mode: True
and gradient checkpointing: False, its first token True
and use_cache=False: True
evaluation mode: True' ]
