"""Where the environments of peers are that do not fit into this project's own; README.md says how to make them."""

import os
from pathlib import Path


def environment(name: str, program: str = "bin/python") -> Path:
    """The folder of a peer that has this program: $SYNTHALIGN_PEERS/<name>, by default .work/peers/<name>."""
    folder = Path(os.environ.get("SYNTHALIGN_PEERS", ".work/peers")) / name
    if not (folder / program).exists():
        raise SystemExit(
            f"{folder}: no environment of the peer {name!r}; benchmarks/peers/README.md says how to make it"
        )
    return folder
