#!/usr/bin/env bash
# transformers 5.23.0: a tokenizer that splits numbers into digits forgets to, where its class is named GPT2Tokenizer.
# Valid input: a folder as SmolLM2's or StarCoder2's: config.json of a Llama, tokenizer_config.json with the tokenizer_class
# GPT2Tokenizer, and a byte-level BPE tokenizer.json whose pre_tokenizer is Digits before ByteLevel; `AutoTokenizer` opens it.
# Expected: the tokens of tokenizer.json, as transformers 4 gave them and `tokenizers` does. Seen: vocabulary and merges are of the
# file, the pre-tokenizer is ByteLevel alone, and the two line ends before a number are other tokens than the model was trained on;
# nothing is said. `PreTrainedTokenizerFast` gives those of the file. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
cat > digits.py <<'P'
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

words = Tokenizer(models.BPE())
words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
words.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False, special_tokens=["<|endoftext|>"])
words.train_from_iterator(["So:\n\n1. Yes\n\n2. No"], trainer)
folder = Path("model")
folder.mkdir()
words.save(str(folder / "tokenizer.json"))
(folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
(folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}))
text = ":\n\n1."
print("tokenizer.json:", *words.encode(text).tokens)
opened = AutoTokenizer.from_pretrained(folder)
print(f"AutoTokenizer, {type(opened).__name__}:", *opened.tokenize(text))
print("PreTrainedTokenizerFast:", *PreTrainedTokenizerFast.from_pretrained(folder).tokenize(text))
P
venv/bin/pip list 2> /dev/null | grep -iE "^(transformers|tokenizers) "
seen=$(PYTHONIOENCODING=utf-8 venv/bin/python digits.py 2> /dev/null)
echo "$seen"
[ "$seen" = "tokenizer.json: : ĊĊ 1 .
AutoTokenizer, GPT2Tokenizer: : Ċ Ċ 1 .
PreTrainedTokenizerFast: : ĊĊ 1 ." ]
