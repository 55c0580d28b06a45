#!/usr/bin/env bash
# TRL 1.16.0: DPOConfig(label_smoothing=0.3) changes nothing of the default loss, and says nothing.
# Valid input: one comparison, a policy that is not its reference, beta 0.5; loss_type "sigmoid", which is the default.
# Expected: the conservative loss of the paper's released code, (1 - e)(-log s(z)) + e(-log s(-z)), which the option of this name gave in TRL
# 0.9, or an error for an option without effect, as exo_pair raises one without it. Seen: the loss without smoothing, to the bit. Where the
# option has an effect, with "robust", the loss is another one, ((1 - e)(-log s(z)) - e(-log s(-z))) / (1 - 2e), so the conservative one is
# twice (1 - e) of "sigmoid" less (1 - 2e) of "robust", by `loss_weights`. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check trl==1.16.0 transformers==5.23.0 accelerate==1.15.0
cat > smoothing.py <<'P'
import copy
import math

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

torch.manual_seed(0)
words = {word: place for place, word in enumerate(["<pad>", "<eos>", "Why", "Because", "No"])}
inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
inner.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
config = LlamaConfig(vocab_size=5, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, bos_token_id=None, eos_token_id=1)
reference = LlamaForCausalLM(config)
policy = copy.deepcopy(reference)
with torch.no_grad():
    for parameter in policy.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
pairs = Dataset.from_list([{"prompt": "Why", "chosen": " Because", "rejected": " No"}])


def loss(**options):
    args = DPOConfig(output_dir="out", per_device_train_batch_size=1, use_cpu=True, bf16=False, report_to="none", beta=0.5, **options)
    trainer = DPOTrainer(model=copy.deepcopy(policy), ref_model=copy.deepcopy(reference), args=args, train_dataset=pairs, processing_class=tokenizer)
    [batch] = trainer.get_train_dataloader()
    return trainer.compute_loss(trainer.model, batch).item()


plain, smoothed, e = loss(), loss(label_smoothing=0.3), 0.3
other = plain + math.log(math.exp(-plain) / (1 - math.exp(-plain)))  # -log s(-z), from -log s(z)
conservative = (1 - e) * plain + e * other
both = loss(loss_type=["sigmoid", "robust"], loss_weights=[2 * (1 - e), 2 * e - 1], label_smoothing=e)
print(f"not log 2: {abs(plain - math.log(2)) > 1e-3}")
print(f"label_smoothing alone: as without {smoothed == plain}, conservative {math.isclose(smoothed, conservative, abs_tol=1e-5)}")
print(f"sigmoid and robust together: conservative {math.isclose(both, conservative, abs_tol=1e-5)}")
P
venv/bin/pip list 2> /dev/null | grep -iE "^(transformers|torch|trl) "
seen=$(venv/bin/python smoothing.py 2> log) || { tail -20 log; exit 1; }
echo "$seen"
[ "$seen" = "not log 2: True
label_smoothing alone: as without True, conservative False
sigmoid and robust together: conservative True" ]
