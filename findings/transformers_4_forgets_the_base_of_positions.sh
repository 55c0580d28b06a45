#!/usr/bin/env bash
# transformers 4.57.6 turns positions of a model that 5.23.0 saved by a base of 10,000, whatever the model was trained with.
# Valid input: LlamaConfig with rope_theta 500,000 and twice stretched positions, written by save_pretrained of 5.23.0 and read
# by from_pretrained of 4.57.6. The new file has `rope_parameters` alone; the old reader knows `rope_theta` and `rope_scaling`.
# Expected: the same values, or an error. Seen: no error and no warning, the default in the place of both, so weights load and
# every answer is computed with other positions. Read the other way round, 5.23.0 knows what 4.57.6 wrote.
# Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
for version in 4.57.6 5.23.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version"
done
export TRANSFORMERS_NO_ADVISORY_WARNINGS=1 HF_HUB_OFFLINE=1
cat > write.py <<'P'
import transformers
new = transformers.__version__.startswith("5")
turns = {"rope_type": "linear", "factor": 2.0}
given = {"rope_parameters": turns | {"rope_theta": 5e5}} if new else {"rope_theta": 5e5, "rope_scaling": turns}
transformers.LlamaConfig(**given).save_pretrained("by_" + transformers.__version__)
P
cat > read.py <<'P'
import sys, transformers
config = transformers.AutoConfig.from_pretrained(sys.argv[1])
old = transformers.__version__.startswith("4")  # what its models read
turns = {"rope_theta": config.rope_theta} | (config.rope_scaling or {}) if old else config.rope_parameters
print(f"{sys.argv[1]} read by {transformers.__version__}: base {turns['rope_theta']:.0f}, stretched {turns.get('factor', 1):.0f} times")
P
for version in 4.57.6 5.23.0; do "$version/bin/python" write.py; done
{ 4.57.6/bin/python read.py by_5.23.0; 5.23.0/bin/python read.py by_4.57.6; } 2> said | tee seen
grep -v "^None of PyTorch\|^PyTorch was not found\|^$" said && exit 1
[ "$(cat seen)" = "by_5.23.0 read by 4.57.6: base 10000, stretched 1 times
by_4.57.6 read by 5.23.0: base 500000, stretched 2 times" ]
