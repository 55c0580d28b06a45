"""Every table, asked for the rows that offend: `python -m synthalign check-tables`.

A check is a query that selects the offending rows, so an empty answer is the good one: the rules of one row are those
of `synthalign.core.tables`, which every writer keeps as well; keys and what ties tables together are in
queries/checks.sql.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from synthalign.commands import answers, sql
from synthalign.commands.sql import Tables
from synthalign.core import tables
from synthalign.core.errors import UserError

CHECKS = Path("queries/checks.sql")

SHOWN = 5
"""Offending rows that are shown of each check."""


@dataclass(frozen=True)
class Check:
    """What should hold, and the query that selects the rows for which it does not."""

    title: str
    query: str

    def needs(self, views: frozenset[str]) -> frozenset[str]:
        """Which of the views it reads."""
        return views & frozenset(re.findall(r"\w+", self.query))


def checks(found: Tables) -> list[Check]:
    """The rules of rows, a check for each view that is there, and the checks of queries/checks.sql."""
    rules = []
    for view in found.patterns.keys() - found.absent:
        columns = answers.columns_of(found.connection.execute(f"FROM {view} LIMIT 0"))
        rules.append(Check(f"{view}: every row keeps the rules of its columns", tables.offending(view, columns)))
    return sorted(rules, key=lambda check: check.title) + written(CHECKS.read_text(encoding="utf-8"))


def written(text: str) -> list[Check]:
    """The checks of a file: a comment line that is the title, the query under it, and an empty line between two."""
    found = re.findall(r"^-- (\w+: .*)\n((?:(?!--).*\n)+?)\n", f"{text}\n\n", re.MULTILINE)
    return [Check(title, query.strip().rstrip(";")) for title, query in found]


def failures(found: Tables, wanted: list[Check]) -> Iterator[tuple[Check, str]]:
    """The checks that fail, each with its first offending rows; those that need a view without files are left out."""
    for check in wanted:
        if check.needs(found.absent):
            continue
        try:
            answer = found.connection.execute(check.query)
            columns, rows = answers.columns_of(answer), list(answers.rows_of(answer, SHOWN + 1))
        except duckdb.Error as error:
            raise UserError(f"{check.title}: cannot be asked: {sql.explained(found, error)}") from error
        if rows:
            more = "\n(and more)" if len(rows) > SHOWN else ""
            yield check, answers.as_table(columns, rows[:SHOWN]) + more


def run(published: str | None = None) -> None:
    """Ask every check and print what offends; UserError when anything does."""
    found = sql.opened(published)
    wanted = checks(found)
    if published is None and len(found.absent) == len(found.patterns):
        raise UserError(f"{found.folder / 'data'} has no table yet; `dvc repro` makes them")
    bad = 0
    for check, rows in failures(found, wanted):
        print(f"{check.title}\n{rows}\n")
        bad += 1
    left_out = sorted({view for check in wanted for view in check.needs(found.absent)})
    if left_out:
        print(f"not made yet, and not checked: {', '.join(left_out)}")
    if bad:
        raise UserError(f"{bad} of {len(wanted)} checks failed; their rows are above")
    print(f"{len(wanted)} checks, no row that offends")
