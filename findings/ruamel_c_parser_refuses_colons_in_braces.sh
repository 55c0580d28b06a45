#!/usr/bin/env bash
# ruamel.yaml 0.19.1 with ruamel.yaml.clib 0.2.15: the same class reads one text with its C parser and refuses another that its
# Python parser reads. Valid input by YAML 1.2: a plain scalar with a colon inside a mapping in braces, {at: 1:30}.
# Expected: YAML(typ="safe") and YAML(typ="safe", pure=True) read the same. Seen: the first raises ScannerError at the second
# colon, the second gives {"at": "1:30"}, as does the round-trip parser. Tools that write a file with one and read it with the
# other, as DVC does with params.yaml, write files that they cannot read; the parser also depends on whether the C extension is
# installed. Both take .5e1, a float of the core schema, for a text. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ruamel.yaml==0.19.1 ruamel.yaml.clib==0.2.15
seen=$(venv/bin/python - <<'P'
from ruamel.yaml import YAML, YAMLError

for name, yaml in (("safe", YAML(typ="safe")), ("safe, pure", YAML(typ="safe", pure=True)), ("round trip", YAML())):
    try:
        print(f"{name}: {dict(yaml.load('{at: 1:30}'))}")
    except YAMLError as error:
        print(f"{name}: {type(error).__name__}")
print([YAML(typ="safe", pure=pure).load(".5e1") for pure in (False, True)])
P
)
venv/bin/pip list 2> /dev/null | grep -iE "^ruamel"
echo "$seen"
[ "$seen" = "safe: ScannerError
safe, pure: {'at': '1:30'}
round trip: {'at': '1:30'}
['.5e1', '.5e1']" ]
