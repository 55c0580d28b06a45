#!/usr/bin/env bash
# duckdb 2.0.0: a setting that SET takes is refused when it is given as duckdb.connect starts, though what it belongs to is built in.
# Valid input: the setting parquet_metadata_cache, which duckdb_settings() of a fresh connection lists, as config of connect().
# Expected: a connection that keeps footers of Parquet files, as `SET parquet_metadata_cache = true` gives. Seen: an error that
# the parquet extension "needs to be loaded" and "could not be autoloaded"; the same wheel reads Parquet at once, says that the
# extension is statically linked and loaded, and takes the setting by SET. Other settings (threads) are taken at the start.
# Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check duckdb==2.0.0
cat > start.py <<'P'
import duckdb

for config in ({"threads": 2}, {"parquet_metadata_cache": True}):
    try:
        duckdb.connect(config=config)
        print(config, "is taken")
    except duckdb.Error as error:
        print(config, type(error).__name__, "could not be autoloaded" in str(error))
connection = duckdb.connect()
asked = "SELECT loaded, install_mode FROM duckdb_extensions() WHERE extension_name = 'parquet'"
print("parquet:", connection.sql(asked).fetchall())
connection.execute("SET parquet_metadata_cache = true")
asked = "SELECT value FROM duckdb_settings() WHERE name = 'parquet_metadata_cache'"
print("by SET:", connection.sql(asked).fetchall())
P
venv/bin/pip list 2> /dev/null | grep -E "^duckdb "
seen=$(venv/bin/python start.py)
echo "$seen"
[ "$seen" = "{'threads': 2} is taken
{'parquet_metadata_cache': True} InvalidInputException True
parquet: [(True, 'STATICALLY_LINKED')]
by SET: [('true',)]" ]
