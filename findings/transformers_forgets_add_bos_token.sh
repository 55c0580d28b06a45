#!/usr/bin/env bash
# transformers 5.23.0: `add_bos_token: true` of tokenizer_config.json means nothing where there is a tokenizer.json.
# Valid input: a folder as DeepSeek's models have it: tokenizer_class LlamaTokenizerFast, add_bos_token true, a bos_token, and a
# tokenizer.json whose post-processor adds none. transformers 4.57.6 puts the BOS in front, and so the models were trained.
# Expected: the same text gives the same tokens. Seen: 5.23.0 reads the same folder without a word and leaves the BOS out, so
# every prompt begins with another token than in training; set by hand afterwards, `tokenizer.add_bos_token = True` works.
# Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
for version in 4.57.6 5.23.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version" jinja2
done
export TRANSFORMERS_NO_ADVISORY_WARNINGS=1 TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1
cat > make.py <<'P'
import json, pathlib
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
words = Tokenizer(models.BPE())
words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
words.train_from_iterator(["Hi there"], trainers.BpeTrainer(special_tokens=["<bos>", "<eos>"], initial_alphabet=alphabet))
folder = pathlib.Path("model"); folder.mkdir()
words.save(str(folder / "tokenizer.json"))
said = {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "bos_token": "<bos>", "eos_token": "<eos>", "legacy": True}
(folder / "tokenizer_config.json").write_text(json.dumps(said))
(folder / "config.json").write_text('{"model_type": "llama"}')
P
5.23.0/bin/python make.py
cat > read.py <<'P'
import transformers
tokenizer = transformers.AutoTokenizer.from_pretrained("model")
tokens = [tokenizer("Hi").input_ids[0] == tokenizer.bos_token_id]
tokenizer.add_bos_token = True
tokens.append(tokenizer("Hi").input_ids[0] == tokenizer.bos_token_id)
print(transformers.__version__, "BOS in front: as read {}, told again {}".format(*tokens))
P
for version in 4.57.6 5.23.0; do "$version/bin/python" read.py; done 2> /dev/null | tee seen
[ "$(cat seen)" = "4.57.6 BOS in front: as read True, told again True
5.23.0 BOS in front: as read False, told again True" ]
