#!/usr/bin/env bash
# dvc 3.67.1: with cache.type reflink,hardlink,copy on a file system without reflinks, `dvc repro` links an output that is a file
# to the cache, and leaves one that is a folder as a second copy beside the cache's.
# Valid input: a stage with a file and a folder of one file as outputs, under two orders of link types.
# Expected: the same links for both kinds of output, as the documentation has the types tried one after the other.
# Seen: with hardlink first both have two links. With reflink first the file has two and the file in the folder one, so a folder
# (a model, say) takes twice its size; `dvc checkout --relink` then links it.
# Fails if that changes, and where the temporary folder's file system has reflinks.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
echo one > one && ! cp --reflink=always one two 2> /dev/null || { echo "this file system has reflinks: set TMPDIR to another"; exit 1; }
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$dir/venv/bin:$PATH" DVC_NO_ANALYTICS=1
seen=""
for types in hardlink,copy reflink,hardlink,copy; do
  mkdir "$dir/$types" && cd "$dir/$types" && git init --quiet && dvc init --quiet && dvc config cache.type "$types"
  cat > dvc.yaml <<'Y'
stages:
  make:
    cmd: mkdir -p folder && echo a file > file.txt && echo in a folder > folder/inner.txt
    outs: [file.txt, folder]
Y
  dvc repro --quiet
  after="$(stat -c %h file.txt) $(stat -c %h folder/inner.txt)"
  dvc checkout --quiet --relink
  echo "$types: links of the file and of the file in the folder after dvc repro: $after, after dvc checkout --relink: $(stat -c %h file.txt) $(stat -c %h folder/inner.txt)"
  seen="$seen|$after|$(stat -c %h file.txt) $(stat -c %h folder/inner.txt)"
done
cd "$dir"
venv/bin/pip list 2> /dev/null | grep -E "^dvc "
[ "$seen" = "|2 2|2 2|2 1|2 2" ]
