#!/usr/bin/env bash
# TRL 1.16.0: the reference of DPO, GRPO and RLOO is read from the folder that the model once came from, not taken from the model.
# Valid input: a model object whose weights are no longer those of that folder, as after LoRA adapters were merged into it in memory
# (peft's `merge_and_unload`); no `ref_model`, all weights are trained.
# Expected: the policy that training begins with ("the model state before DPO training starts", says DPOTrainer of `ref_model=None`), so that
# the first loss of DPO is ln 2 and the first KL of the others 0. Seen: the model of `config._name_or_path`, without the adapters; nothing says
# so. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check trl==1.16.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0
cat > reference.py <<'P'
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

torch.manual_seed(0)
words = {word: place for place, word in enumerate(["<pad>", "<eos>", "Why", "Because", "No"])}
inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
inner.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
config = LlamaConfig(vocab_size=5, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, bos_token_id=None, eos_token_id=1)
LlamaForCausalLM(config).save_pretrained("base")
base = AutoModelForCausalLM.from_pretrained("base").state_dict()


def merged():
    """The model of the folder with adapters merged into it."""
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained("base"), LoraConfig(r=4, init_lora_weights=False, task_type="CAUSAL_LM"))
    return adapted.merge_and_unload()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in other)


pairs = Dataset.from_list([{"prompt": "Why", "chosen": " Because", "rejected": " No"}] * 2)
prompts = Dataset.from_list([{"prompt": "Why"}] * 2)
shared = dict(output_dir="out", per_device_train_batch_size=2, use_cpu=True, bf16=False, report_to="none")
many = shared | dict(num_generations=2, beta=0.1)
for name, trainer, settings, given in (
    ("DPO", DPOTrainer, DPOConfig(**shared), dict(train_dataset=pairs)),
    ("GRPO", GRPOTrainer, GRPOConfig(**many), dict(train_dataset=prompts, reward_funcs=lambda completions, **_: [0.0] * len(completions))),
    ("RLOO", RLOOTrainer, RLOOConfig(**many), dict(train_dataset=prompts, reward_funcs=lambda completions, **_: [0.0] * len(completions))),
):
    policy = merged()
    begins = {key: tensor.clone() for key, tensor in policy.state_dict().items()}
    reference = trainer(model=policy, args=settings, processing_class=tokenizer, **given).ref_model.state_dict()
    print(f"{name}: the policy {same(reference, begins)}, the folder's model {same(reference, base)}")
P
venv/bin/pip list 2> /dev/null | grep -iE "^(transformers|torch|trl|peft) "
seen=$(venv/bin/python reference.py 2> log) || { tail -20 log; exit 1; }
echo "$seen"
[ "$seen" = "DPO: the policy False, the folder's model True
GRPO: the policy False, the folder's model True
RLOO: the policy False, the folder's model True" ]
