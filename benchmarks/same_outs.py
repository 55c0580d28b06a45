"""Whether a change of code changed a result: every output of two commits' dvc.lock, hash by hash.

    python -m benchmarks.same_outs 8d51fce          # against the working tree's dvc.lock
    python -m benchmarks.same_outs 8d51fce HEAD     # between two commits

Names each output that differs, that is gone or new, counts the rest, and exits with 1 where any differs. Metrics and
plots are outputs too. Exits with 2 where one side has no dvc.lock.
"""

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml

Outs = dict[tuple[str, str], str]
"""The hash of every output by (stage, path)."""


def outs(lock: str) -> Outs:
    """The outputs that the text of a dvc.lock records."""
    stages = yaml.load(lock, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
    return {(name, out["path"]): out["md5"] for name, stage in stages.items() for out in stage.get("outs", [])}


def differences(old: Outs, new: Outs) -> list[str]:
    """A line for every output that is not the same in both."""
    lines = []
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            what = "gone" if key not in new else "new" if key not in old else "differs"
            lines.append(f"{what:8} {key[0]}: {key[1]}")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_outs", description=__doc__.splitlines()[0])
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", nargs="?", help="another commit; without it, dvc.lock as it lies here")
    given = parser.parse_args(arguments)

    def of(commit: str) -> Outs:
        done = subprocess.run(["git", "show", f"{commit}:dvc.lock"], check=False, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["git says nothing"])[0]
            parser.exit(2, f"same_outs: no dvc.lock of {commit}: {said}\n")
        return outs(done.stdout)

    if not given.new and not Path("dvc.lock").is_file():
        parser.exit(2, "same_outs: there is no dvc.lock here; go to the root of the repository, or name two commits\n")
    old, new = of(given.old), of(given.new) if given.new else outs(Path("dvc.lock").read_text(encoding="utf-8"))
    lines = differences(old, new)
    print("\n".join([*lines, f"{len(lines)} of {len({*old, *new})} outputs differ"]))
    raise SystemExit(bool(lines))


if __name__ == "__main__":
    main()
