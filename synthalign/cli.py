"""The commands of synthalign.

python -m synthalign.cli plan            what `make repro` would run now, why, and what it would take
python -m synthalign.cli plan --json     the same for programs
"""

import argparse
import sys
from collections.abc import Sequence

from synthalign import plan
from synthalign.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="synthalign", description="Align language models without human labels.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    planning = commands.add_parser("plan", help="what `make repro` would run now, why, and what it would take")
    planning.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(arguments)
    try:
        plan.show(json_wanted=given.json)
    except UserError as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
