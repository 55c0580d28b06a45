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

MOST = 8
"""Files that are kept: dvc.lock has another text whenever entries were written to it."""


def install() -> None:
    """Have the DVC of this process read so."""
    import dvc
    from dvc.fs import LocalFileSystem
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    checked, parsed = strictyaml.load, _yaml.parse_yaml

    def load(path: str, schema: Any = None, fs: Any = None, **given: Any) -> Any:
        """A file of DVC's and its text: parsed, and right by its schema."""
        if given or schema is None or not isinstance(fs, LocalFileSystem):
            return checked(path, schema, fs, **given)
        with fs.open(path, encoding="utf-8") as stream:
            text = stream.read()
        return kept(f"{dvc.__version__} {Path(path).suffix} {text}", lambda: checked(path, schema, fs)[0]), text

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return parsed(text, path, typ)
        return kept(f"{dvc.__version__} {text}", lambda: parsed(text, path))

    strictyaml.load, _yaml.parse_yaml = load, parse_yaml


def kept(key: str, read: Callable[[], Any]) -> Any:
    """What `read` makes of a text, by a key that names both; read where it is not kept, or what is kept is damaged."""
    file = FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.pickle"
    with suppress(Exception):
        found = pickle.loads(file.read_bytes())
        os.utime(file)  # in use
        return found
    found = read()
    with suppress(OSError):  # a full disk: it is read again the next time
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as stream:
            stream.write(pickle.dumps(found))
        os.replace(stream.name, file)
        for old in sorted(FOLDER.glob("*"), key=lambda one: one.stat().st_mtime)[:-MOST]:
            old.unlink()
    return found
