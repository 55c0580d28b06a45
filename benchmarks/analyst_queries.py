"""The questions of queries/ that touch comparisons, over ten million of them: DuckDB beside the same in pandas.

The tables are made once, under .work/bench/, by the writer of real ones, with as many rows in each member, and texts as
long, as the embedded profile has in proportion. DuckDB gets two threads and 2 GB; pandas, with columns of Arrow, gets
what it wants. Both must give the same answer.

    python -m benchmarks.bench analyst_queries
    python -m benchmarks.analyst_queries 100000     # so many rows: whether it works, not how fast
"""

import argparse
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bench import Comparison, take_turns, versions
from synthalign.commands import sql
from synthalign.core.tables import ROW_GROUP
from synthalign.feedback import simulation
from synthalign.feedback.comparisons import SCHEMA
from synthalign.queries import mining

ROWS = 10_000_000
LIMITS = {"threads": "2", "memory_limit": "2GB"}
SECONDS = 2.0
"""What a question may take."""

SHARES = {
    "no_filter": 0.19,
    "gold": 0.171,
    "no_length": 0.155,
    "no_keyword": 0.14,
    "heuristic": 0.115,
    "almost_size": 0.102,
    "almost": 0.085,
    "size": 0.021,
    "sft": 0.021,
}
"""Of the members of comparisons, as queries/answers/lengths.csv has them."""

ASIS = pa.schema([*SCHEMA, ("asis_chosen", pa.float64()), ("asis_rejected", pa.float64())])

DIFFERENT = 100_000
"""Texts to take beginnings of."""

TEXT = f"""
CREATE OR REPLACE TEMP TABLE texts AS
    SELECT
        place,
        string_agg(
            chr(97 + (hash([place, letter]) % 26)::INT) || if(hash([letter, place]) % 5 = 0, ' ', ''), ''
        ) AS text
    FROM range({DIFFERENT}) AS places(place), range(140) AS letters(letter)
    GROUP BY place;
CREATE OR REPLACE MACRO id(given) AS format('{{:016x}}', hash(given));
CREATE OR REPLACE MACRO place(query, config) AS (hash([query, config]) % {DIFFERENT})::BIGINT;
CREATE OR REPLACE MACRO characters(query, config) AS 20 + (hash([config, query]) % 120)::INT;
"""


# -- the tables -------------------------------------------------------------------------------------------------------


def pairs(turned: str, columns: str, condition: str, number: int) -> str:
    """The query for pairs 0 to `number`, ten of each query and of five configurations, where the condition holds."""
    return f"""
        WITH numbered AS (
            SELECT
                pair,
                pair // 10 AS query,
                [0, 0, 0, 0, 1, 1, 1, 2, 2, 3][pair % 10 + 1] AS better,
                [1, 2, 3, 4, 2, 3, 4, 3, 4, 4][pair % 10 + 1] AS worse,
                {turned} AS turned
            FROM range({number}) AS pairs(pair)
            WHERE {condition}
        ),
        sides AS (
            SELECT *, if(turned, worse, better) AS one, if(turned, better, worse) AS other FROM numbered
        ),
        ordered AS (
            SELECT id([pair, turned::INT]) AS comparison_id, sides.*, texts.text AS first, others.text AS second
            FROM sides
            JOIN texts ON texts.place = place(query, one)
            JOIN texts AS others ON others.place = place(query, other)
            ORDER BY comparison_id
        )
        SELECT
            comparison_id,
            id(query) AS query_id,
            [{{'role': 'user', 'content': 'What is known about number ' || query || '?'}}] AS prompt,
            [{{'role': 'assistant', 'content': first[:characters(query, one)]}}] AS chosen,
            [{{'role': 'assistant', 'content': second[:characters(query, other)]}}] AS rejected,
            id([query, one]) AS chosen_id,
            id([query, other]) AS rejected_id,
            chr(97 + one::INT) AS chosen_config,
            chr(97 + other::INT) AS rejected_config,
            'eos' AS chosen_finish_reason,
            'eos' AS rejected_finish_reason,
            'bench' AS feedback,
            1.0::DOUBLE AS p_chosen,
            {columns}
        FROM ordered
    """


def write(query: str, name: str, schema: pa.Schema) -> int:
    """Write the rows of a query as synthalign.core.tables does, a row group in memory at a time."""
    file = Path(f"data/{name}.parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(config={"temp_directory": "spilled", "memory_limit": "4GB"}) as connection:
        connection.execute(TEXT)
        rows = 0
        reader = connection.sql(query).to_arrow_reader(ROW_GROUP)
        with pq.ParquetWriter(file, schema, compression="zstd", store_schema=True) as writer:
            for batch in reader:
                writer.write_table(pa.Table.from_batches([batch]).select(schema.names).cast(schema), ROW_GROUP)
                rows += batch.num_rows
    return rows


def make(rows: int) -> int:
    """Write every table that the questions read, in the folder we are in; the number of comparisons."""
    raw = int(SHARES["no_filter"] * rows)
    made = 0
    sides = ((7, "chosen"), (8, "rejected"))
    asis = ", ".join(f"(hash([pair, {place}]) % 1000) / 100.0 AS asis_{side}" for place, side in sides)
    for place, (member, share) in enumerate(SHARES.items()):
        condition = f"hash([pair, {place}]) % 1000000 < {1e6 * share / SHARES['no_filter']:.0f}"
        turned = "hash(pair) % 4 = 0" if member == "gold" else "false"
        columns, schema = (asis, ASIS) if member == "almost" else ("1", SCHEMA)
        if member == "gold":
            condition = "hash([pair, 1]) % 10 > 0"
        made += write(pairs(turned, columns, condition, raw), f"comparisons/{member}", schema)
    reasons = "['length_rule', 'asis_disagrees', 'identical', 'rejected_response:no_end'][1 + (hash(pair) % 4)::INT]"
    for member, reason, condition in (
        ("almost", reasons, f"NOT hash([pair, 6]) % 1000000 < {1e6 * SHARES['almost'] / SHARES['no_filter']:.0f}"),
        ("gold", "'tie'", "hash([pair, 1]) % 10 = 0"),
    ):
        schema = pa.schema([*SCHEMA, ("drop_reason", pa.string())])
        write(pairs("false", f"{reason} AS drop_reason", condition, raw), f"comparisons_dropped/{member}", schema)
    queries = f"FROM range({raw // 10}) AS queries(query)"
    write(
        f"SELECT id(query) AS query_id, 'What is known about number ' || query || '?' AS text, 'mined' AS origin, "
        f"'train' AS split, NULL::VARCHAR AS nearest_id, NULL::DOUBLE AS nearest_rouge_l {queries} ORDER BY query_id",
        "queries",
        mining.QUERIES,
    )
    write(
        f"SELECT id([query, 9]) AS demonstration_id, id(query) AS query_id, 0.0::DOUBLE AS reward, "
        "NULL::BIGINT AS taught, "
        f"'eos' AS finish_reason, "
        f"[{{'role': 'user', 'content': 'What?'}}, {{'role': 'assistant', 'content': 'This.'}}] AS messages "
        f"{queries} ORDER BY demonstration_id",
        "demonstrations/rmsp",
        simulation.DEMONSTRATIONS,
    )
    return made


# -- the same in pandas -----------------------------------------------------------------------------------------------


def read(member: str, columns: list[str], family: str = "comparisons") -> pd.DataFrame:
    return pd.read_parquet(f"data/{family}/{member}.parquet", columns=columns, dtype_backend="pyarrow")


def margin(values: Any) -> float:
    return 1.96 * values.std() / sqrt(len(values))


def win_rates_of_configurations() -> list[tuple]:
    configs = ["chosen_config", "rejected_config"]
    dropped = read("gold", [*configs, "drop_reason"], "comparisons_dropped")
    won = pd.concat([read("gold", configs).assign(win=1.0), dropped[dropped.drop_reason == "tie"].assign(win=0.5)])
    first = won.chosen_config < won.rejected_config
    won["configuration"] = won.chosen_config.where(first, won.rejected_config)
    won["against"] = won.rejected_config.where(first, won.chosen_config)
    won["win"] = won.win.where(first, 1 - won.win)
    rows = []
    for (one, other), win in won.groupby(["configuration", "against"]).win:
        rows.append((one, other, win.mean(), margin(win), (win == 0.5).mean(), len(win)))
    return rows


def filter_funnel() -> list[tuple]:
    reasons = dict(read("almost", ["drop_reason"], "comparisons_dropped").drop_reason.value_counts())
    reasons["kept"] = len(read("almost", ["comparison_id"]))
    steps = {"length_rule": "3 rule on pairs", "identical": "2 nothing to prefer", "kept": "5 learned from"}
    steps |= {"asis_disagrees": "4 As-is reward model", "rejected_response:no_end": "1 unusable response"}
    left, total, rows = sum(reasons.values()), sum(reasons.values()), []
    for reason in sorted(reasons, key=lambda reason: steps[reason]):
        left -= reasons[reason] if reason != "kept" else 0
        rows.append((steps[reason], reason, reasons[reason], reasons[reason] / total, left))
    return rows


def lengths() -> list[tuple]:
    rows = []
    for member in sorted(SHARES):
        asis = ["asis_chosen", "asis_rejected"] if member == "almost" else []
        pairs = read(member, ["chosen", "rejected", *asis])
        chosen, rejected = (pairs[side].list[-1].struct.field("content").str.len() for side in ("chosen", "rejected"))
        longer, figures = (chosen > rejected).mean(), [chosen.mean(), rejected.mean()]
        better = (pairs.asis_chosen - pairs.asis_rejected).astype(float) if asis else None
        correlation = None if better is None else (chosen - rejected).astype(float).corr(better)
        rows.append((member, len(pairs), *figures, longer, correlation))
    return rows


def rule_of_thumb() -> list[tuple]:
    ids = ["comparison_id", "query_id"]
    ties = read("gold", [*ids, "drop_reason"], "comparisons_dropped")
    ties = ties[ties.drop_reason == "tie"][ids]
    oracle = pd.concat([read("gold", ids).assign(decided=1, correct=1), ties.assign(decided=0, correct=0)])
    judged = oracle.pop("query_id").unique()
    rows = []
    for member in ("no_filter", "no_keyword", "no_length", "heuristic", "almost"):
        labels = read(member, ids)
        labels = labels[labels.query_id.isin(judged)].merge(oracle, "left", "comparison_id")
        labels = labels.fillna({"decided": 1, "correct": 0})
        queries = labels.groupby("query_id")[["decided", "correct"]].sum()
        decided, correct = queries.decided.astype(float), queries.correct.astype(float)
        share = correct.sum() / decided.sum()
        error = 1.96 * sqrt(((correct - share * decided) ** 2).sum()) / decided.sum()
        rows.append((member, share, error, len(labels), len(labels) - decided.sum(), len(queries)))
    return sorted(rows, key=lambda row: (round(row[1], 4), row[0]))


def coverage() -> list[tuple]:
    trained = len(pd.read_parquet("data/queries.parquet", columns=["query_id"]))
    tables = [("comparisons", member) for member in SHARES] + [("demonstrations", "rmsp")]
    rows = []
    for family, member in sorted(tables, key="/".join):
        uses = read(member, ["query_id"], family).query_id.value_counts()
        rows.append((f"{family}/{member}", len(uses), len(uses) / trained, uses.mean(), uses.max()))
    return rows


PANDAS: dict[str, Callable[[], list[tuple]]] = {
    function.__name__: function
    for function in (win_rates_of_configurations, filter_funnel, lengths, rule_of_thumb, coverage)
}


# -- side by side -----------------------------------------------------------------------------------------------------


def questions(folder: Path) -> dict[str, str]:
    """The questions that touch comparisons."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.sql"))}
    wanted = {name: text for name, text in texts.items() if re.search(r"FROM comparisons", text)}
    return {name: text for name, text in wanted.items() if name not in ("views", "checks")}


def ask(text: str) -> list[tuple]:
    """The answer of DuckDB within its limits, the views made anew as for every call of `synthalign sql`."""
    tables = sql.opened(config=LIMITS)
    with tables.connection:
        return sql.ask(tables, text).fetchall()


def same(ours: list[tuple], theirs: list[tuple]) -> bool:
    """Whether two answers have the same rows, one of them with rounded figures."""

    def alike(one: Any, other: Any) -> bool:
        if isinstance(one, float):
            return abs(one - float(other)) < (0.0051 if round(one, 2) == one else 0.000051)
        return one == other

    return len(ours) == len(theirs) and all(all(map(alike, *rows)) for rows in zip(ours, theirs, strict=True))


def seconds_of_pandas() -> float:
    """What the answers of pandas take, one after the other."""
    start = time.perf_counter()
    for function in PANDAS.values():
        function()
    return time.perf_counter() - start


def compare(rows: int = ROWS) -> Comparison:
    texts = questions(Path("queries"))
    folder = Path(f".work/bench/analyst_queries-{rows}")
    missing = texts.keys() ^ PANDAS.keys()
    assert not missing, f"questions that touch comparisons and have no answer in pandas, or the other way: {missing}"
    views = sql.VIEWS.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with chdir(folder):
        if not Path("made").exists():
            Path("made").write_text(str(make(rows)))
        sql_views = Path("queries/views.sql")
        sql_views.parent.mkdir(exist_ok=True)
        sql_views.write_text(views.read_text(encoding="utf-8"), encoding="utf-8")
        seconds: dict[str, list[float]] = {name: [] for name in texts}
        for name, text in texts.items():
            ours_said, theirs_said = ask(text), PANDAS[name]()
            assert same(ours_said, theirs_said), f"{name}: DuckDB says {ours_said}, pandas {theirs_said}"

        def ours() -> float:
            for name, text in texts.items():
                start = time.perf_counter()
                ask(text)
                seconds[name].append(time.perf_counter() - start)
            return sum(taken[-1] for taken in seconds.values())

        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as other:  # its memory is its own
            turns = take_turns(ours, lambda: other.submit(seconds_of_pandas).result(), runs=3)
        made = int(Path("made").read_text())
    slowest = {name: round(max(taken[1:]), 2) for name, taken in seconds.items()}  # the first does not count
    return Comparison(
        work=f"the {len(texts)} questions that touch comparisons, over {made:,} of them, 2 threads, 2 GB",
        against="pandas with Arrow columns",
        ratios=[there / here for here, there in turns],
        at_least=2.0,
        versions=versions("duckdb", "pandas", "pyarrow"),
        notes={
            **{f"seconds_of_{name}": taken for name, taken in slowest.items()},
            "slowest_seconds": max(slowest.values()),
            "all_within_two_seconds": "yes" if max(slowest.values()) < SECONDS else "NO",
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analyst_queries", description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, help="so many comparisons: whether it works, not how fast")
    print(json.dumps(compare(parser.parse_args().rows).entry("analyst_queries"), indent=2))
