#!/usr/bin/env bash
# prefect 3.8.8: its server cannot be imported with fastapi 0.155.0, which its own requirements allow (fastapi>=0.139.0,<1.0.0).
# Valid input: what `pip install prefect==3.8.8` takes, with fastapi pinned once to 0.154.0 and once to 0.155.0; then
# `import prefect.server.api.server`, which `prefect server start` and every flow without a server elsewhere begin with.
# Expected: both import, or pip refuses the second. Seen: with 0.155.0 pip has nothing to say, and the import ends with a TypeError:
# an argument of Body, min_items, that fastapi has no more. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
export PREFECT_HOME="$dir/prefect" DO_NOT_TRACK=1
for version in 0.154.0 0.155.0; do
    venv/bin/pip install --quiet --disable-pip-version-check prefect==3.8.8 fastapi==$version 2> /dev/null
    venv/bin/pip check > /dev/null && checked="pip check finds nothing"
    said=$(venv/bin/python -c "import prefect.server.api.server; print('imported')" 2>&1 | tail -n 1 || true)
    echo "$(venv/bin/pip list 2> /dev/null | grep -E '^(fastapi|prefect) ' | tr -s ' \n' ' ')- ${checked:-pip check finds something} - $said"
    unset checked
done | tee seen
[ "$(cat seen)" = "fastapi 0.154.0 prefect 3.8.8 - pip check finds nothing - imported
fastapi 0.155.0 prefect 3.8.8 - pip check finds nothing - TypeError: Body() got an unexpected keyword argument 'min_items'" ]
