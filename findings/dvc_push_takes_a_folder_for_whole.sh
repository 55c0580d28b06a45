#!/usr/bin/env bash
# dvc 3.67.1: what a remote has lost of a folder is never pushed again while the folder's list is there.
# Valid input: an output that is a folder of two files, pushed; then one of its two objects is gone from the remote (a disk that
# was restored, a rule of expiry). The local cache has both.
# Expected: `dvc push` sends what is missing, as it does for an output that is one file, or `dvc status --cloud` tells it. Seen:
# push says "Everything is up to date.", status says that cache and remote are in sync, and a pull elsewhere fails, until the
# object of the list (.dir) is removed too; then all is sent. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dvc==3.67.1
export DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$dir/site" PATH="$dir/venv/bin:$PATH"
mkdir project remote && cd project
git init --quiet
dvc init --quiet
dvc remote add --quiet --default kept "$dir/remote"
mkdir model && echo one > model/a && echo two > model/b && echo three > alone
dvc add --quiet model alone
dvc push --quiet
pip list 2> /dev/null | grep -iE "^dvc "
object() { md5sum "$1" | sed -E 's|^(..)([0-9a-f]*).*|'"$dir"'/remote/files/md5/\1/\2|'; }
rm -f "$(object alone)"
echo "a file is gone:             push says: $(dvc push 2>&1 | tail -1)"
rm -f "$(object model/b)"
pushed=$(dvc push 2>&1 | tail -1); status=$(dvc status --cloud 2>&1 | tail -1)
echo "a file of a folder is gone: push says: $pushed"
echo "                            status says: $status"
git clone --quiet . ../elsewhere 2> /dev/null
cp -r .dvc/config ../elsewhere/.dvc 2> /dev/null || { mkdir -p ../elsewhere/.dvc && cp .dvc/config ../elsewhere/.dvc; }
cp ./*.dvc ../elsewhere
export DVC_SITE_CACHE_DIR="$dir/other"
if (cd ../elsewhere && dvc pull > said 2>&1); then pulled=whole; else pulled=fails; fi
echo "                            a pull elsewhere: $pulled"
list=$(find "$dir/remote" -name '*.dir'); rm -f "$list"
healed=$(dvc push 2>&1 | tail -1)
echo "its list is gone too:       push says: $healed"
[ -e "$(object alone)" ] && [ "$pushed" = "Everything is up to date." ] && [[ $status == *"in sync"* ]] && [ $pulled = fails ] && [ -e "$(object model/b)" ]
