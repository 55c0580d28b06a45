"""Questions to the tables in DuckDB: the views of queries/views.sql, to be read and not to be changed.

python -m synthalign sql "SELECT judge, count(*) FROM judgements GROUP BY ALL"
python -m synthalign sql queries/filter_funnel.sql --format csv

What an analyst asks runs in a connection in memory that reads the folders of the tables and nothing else: no other
file, no network, no extension, and no statement but a question.
"""

import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import duckdb
from duckdb import DuckDBPyConnection, StatementType

from synthalign.commands import answers
from synthalign.core import graph, text_file
from synthalign.core.errors import UserError

Format = Literal["table", "csv", "json", "parquet"]

VIEWS = Path("queries/views.sql")

READABLE = ("data", "metrics", "published")
"""The folders that a question may read."""

CACHED = re.compile(r"(.*/files/md5/)[0-9a-f]{2}/[0-9a-f]{30}")
"""A file of DVC's cache, and the folder of all of them."""

SUFFIXES: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
"""How an answer is written where only the file says it."""

KEPT_OUT = (*READABLE, "models", ".dvc")
"""The folders that an answer is not written to: they belong to DVC and to the flows."""

QUESTIONS = {"SELECT", "SET_OPERATION", "RECURSIVE_CTE", "CTE"}
"""The kinds of query in DuckDB's syntax tree that change nothing."""

RUN_STRINGS = {"query", "json_execute_serialized_sql"}
"""Functions that run the SQL that a string holds."""

FIXED: dict[str, str | bool | int | float | list[str]] = {
    "temp_directory": ".work/duckdb",
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""Settings of every connection: no names of Python in a question, and nothing that is downloaded."""


@dataclass(frozen=True)
class Tables:
    """A connection with the views; `patterns` has the files of every view, `absent` of those that have none yet."""

    connection: DuckDBPyConnection
    patterns: dict[str, str]
    absent: frozenset[str]
    folder: Path
    """The folder whose data/ it is: that of the repository, or of a published run."""


def opened(
    published: str | None = None,
    variables: Mapping[str, str] | None = None,
    *,
    config: Mapping[str, str] | None = None,
    ui: bool = False,
) -> Tables:
    """The views over the tables of this folder, or of published/<published>, in a connection that is locked.

    variables  what the questions read with getvariable(...)
    config     settings of DuckDB, such as threads and memory_limit
    ui         start DuckDB's UI on the connection, where its extension is installed; raises duckdb.Error where not
    """
    if not VIEWS.is_file():
        raise UserError(f"{VIEWS} does not exist; go to the root of the repository")
    folder = Path(".") if published is None else published_folder(published)
    connection = duckdb.connect(config={**FIXED, **(config or {})})
    if ui:
        connection.execute("LOAD ui")
        connection.execute("CALL start_ui()")
    for name, value in ({"root": str(folder)} | dict(variables or {})).items():
        if not re.fullmatch(r"[a-z_]+", name):
            raise UserError(f"--set {name}={value}: the name of a variable has lower-case letters and _ alone")
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    patterns, absent = {}, set()
    for statement in connection.extract_statements(VIEWS.read_text(encoding="utf-8")):
        view = re.search(r"\bVIEW (\w+) AS\b.*?'/(data/[^']+)'", statement.query, re.DOTALL)
        commented = re.search(r"\bCOMMENT ON (?:VIEW|COLUMN) (\w+)", statement.query)
        if view:
            patterns[view[1]] = view[2]
            if not next(folder.glob(view[2]), None):
                absent.add(view[1])
        if absent & {found[1] for found in (view, commented) if found}:
            continue
        try:
            connection.execute(statement)
        except duckdb.IOException:  # a stage took the file away just now, to write it anew
            absent.add(view[1] if view else "")
        except duckdb.BinderException:  # a comment on a column that an older table has not got
            if not commented:
                raise
    folders, files = linked(folder, patterns.values())
    connection.execute(f"SET allowed_directories = {as_list([*(f'{name}/' for name in READABLE), *folders])}")
    connection.execute(f"SET allowed_paths = {as_list(files)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return Tables(connection, patterns, frozenset(absent), folder)


def linked(folder: Path, patterns: Iterable[str]) -> tuple[list[str], list[str]]:
    """Where tables really are that are links, as DVC makes them with `cache.type symlink`: folders, and single files.

    DuckDB follows links before it looks whether a file may be read. Of DVC's cache the whole folder is named, since a
    stage that writes a table anew links it to another file there.
    """
    inside = [Path(name).resolve() for name in READABLE]
    real = {file.resolve() for pattern in patterns for file in folder.glob(pattern)}
    outside = {str(file) for file in real if not any(file.is_relative_to(one) for one in inside)}
    caches = {file: match[1] for file in outside if (match := CACHED.fullmatch(file))}
    return sorted({*caches.values()}), sorted(outside - caches.keys())


def as_list(texts: Iterable[str]) -> str:
    """The texts as a list in SQL."""
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"


def published_folder(name: str) -> Path:
    """The folder of a published run; UserError with the names that there are."""
    folder = Path("published") / name
    if folder.resolve().parent != Path("published").resolve() or not (folder / "data").is_dir():
        runs = sorted(found.parent.name for found in Path("published").glob("*/data"))
        known = f"there are {', '.join(runs)}" if runs else "none was published yet; the nightly flow does"
        raise UserError(f"published/{name}/data is no folder of a published run; {known}")
    return folder


# -- questions --------------------------------------------------------------------------------------------------------


def text_of(question: str) -> str:
    """The question itself, or the content of the .sql file that it names."""
    if not question.strip().endswith(".sql"):
        return question
    return text_file.read(question.strip(), step="the questions are in queries/")


def ready(tables: Tables, text: str) -> duckdb.Statement:
    """The last statement of a text, all others having been run.

    UserError for what is no question and for what DuckDB does not understand.
    """
    try:
        statements = tables.connection.extract_statements(text)
        if not statements:
            raise UserError("there is no question in the text; write for instance: FROM queries")
        for statement in statements:
            if why := refused(tables.connection, statement):
                raise UserError(f"{why} is refused: tables are read here and never changed; ask with SELECT or FROM")
        for statement in statements[:-1]:
            tables.connection.execute(statement)
        return statements[-1]
    except duckdb.Error as error:
        raise UserError(explained(tables, error)) from error


def ask(tables: Tables, text: str) -> DuckDBPyConnection:
    """Ask a question; the answer waits in the connection that is returned."""
    statement = ready(tables, text)
    try:
        return tables.connection.execute(statement)
    except duckdb.Error as error:
        raise UserError(explained(tables, error)) from error


def refused(connection: DuckDBPyConnection, statement: duckdb.Statement) -> str | None:
    """What makes a statement more than a question; None for a question.

    DuckDB's settings keep it away from other files, but not from writing among the tables. A SELECT can hold a COPY in
    its WITH clause, and two functions run SQL that stands in a string, so it is DuckDB's own syntax tree that is read.
    """
    if statement.type == StatementType.SET:
        return None  # a variable: all else is locked, and DuckDB refuses a COPY below the top of a statement
    text = re.sub(r"(?is)^\s*EXPLAIN\s+(ANALYZE\s+)?", "", statement.query)
    [(tree,)] = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    if '"error":true' in tree[:20]:
        is_pivot = statement.type == StatementType.MULTI
        return "PIVOT without its values, ON column IN (...)," if is_pivot else statement.type.name.replace("_", " ")
    kinds = set(re.findall(r'"type":"(\w+)_NODE"', tree)) - QUESTIONS
    functions = set(re.findall(r'"function_name":"(\w+)"', tree)) & RUN_STRINGS
    return next(iter(sorted(kinds | functions)), None)


def explained(tables: Tables, error: duckdb.Error) -> str:
    """What went wrong in words that say what to do."""
    message = str(error).strip()
    unknown = re.search(r"Table with name (\w+) does not exist", message)
    if unknown and unknown[1].lower() in tables.absent:
        pattern = tables.patterns[unknown[1].lower()]
        return f"{tables.folder / pattern} does not exist yet; {makes(pattern, tables.folder)}"
    if isinstance(error, duckdb.PermissionException):
        return f"{message}\nA question reads the tables in {', '.join(READABLE)} and no other file."
    if "No files found" in message and "published/" in message:
        return f"{message}\nNo such run was published yet; the nightly flow does."
    if "No such file" in message or "No files found" in message:
        return f"{message}\nIf a run is going on, a stage is writing this table anew; ask again when it is done."
    return message


def makes(pattern: str, folder: Path) -> str:
    """Which stage makes the tables of a view."""
    if folder != Path("."):
        return "this run did not publish it"
    stages = sorted({stage for path, stage in outs().items() if fnmatch(path, pattern)})
    return f"stage {' and '.join(stages)} makes it: dvc repro {' '.join(stages)}" if stages else "no stage makes it"


def outs() -> dict[str, str]:
    """The files of the tables that the graph makes, and the stage that makes each."""
    return {f"data/{name}.parquet": stage for name, stage in graph.tables().items()}


def incomplete(tables: Tables, text: str) -> list[str]:
    """A sentence for every view in the text that lacks some of its members, as while a run is going on."""
    if tables.folder != Path("."):
        return []
    lacking = {path: stage for path, stage in outs().items() if not Path(path).exists()}
    sentences = []
    for view, pattern in tables.patterns.items():
        paths = [path for path in lacking if fnmatch(path, pattern)]
        if paths and view not in tables.absent and re.search(rf"\b{view}\b", text, re.IGNORECASE):
            made_by = ", ".join(f"{path} ({lacking[path]})" for path in paths)
            sentences.append(f"{view} is not complete, these are not made yet: {made_by}")
    return sentences


# -- answers ----------------------------------------------------------------------------------------------------------


def write(tables: Tables, text: str, form: Format, output: Path, limit: int | None) -> None:
    """The answer to a file, which appears whole or not at all."""
    resolved = output.resolve()
    if any(resolved.is_relative_to(Path(folder).resolve()) for folder in KEPT_OUT):
        raise UserError(f"--output {output}: {', '.join(KEPT_OUT)} are written by the graph alone; take another folder")
    if not resolved.parent.is_dir():
        raise UserError(f"--output {output}: {output.parent} is no folder; make it first")
    partial = output.with_name(f"{output.name}.partial")
    try:
        if form == "parquet":
            answers.write_parquet(tables.connection, ready(tables, text), partial, limit)
        else:
            with partial.open("w", encoding="utf-8", newline="") as stream:
                answers.WRITERS[form](ask(tables, text), stream, limit)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


# -- commands ---------------------------------------------------------------------------------------------------------


def answer(
    question: str,
    *,
    form: Format | None = None,
    output: Path | None = None,
    published: str | None = None,
    limit: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Answer one question, on the terminal or in a file."""
    if limit is not None and limit < 0:
        raise UserError(f"--limit {limit}: a number of rows is 0 or more")
    form = form or SUFFIXES.get("" if output is None else output.suffix, "table")
    if form == "parquet" and output is None:
        raise UserError("--format parquet is no text for a terminal; add --output FILE")
    text = text_of(question)
    tables = opened(published, variables)
    try:
        if output is None:
            answers.WRITERS[form](ask(tables, text), sys.stdout, limit)
        else:
            write(tables, text, form, output, limit)
    except duckdb.Error as error:
        raise UserError(explained(tables, error)) from error
    for sentence in incomplete(tables, text):
        print(f"sql: {sentence}", file=sys.stderr)


def interact(published: str | None = None) -> None:
    """DuckDB's UI in the browser, where its extension is installed; else a prompt."""
    if sys.stdin.isatty() and shutil.which("xdg-open"):
        try:
            opened(published, ui=True)
        except duckdb.Error:
            print("DuckDB's UI is not installed here; `INSTALL ui` in DuckDB's own shell fetches it. A prompt instead:")
        else:
            input("DuckDB's UI is open at http://localhost:4213. Enter ends it. ")
            return
    prompt(opened(published))


def prompt(tables: Tables) -> None:
    """Questions from the terminal or a pipe, each ended by a semicolon."""
    asked = "sql> " if sys.stdin.isatty() else ""
    if asked:
        print("A question ends with ;  SHOW TABLES; lists the tables, DESCRIBE queries; the columns, Ctrl-D ends.")
    text = ""
    while True:
        try:
            text += input(asked if not text else asked and "...> ") + "\n"
        except EOFError:
            if not text.strip():
                return
            text += ";"
        except KeyboardInterrupt:
            print()
            text = ""
            continue
        if text.rstrip().endswith(";"):
            try:
                answers.write_table(ask(tables, text), sys.stdout, None)
            except UserError as error:
                print(f"sql: {error}", file=sys.stderr)
            except duckdb.Error as error:  # while rows are fetched
                print(f"sql: {explained(tables, error)}", file=sys.stderr)
            text = ""
