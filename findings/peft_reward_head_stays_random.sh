#!/usr/bin/env bash
# peft 0.21.2: LoRA without a task type on a sequence classifier trains and saves everything but the head that gives the score.
# Valid input: a model of AutoModelForSequenceClassification with one output, as reward models are, `get_peft_model` with
# LoraConfig(target_modules=["q_proj"]), and with the same plus task_type="SEQ_CLS"; then `save_pretrained`.
# Expected: either the head learns and is saved in both cases, or a warning. Seen: without the task type the head's weight asks
# for no gradient and is not in adapter_model.safetensors, so the reward is a random direction, and another one after a reload
# onto a fresh base; nothing is said. With SEQ_CLS it learns and is saved. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check peft==0.21.2 transformers==5.23.0
cat > head.py <<'P'
import warnings

from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForSequenceClassification

shape = dict(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_labels=1)
for task in (None, "SEQ_CLS"):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = LlamaForSequenceClassification(LlamaConfig(**shape, pad_token_id=0))
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj"], **({"task_type": task} if task else {})))
        model.save_pretrained(f"adapter-{task}")
    learns = any(weight.requires_grad for name, weight in model.named_parameters() if "score" in name)
    with safe_open(f"adapter-{task}/adapter_model.safetensors", "pt") as saved:
        kept = any("score" in name for name in saved.keys())
    print(f"task_type {task}: head learns {learns}, head saved {kept}, warnings about it {sum('score' in str(w.message) for w in said)}")
P
venv/bin/pip list 2> /dev/null | grep -iE "^(peft|transformers|torch) "
seen=$(venv/bin/python head.py 2> /dev/null)
echo "$seen"
[ "$seen" = 'task_type None: head learns False, head saved False, warnings about it 0
task_type SEQ_CLS: head learns True, head saved True, warnings about it 0' ]
