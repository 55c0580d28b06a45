#!/usr/bin/env bash
# transformers 5.23.0: a folder whose only vocabulary is a SentencePiece `tokenizer.model` names the wrong package, and with the
# right packages but no `tokenizer_class` it gives other ids than the model's own library, without a word.
# Valid input: a SentencePiece BPE model as older Llama folders have it, with config.json of model_type llama.
# Expected: a missing package is named; with it, the ids of sentencepiece. Seen: without sentencepiece the error asks for
# tiktoken; with sentencepiece and protobuf the tokens lack the mark before the first word, until tokenizer_config.json names
# LlamaTokenizer. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv with && python3 -m venv without
without/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
with/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 sentencepiece==0.2.1 protobuf==6.33.1
mkdir model && echo '{"model_type": "llama", "vocab_size": 60}' > model/config.json
with/bin/python - <<'P'
import sentencepiece

with open("text.txt", "w") as text:
    text.write("where does the red fox live\nthe red fox lives in the forest\n" * 40)
sentencepiece.SentencePieceTrainer.train(
    input="text.txt", model_prefix="model/tokenizer", vocab_size=60, model_type="bpe",
    normalization_rule_name="identity", hard_vocab_limit=False, minloglevel=3,
)
P
rm -f model/tokenizer.vocab
cat > ids.py <<'P'
import json

import sentencepiece
from transformers import AutoTokenizer

text = "the fox lives"
wanted = sentencepiece.SentencePieceProcessor(model_file="model/tokenizer.model").encode(text)
for name in (None, "LlamaTokenizer"):
    if name:
        with open("model/tokenizer_config.json", "w") as config:
            json.dump({"tokenizer_class": name}, config)
    tokenizer = AutoTokenizer.from_pretrained("model")
    found = tokenizer(text, add_special_tokens=False).input_ids
    print(f"{name}: {type(tokenizer).__name__}, {'the same ids' if found == wanted else 'other ids'}")
P
with/bin/pip list 2> /dev/null | grep -iE "^(transformers|tokenizers|sentencepiece|protobuf) "
asked=$(without/bin/python -c 'from transformers import AutoTokenizer; AutoTokenizer.from_pretrained("model")' 2>&1 | grep -oiE "pip install [a-z]+" | sort -u | head -n 1 || true)
seen=$(with/bin/python ids.py 2> /dev/null)
printf '%s\n%s\n' "without sentencepiece: $asked" "$seen"
[ "$asked" = "pip install tiktoken" ]
printf '%s\n' "$seen" | grep -qE '^None: .*, other ids$'
printf '%s\n' "$seen" | grep -qE '^LlamaTokenizer: .*, the same ids$'
