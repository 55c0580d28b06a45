#!/usr/bin/env bash
# dvc 3.67.1: what `dvc push --run-cache` pushes restores a stage in another clone, but not one that has a metric with cache: false.
# Valid input: two stages that differ in such a metric alone; run, pushed with --run-cache; a clone without dvc.lock and with an
# empty cache, where `dvc repro --pull` looks into the cache of runs.
# Expected: both are restored from the remote, as both are in the folder where they ran, after dvc.lock and what they made are gone.
# Seen: the run of the stage with the metric is in the remote and names the metric's hash; the metric's content is not there, and
# the stage runs again. In the cache of the folder where it ran DVC has kept that content.
# Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$dir/venv/bin:$PATH" RUNS="$dir/runs" DVC_NO_ANALYTICS=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.c GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.c
mkdir one remote && cd one && git init --quiet && dvc init --quiet && dvc remote add --quiet --default store "$dir/remote"
cat > make.py <<'P'
import os, sys
from pathlib import Path

name = sys.argv[1]
Path(f"{name}.txt").write_text(f"made by {name}\n")
if name == "measured":
    Path("measured.json").write_text('{"share": 0.5}\n')
with open(os.environ["RUNS"], "a") as runs:
    runs.write(f"{name} ")
P
cat > dvc.yaml <<'Y'
stages:
  plain:
    cmd: python make.py plain
    deps: [make.py]
    outs: [plain.txt]
  measured:
    cmd: python make.py measured
    deps: [make.py]
    outs: [measured.txt]
    metrics:
      - measured.json: {cache: false}
Y
dvc repro --quiet
git add .dvc .gitignore dvc.yaml make.py && git commit --quiet -m "two stages, no dvc.lock"
dvc push --quiet --run-cache
echo "run at first: $(cat "$RUNS")"
rm dvc.lock plain.txt measured.txt measured.json; : > "$RUNS"
dvc repro --quiet
echo "run again here without dvc.lock: $(cat "$RUNS")"
cd .. && git clone --quiet one other && cd other && : > "$RUNS"
dvc repro --quiet --pull
echo "run again in a clone: $(cat "$RUNS")"
cd ..
venv/bin/pip list 2> /dev/null | grep -E "^dvc "
seen="$(cat "$RUNS")|$(find remote/runs -type f | wc -l)"
echo "$seen"
[ "$seen" = "measured |2" ]
