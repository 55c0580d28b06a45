"""The commands of synthalign.

python -m synthalign.cli plan            what `make repro` would run now, why, and what it would take
python -m synthalign.cli plan --json     the same for programs
python -m synthalign.cli recover         mend what a kill -9 of DVC left behind; exits with 1 when nothing was broken
"""

import argparse
import sys
from collections.abc import Sequence

from synthalign import plan, recover
from synthalign.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="synthalign", description="Align language models without human labels.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    planning = commands.add_parser("plan", help="what `make repro` would run now, why, and what it would take")
    planning.add_argument("--json", action="store_true", help="for programs")
    commands.add_parser("recover", help="mend what a kill -9 of DVC left behind; exits with 1 when nothing was broken")
    given = parser.parse_args(arguments)
    try:
        if given.command == "plan":
            plan.show(json_wanted=given.json)
        else:
            mend()
    except UserError as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def mend() -> None:
    """Say what was broken and is not any more."""
    mended = recover.recover()
    for sentence in mended:
        print(f"recover: {sentence}", file=sys.stderr)
    if not mended:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
