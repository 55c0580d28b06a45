"""Make the figures that are in metrics/ now the baseline of the gates: `python -m flows.accept`, flows/baseline.json.

Commit that file: from then on nightly runs are held to it.
"""

import argparse
import sys
from collections.abc import Sequence

from flows import gates


def main(arguments: Sequence[str]) -> None:
    assert __doc__ is not None
    argparse.ArgumentParser(prog="python -m flows.accept", description=__doc__).parse_args(arguments)
    try:
        wanted = gates.read_gates()
        old = gates.read_figures(gates.BASELINE) if gates.BASELINE.exists() else {}
    except ValueError as error:
        raise SystemExit(f"accept: {error}") from error
    found = gates.figures(list(wanted))
    missing = [name for name in wanted if name not in found]
    if missing:
        print("accept: not in metrics/, or no finite number:", *missing, sep="\n  ", file=sys.stderr)
        raise SystemExit(f"accept: run `dvc repro`, or correct the names in {gates.GATES}; the baseline is as it was")
    for name, now in found.items():
        before = old.get(name)
        print(f"{name}: {now['value']}" + ("" if before is None else f" (was {before['value']})"))
    gates.write_figures(found, gates.BASELINE)
    print(f"{gates.BASELINE}: {len(found)} figures; commit it")


if __name__ == "__main__":
    main(sys.argv[1:])
