#!/usr/bin/env bash
# dvc 3.67.1: what is edited while a stage runs counts as what the stage was made of.
# Valid input: a stage that reads a file and a parameter, then works for a while; both are edited meanwhile.
# Expected: dvc.lock has what was there when the command began, or an error, so that the next `dvc repro` runs the stage again.
# Seen: deps and params are hashed once more when the command has ended; dvc.lock (and the cache of runs) has the new ones beside
# the output of the old ones, `dvc status` says that all is up to date, and nothing ever runs. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dvc==3.67.1
export DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$dir/site" PATH="$dir/venv/bin:$PATH"
mkdir project && cd project
git init --quiet
dvc init --quiet
printf 'rate: 1\n' > params.yaml
echo old > data.txt
cat > dvc.yaml <<'Y'
stages:
  train:
    cmd: cat params.yaml data.txt > model.txt; touch begun; while ! test -e go; do sleep .1; done
    deps: [data.txt]
    params: [rate]
    outs: [model.txt]
Y
dvc repro --quiet &
until test -e begun; do sleep .1; done
printf 'rate: 2\n' > params.yaml
echo new > data.txt
touch go
wait
pip list 2> /dev/null | grep -iE "^dvc "
echo "model.txt was made of: $(tr '\n' ' ' < model.txt)"
recorded=$(grep -A4 'params:' dvc.lock | grep -o 'rate: [0-9]')
hash=$(grep -A3 'path: data.txt' dvc.lock | grep -o '[0-9a-f]\{32\}')
echo "dvc.lock says:         $recorded, data.txt $hash"
status=$(dvc status 2>&1 | tail -1); again=$(dvc repro 2>&1 | tail -1)
echo "dvc status, dvc repro: $status $again"
[ "$(tr '\n' ' ' < model.txt)" = "rate: 1 old " ] && [ "$recorded" = "rate: 2" ] && [ "$hash" = "$(md5sum < data.txt | cut -c1-32)" ]
[ "$status" = "Data and pipelines are up to date." ]
