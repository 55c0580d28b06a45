#!/usr/bin/env bash
# dvc 3.67.1: `dvc exp run -S` rewrites more of params.yaml than the setting it was given.
# Valid input: a params.yaml with a list in lines, a list in brackets, a null, and a comment above each key; one scalar is set
# with `dvc exp run -S train.kl=0.1`.
# Expected: the line of that scalar changes. Seen: the comment behind the list in lines is gone, the list in brackets is
# written in lines, and `null` is written as nothing; the values are the same. What was a sentence for people is lost without a
# word, so a list whose next key has a comment is better written in brackets. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dvc==3.67.1 ruamel.yaml==0.19.1
export DVC_NO_ANALYTICS=1 PATH="$dir/venv/bin:$PATH"
mkdir project && cd project
git init --quiet && git config user.name Anna && git config user.email anna@example.org
dvc init --quiet
cat > params.yaml <<'Y'
train:
  # pairs that are compared
  pairs:
    - a
    - b
  # how many answers
  answers: [1, 2]
  # no cap
  cap: null
  kl: 0.05
Y
cat > dvc.yaml <<'Y'
stages:
  train:
    cmd: echo done > out
    params: [train.kl]
    outs: [out]
Y
git add . && git commit --quiet -m start
cp params.yaml before.yaml
dvc exp run --quiet -S train.kl=0.1 > /dev/null 2>&1
pip list 2> /dev/null | grep -iE "^(dvc|ruamel.yaml) "
seen=$(diff before.yaml params.yaml | grep '^[<>]' | grep -v kl || true)
echo "$seen"
[ "$(grep -c 'how many answers' params.yaml)" = 0 ]
[ "$(grep -c '# no cap' params.yaml)" = 1 ]
grep -qx '  cap:' params.yaml
grep -qx '  - 1' params.yaml
