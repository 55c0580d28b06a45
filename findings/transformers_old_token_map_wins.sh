#!/usr/bin/env bash
# transformers 5.23.0: the pad token that a folder is given by hand does not count while an older file lies beside it.
# Valid input: a fast tokenizer's folder as transformers 4 wrote it, with special_tokens_map.json and tokenizer_config.json, both of
# which name the pad token; it is changed in tokenizer_config.json, the only file of the two that transformers 5 writes.
# Expected: the newer file counts, or the contradiction is told. Seen: special_tokens_map.json wins without a word; without that
# file the change counts. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
cat > pad.py <<'P'
import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

words = Tokenizer(models.BPE())
words.pre_tokenizer = pre_tokenizers.ByteLevel()
words.train_from_iterator(["the cat sat"], trainers.BpeTrainer(show_progress=False, special_tokens=["</s>", "<pad>", "<unused0>"]))
PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="<pad>").save_pretrained("model")
config = Path("model/tokenizer_config.json")
config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token": "<unused0>"}))
older = Path("model/special_tokens_map.json")
print("files:", *sorted(file.name for file in Path("model").iterdir()))
older.write_text(json.dumps({"eos_token": "</s>", "pad_token": "<pad>"}))
print("with special_tokens_map.json:", AutoTokenizer.from_pretrained("model").pad_token)
older.unlink()
print("without it:", AutoTokenizer.from_pretrained("model").pad_token)
P
venv/bin/pip list 2> /dev/null | grep -iE "^(transformers|tokenizers) "
seen=$(venv/bin/python pad.py 2> /dev/null)
echo "$seen"
[ "$seen" = "files: tokenizer.json tokenizer_config.json
with special_tokens_map.json: <pad>
without it: <unused0>" ]
