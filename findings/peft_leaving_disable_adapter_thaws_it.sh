#!/usr/bin/env bash
# peft 0.21.2: leaving `with model.disable_adapter()` lets a frozen adapter learn again.
# Valid input: an adapter that is loaded to be used, not trained (`PeftModel.from_pretrained`, whose `is_trainable` is False), and
# one forward without it, as for the reference of RLHF; the same for an adapter that `requires_grad_(False)` has frozen.
# Expected: after the block all is as before it. Seen: after the block every weight of the adapter asks for a gradient, and an
# optimizer over `requires_grad` parameters takes them up; nothing is said. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check peft==0.21.2 transformers==5.23.0
cat > thaw.py <<'P'
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

shape = dict(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)


def base():
    return LlamaForCausalLM(LlamaConfig(**shape))


def learns(model):
    return sum(weight.requires_grad for weight in model.parameters())


made = get_peft_model(base(), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
made.save_pretrained("adapter")
loaded = PeftModel.from_pretrained(base(), "adapter")
made.requires_grad_(False)
for name, model in (("loaded for use", loaded), ("frozen by hand", made)):
    before = learns(model)
    with model.disable_adapter():
        within = learns(model)
    print(f"{name}: weights that learn before {before}, within {within}, after {learns(model)}")
P
venv/bin/pip list 2> /dev/null | grep -iE "^(peft|transformers|torch) "
seen=$(venv/bin/python thaw.py 2> /dev/null)
echo "$seen"
[ "$seen" = 'loaded for use: weights that learn before 0, within 0, after 2
frozen by hand: weights that learn before 0, within 0, after 2' ]
