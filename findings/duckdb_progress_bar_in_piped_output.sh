#!/usr/bin/env bash
# DuckDB 2.0.0 (Python): a query of more than two seconds writes a progress bar into a stdout that is a pipe, if the program came by `python -c`.
# Valid input: a query of some seconds whose result is printed, with stdout read by another program; the same lines as a file and by -c.
# Expected: the result alone in both, as `enable_progress_bar` is off by default outside of notebooks and terminals. Seen: of the file the result
# alone; by -c the setting is on, and the bar's lines stand before the result. Asked with stdout and stderr as pipes, so no terminal is near.
# Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check duckdb==2.0.0
cat > ask.py <<'P'
import duckdb
connection = duckdb.connect(config={"threads": 1})
print("the bar is on:", connection.sql("SELECT current_setting('enable_progress_bar')").fetchall()[0][0])
rows = 2_000_000
while True:  # until a query takes longer than the two seconds before which no bar is shown
    import time
    begun = time.perf_counter()
    found = connection.execute(f"SELECT count(*) FROM range({rows}) AS a(x), range(100) AS b(y) WHERE (x * y) % 7 = 3").fetchone()
    if time.perf_counter() - begun > 4:
        break
    rows *= 2
print("counted:", found[0] > 0)
P
venv/bin/pip list 2> /dev/null | grep -i "^duckdb "
file=$(venv/bin/python ask.py 2> /dev/null | tr '\r' '\n' | grep -c '%' || true)
command=$(venv/bin/python -c "$(cat ask.py)" 2> /dev/null | tr '\r' '\n' | grep -c '%' || true)
on=$(venv/bin/python -c "$(head -3 ask.py)" 2> /dev/null)
echo "of a file: $file lines of a bar; by -c: $([ "$command" -gt 0 ] && echo some || echo none), $on"
[ "$file" = 0 ] && [ "$command" -gt 0 ] && [ "$on" = "the bar is on: True" ]
