#!/usr/bin/env bash
# duckdb 2.0.0: a fraction in an object column of a pandas frame is rounded to a whole number, and nothing is said.
# Valid input: a frame of 5,000 rows with a column of Python objects, whole numbers everywhere and 1.5 in row 7; the same as
# dicts ({"score": 1} and once {"score": 1.5}) and as lists ([1] and once [1.5]), which is how pandas holds what is nested.
# Expected: 1.5, as in a frame of 1,000 rows, or an error, as for a text among the numbers. Seen: 2, {'score': 2} and [2], in a
# query and in every sum; the type is guessed from a sample (pandas_analyze_sample, 1,000 rows) and the rest is cast to it.
# Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check duckdb==2.0.0 pandas==3.1.1
cat > round.py <<'P'
import duckdb
import pandas as pd

for rows in (1_000, 5_000):
    for whole, fraction in ((1, 1.5), ({"score": 1}, {"score": 1.5}), ([1], [1.5])):
        objects = [whole] * rows
        objects[7] = fraction
        frame = pd.DataFrame({"row": range(rows), "value": pd.Series(objects, dtype=object)})
        [(kept,)] = duckdb.sql("SELECT value FROM frame WHERE row = 7").fetchall()
        print(f"{rows} rows: {fraction} is {kept}")
P
venv/bin/pip list 2> /dev/null | grep -E "^(duckdb|pandas) "
seen=$(venv/bin/python round.py)
echo "$seen"
[ "$seen" = "1000 rows: 1.5 is 1.5
1000 rows: {'score': 1.5} is {'score': 1.5}
1000 rows: [1.5] is [1.5]
5000 rows: 1.5 is 2
5000 rows: {'score': 1.5} is {'score': 2}
5000 rows: [1.5] is [2]" ]
