"""What DVC reads of dvc.yaml, dvc.lock and params.yaml, kept until the files change.

A DVC that runs one stage spends most of its time on parsing and checking these three files, all of each.  Here the
first to read a file keeps what it read in `FOLDER`, named by a hash of its text; those after it, each a process of its
own, take it from there.
"""

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = Path(".work/read")

LEAST = 10_000
"""Characters of a text that is worth it: entries of DVC's cache of runs are short, and many."""

MOST = 8
"""Files that are kept: dvc.lock has another text whenever entries were written to it."""


def install() -> None:
    """Have the DVC of this process read so."""
    import dvc
    from dvc.fs import LocalFileSystem
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    load_checked, parse = strictyaml.load, _yaml.parse_yaml

    def load(path: str, schema: Any = None, fs: Any = None, **given: Any) -> Any:
        """A file of DVC's and its text; what is wrong with it DVC says itself."""

        def checked() -> Any:
            found = parse(text, path)
            strictyaml.validate(found, schema, text=text, path=path)
            return found

        if not given and schema is not None and isinstance(fs, LocalFileSystem):
            with suppress(Exception):
                text = Path(path).read_text(encoding="utf-8")
                return kept(text, checked, f"{dvc.__version__} {Path(path).suffix}"), text
        return load_checked(path, schema, fs, **given)

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return parse(text, path, typ)
        return kept(text, lambda: parse(text, path), dvc.__version__)

    strictyaml.load, _yaml.parse_yaml = load, parse_yaml


def kept(text: str, read: Callable[[], Any], how: str) -> Any:
    """What `read` makes of a text, where `how` says how it reads; it does so where that is not kept, or is damaged."""
    if len(text) < LEAST:
        return read()
    file = FOLDER / f"{hashlib.sha256(f'{how} {text}'.encode()).hexdigest()}.pickle"
    with suppress(Exception):
        found = pickle.loads(file.read_bytes())
        with suppress(OSError):
            os.utime(file)  # in use
        return found
    found = read()
    with suppress(Exception):  # a full disk: it is read again the next time
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as stream:
            stream.write(pickle.dumps(found))
        os.replace(stream.name, file)
        for old in sorted(FOLDER.glob("*"), key=lambda one: one.stat().st_mtime)[:-MOST]:
            old.unlink()
    return found
