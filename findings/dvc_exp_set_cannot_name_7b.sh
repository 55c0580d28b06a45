#!/usr/bin/env bash
# dvc 3.67.1: a key of params.yaml that begins with a digit works everywhere but in `dvc exp run -S`.
# Valid input: a family of models {7b: {rate: 1}, 13b: {rate: 2}}, a stage for each by `foreach`, with params: models.${key}.
# Expected: `dvc exp run -S models.7b.rate=3` changes that number, as `-S models.small.rate=3` does. Seen: `dvc repro` runs
# train@7b and records its params under that key, and -S fails with "Error parsing override" of the parser that DVC takes from
# Hydra. So a model that is called by its size cannot be changed from the command line. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dvc==3.67.1 hydra-core==1.3.2
export DVC_NO_ANALYTICS=1 PATH="$dir/venv/bin:$PATH"
mkdir project && cd project
git init --quiet && git config user.name Anna && git config user.email anna@example.org
dvc init --quiet
printf 'models:\n  7b:\n    rate: 1\n  small:\n    rate: 2\n' > params.yaml
cat > dvc.yaml <<'Y'
stages:
  train:
    foreach: ${models}
    do:
      cmd: echo ${item.rate} > ${key}.out
      params: ["models.${key}"]
      outs: ["${key}.out"]
Y
git add . && git commit --quiet -m start
dvc repro --quiet > /dev/null 2>&1
git add . && git commit --quiet -m run
pip list 2> /dev/null | grep -iE "^(dvc|hydra-core) "
echo "repro: $(cat 7b.out), $(grep -c 'models.7b' dvc.lock) entry of models.7b in dvc.lock"
dvc exp run --quiet -S models.small.rate=3 > /dev/null 2>&1 && echo "-S models.small.rate=3: $(cat small.out)"
if dvc exp run -S models.7b.rate=3 > said 2>&1; then echo "-S models.7b.rate=3: $(cat 7b.out)"; exit 1; fi
seen=$(grep -oE "Error parsing override 'models.7b.rate=3'|LexerNoViableAltException" said | sort -u)
echo "-S models.7b.rate=3: $seen"
[ "$(cat small.out)" = 3 ] && [ -n "$seen" ]
