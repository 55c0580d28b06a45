#!/usr/bin/env bash
# trl 1.16.0 with datasets 5.2.0: DPO with precomputed reference log-probabilities stops on two processes when its rows are in memory.
# Valid input: Dataset.from_list of eight pairs, DPOConfig(precompute_ref_log_probs=True), `accelerate launch --num_processes 2`, on CPUs.
# Expected: as on one process. Seen: the main process writes the log-probabilities to a cache file in a temporary folder of its own,
# which rows in memory get, and the other ends with FileNotFoundError for that file. The same rows from save_to_disk train on both.
# Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
venv/bin/pip install --quiet --disable-pip-version-check trl==1.16.0 transformers==5.23.0 accelerate==1.15.0 datasets==5.2.0
cat > train.py <<'P'
import os

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

words = {word: place for place, word in enumerate(["<pad>", "<eos>", "a", "b", "c", "d"])}
cut = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
cut.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=cut, pad_token="<pad>", eos_token="<eos>")
shape = dict(vocab_size=6, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0, eos_token_id=1)
rows = [{"prompt": "a b", "chosen": " c", "rejected": " d"}] * 8
data = Dataset.from_list(rows)
if os.environ["PLACE"] == "disk":
    if os.environ["RANK"] == "0" and not os.path.isdir("rows"):
        data.save_to_disk("rows")
    while not os.path.exists("rows/state.json"):
        pass
    data = Dataset.load_from_disk("rows")
trainer = DPOTrainer(
    model=LlamaForCausalLM(LlamaConfig(**shape)), train_dataset=data, processing_class=tokenizer,
    args=DPOConfig("out", precompute_ref_log_probs=True, use_cpu=True, bf16=False, max_steps=1, per_device_train_batch_size=2, report_to=[], save_strategy="no"),
)
trainer.train()
print(f"rank {os.environ['RANK']} done", flush=True)
P
venv/bin/pip list 2> /dev/null | grep -iE "^(accelerate|datasets|torch|transformers|trl) "
seen=""
for place in memory disk; do
    PLACE=$place ACCELERATE_USE_CPU=true OMP_NUM_THREADS=1 venv/bin/accelerate launch --multi_gpu --num_processes 2 \
        --num_machines 1 --mixed_precision no --dynamo_backend no train.py > "$place.log" 2>&1 || true
    done=$(grep -c 'rank . done' "$place.log" || true); missing=$(grep -c 'FileNotFoundError: .*\.arrow' "$place.log" || true)
    seen+="rows in $place: $done of 2 processes done, cache files missing $missing; "
done
echo "$seen"
[ "$seen" = 'rows in memory: 0 of 2 processes done, cache files missing 1; rows in disk: 2 of 2 processes done, cache files missing 0; ' ]
