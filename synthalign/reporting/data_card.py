"""DATA.md of an exported policy: the tables that it was made from, and what these were made from."""

from pathlib import Path

import pyarrow.parquet as pq

from synthalign.reporting import licences, lineage, parents
from synthalign.reporting.cards import Subject
from synthalign.reporting.licences import Listed
from synthalign.reporting.recorded import Lock
from synthalign.reporting.text_tables import Rows, markdown


def data_card(lock: Lock, subject: Subject, listed: Listed) -> str:
    """DATA.md: the tables that the policy was made from, and what these were made from."""
    stages = lineage.above(lock, subject.folder)
    sources = [str(given.get("source")) for given in parents.bases(lock, subject.folder).values()]
    given = {
        path: md5
        for path, md5 in lineage.inputs(lock, stages).items()
        if path != SHIPPED or any(source.startswith(SHIPPED) for source in sources)
    }
    if not stages:
        return f"# Data of {subject.name}\n\nNo stage of dvc.lock made `{subject.folder}`: its data are not known.\n"
    inputs: Rows = [("file or folder", "rows", "licence", "MD5")]
    inputs += [
        (path, _rows(path, md5), licences.said(licences.of(path, lineage.sha256(path, recorded=md5), listed)), md5)
        for path, md5 in given.items()
    ]
    named: Rows = [("file", "setting", "rows", "licence", "SHA-256")]
    for path, key in lineage.named(lock, stages).items():
        found = lineage.sha256(path)
        named.append((path, key, _rows(path), licences.said(licences.of(path, found, listed)), found or "not here"))
    read = {dep["path"] for name in stages for dep in lineage.deps(lock[name])}
    tables: Rows = [("table", "rows", "made by", "from", "MD5")]
    for name in stages:
        made_from = [
            path
            for path in dict.fromkeys(dep["path"] for dep in lineage.deps(lock[name]))
            if path.startswith(("data/", "models/"))
        ]
        for out in lineage.outs(lock[name]):
            if out["path"].startswith("data/") and out["path"] in read:
                tables.append((out["path"], _rows(out["path"], out["md5"]), name, ", ".join(made_from), out["md5"]))
    parts = [
        f"# Data of {subject.name}",
        f"What `{subject.folder}` (MD5 {subject.md5}) was made from, as dvc.lock has it.",
        "## Given",
        markdown(inputs),
        *([NAMED, markdown(named)] if len(named) > 1 else []),
        "## Made",
        "The models' own words; they are under what holds for the models and files that they were made from."
        if len(tables) > 1 else "No table was made.",
        markdown(tables) if len(tables) > 1 else "",
    ]  # fmt: skip
    return "\n\n".join(filter(None, parts)) + "\n"


NAMED = """\
Named by settings of its stages. dvc.lock has no hash of these files: rows and hash are of each as it is now, which may
not be as it was then."""


SHIPPED = "data/embedded/models"
"""Base models of the embedded world, on which `base_models` depends whatever its sources are."""

SYSTEM = b'{"system"'
"""How the first line of a file of demonstrations may begin, which is none of them."""


def _rows(path: str, recorded: str | None = None) -> str:
    """How many rows a table has; only of the very file that the lock is about, where it has a hash of it."""
    file = Path(path)
    if file.is_dir():
        return "a folder"
    if not file.exists() or recorded not in (None, lineage.md5(file)):
        return "not here"
    if file.suffix == ".parquet":
        return f"{pq.read_metadata(file).num_rows:,}"
    if file.suffix in (".jsonl", ".txt"):
        return f"{sum(1 for line in file.open('rb') if line.strip() and not line.startswith(SYSTEM)):,}"
    return "a file"
