#!/usr/bin/env bash
# transformers 5.23.0: a tokenizer that is loaded and saved again writes an environment variable into its files.
# Valid input: one folder of a fast tokenizer, `AutoTokenizer.from_pretrained(folder).save_pretrained(other)` twice, the second
# time with HF_HUB_OFFLINE=1, which says where files may be looked for and nothing of the tokenizer.
# Expected: the same bytes. Seen: tokenizer_config.json has "local_files_only": false in one folder and true in the other, so a
# pipeline that goes by content hashes takes an offline machine's model for another model. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
cat > again.py <<'P'
import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

if not Path("first").exists():
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel()
    words.train_from_iterator(["the cat sat on the mat"], trainers.BpeTrainer(show_progress=False, special_tokens=["</s>"]))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>").save_pretrained("first")
AutoTokenizer.from_pretrained("first").save_pretrained(sys.argv[1])
P
env -u HF_HUB_OFFLINE venv/bin/python again.py online 2> /dev/null
HF_HUB_OFFLINE=1 venv/bin/python again.py offline 2> /dev/null
venv/bin/pip list 2> /dev/null | grep -iE "^(transformers|tokenizers) "
cmp online/tokenizer.json offline/tokenizer.json
seen=$(diff online/tokenizer_config.json offline/tokenizer_config.json | grep '^[<>]' || true)
echo "$seen"
[ "$seen" = '<   "local_files_only": false,
>   "local_files_only": true,' ]
