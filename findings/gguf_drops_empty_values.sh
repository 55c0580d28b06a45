#!/usr/bin/env bash
# gguf 0.19.0: the writer leaves out a text or a list that is empty, and the reader runs the lists of a list together.
# Valid input: GGUFWriter.add_string(key, ""), add_array(key, []), add_array(key, [[1, 2], [3]]); the format has empty texts,
# empty arrays and arrays of arrays. Then GGUFReader and ReaderField.contents().
# Expected: "", [] and [[1, 2], [3]]. Seen: no such key for the first two, so a reader cannot tell "none" from "never said" (an
# empty chat template or an empty list of merges), and [1, 2, 3]; nothing is said. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check gguf==0.19.0
cat > empty.py <<'P'
from gguf import GGUFReader, GGUFWriter

writer = GGUFWriter("some.gguf", "llama")
writer.add_string("given.text", "x")
writer.add_string("given.empty_text", "")
writer.add_array("given.empty_list", [])
writer.add_array("given.lists", [[1, 2], [3]])
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
for key, field in GGUFReader("some.gguf").fields.items():
    if key.startswith("given."):
        print(key, repr(field.contents()))
P
venv/bin/pip list 2> /dev/null | grep -E "^gguf "
seen=$(venv/bin/python empty.py)
echo "$seen"
[ "$seen" = "given.text 'x'
given.lists [1, 2, 3]" ]
