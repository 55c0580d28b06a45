"""The commands of synthalign.

python -m synthalign plan [TARGET …]         what `dvc repro` of these, or of all, would run now, why, what it takes;
                                             exits with 1 when something cannot run
python -m synthalign plan --json             the same for programs
python -m synthalign plan --memory           what every stage takes on a device; with --card 24GB whether that holds it,
                                             and what would make it fit; exits with 1 when something does not
python -m synthalign profile NAME            put a profile in force: params.yaml from profiles/base.yaml and NAME.yaml
python -m synthalign people                  files for the stages out of people's raw files (docs/data.md)
python -m synthalign export POLICY           weights, tokenizer and cards to give away (docs/export.md)
python -m synthalign bring FILE              fetch the files that a list names, pinned by hash (data/sources/)
python -m synthalign recover                 mend what a kill -9 of DVC left; exits with 1 when nothing was broken
python -m synthalign annotate export         a page on which people judge pairs of answers (docs/judging.md)
python -m synthalign annotate import FILE    what an annotator downloaded from it
python -m synthalign annotate agreement      how far judges agree, people among them
python -m synthalign sql "..."               ask the tables in DuckDB, or one of queries/; alone, it asks on
python -m synthalign check-tables            ask every table for the rows that offend; exits with 1 if there are any
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from synthalign.commands import bring, people, profiles, sql, table_checks
from synthalign.core.errors import UserError
from synthalign.feedback.people import HELDOUT, Limits
from synthalign.judging import agreement, annotation
from synthalign.reporting import text_tables


def commands_parser() -> argparse.ArgumentParser:
    """What is understood; docs/start.md lists all of it."""
    parser = argparse.ArgumentParser(prog="synthalign", description="Align language models without human labels.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    planning = commands.add_parser("plan", help="what `dvc repro` would run now, why, and what it would take")
    planning.add_argument("targets", nargs="*", metavar="TARGET", help="stages with what they need; without, all")
    planning.add_argument("--json", action="store_true", help="for programs")
    planning.add_argument("--memory", action="store_true", help="what every stage takes on one device instead")
    planning.add_argument("--card", metavar="24GB", help="with --memory: which stages a device of this size holds")
    add_profile(commands)
    add_people(commands)
    add_export(commands)
    bringing = commands.add_parser(
        "bring",
        help="fetch the files that a list names, each pinned by its hash",
        description="Fetch the files that a list names, each pinned by its sha256; what is there already stays. A "
        "file of the same name and hash in the folder that SYNTHALIGN_MIRROR names is taken instead.",
    )
    bringing.add_argument("file", type=Path, metavar="FILE", help="the list, as data/sources/pocket.yaml")
    commands.add_parser("recover", help="mend what a kill -9 of DVC left behind; exits with 1 when nothing was broken")
    annotating = commands.add_parser("annotate", help="people as judges: a page for them, their verdicts, agreement")
    add_annotate(annotating)
    add_sql(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    given = commands_parser().parse_args(arguments)
    try:
        if given.command == "plan" and (given.memory or given.card):
            from synthalign.commands import memory_card

            if given.targets or given.json:
                raise UserError("--memory is about every stage, as a table: leave TARGET and --json out")
            if not memory_card.show(given.card):
                raise SystemExit(1)
        elif given.command == "plan":
            from synthalign.commands import plan  # with DVC, which takes longer to import than a question to answer

            if not plan.show(given.targets, json_wanted=given.json):
                raise SystemExit(1)
        elif given.command == "profile":
            profiles.put_in_force(given.name, given.scale, given.set)
        elif given.command == "people":
            limits = Limits(shortest=given.shortest, longest=given.longest, rouge=given.rouge)
            people.make(given.folder, heldout=given.heldout, limits=limits)
        elif given.command == "export":
            write_export(given)
        elif given.command == "bring":
            bring.bring(given.file)
        elif given.command == "annotate":
            annotate(given)
        elif given.command == "sql":
            ask(given)
        elif given.command == "check-tables":
            table_checks.run(given.published)
        else:
            mend()
        sys.stdout.flush()
    except BrokenPipeError as error:  # who reads has had enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at its end
        raise SystemExit(128 + signal.SIGPIPE) from error
    except UserError as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def add_profile(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command that writes params.yaml."""
    composing = commands.add_parser("profile", help="put a profile in force: compose params.yaml from profiles/")
    composing.add_argument("name", nargs="?", help="one of profiles/, without .yaml; alone, it says which there are")
    composing.add_argument("--scale", default="1", help="all counts times this, by the rules in base.yaml (default: 1)")
    composing.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                           help="another value than the profile's, such as train_ppo.steps=8")  # fmt: skip


def add_people(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command that makes the stages' files out of people's."""
    making = commands.add_parser(
        "people",
        help="files for the stages out of people's raw files",
        description="Makes people_train.jsonl, hh_heldout.jsonl, pandalm_community.jsonl, pandalm_heldout.jsonl, "
        "seed_queries.txt, eval_questions.txt, heldout_text.jsonl, hhh.jsonl and truthfulqa.jsonl out of the files in "
        "raw/.",
    )
    usual = Limits()
    making.add_argument("--folder", type=Path, default=people.FOLDER, help="holds raw/ (default: data/people)")
    making.add_argument("--heldout", type=float, default=HELDOUT, metavar="SHARE",
                        help=f"of prompts and instructions, to measure with (default: {HELDOUT})")  # fmt: skip
    making.add_argument("--shortest", type=int, default=usual.shortest, metavar="N",
                        help=f"characters of a question (default: {usual.shortest})")  # fmt: skip
    making.add_argument("--longest", type=int, default=usual.longest, metavar="N",
                        help=f"characters of a question (default: {usual.longest})")  # fmt: skip
    making.add_argument("--rouge", type=float, default=usual.rouge, metavar="F1",
                        help=f"ROUGE-L from which questions are too much alike (default: {usual.rouge})")  # fmt: skip


def add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command that writes a policy's folder to give away."""
    writing = commands.add_parser("export", help="a policy as a folder to give away, with cards")
    writing.add_argument("policy", help="one of sample_answers.policies, or a folder below models/")
    writing.add_argument("--to", metavar="FOLDER", help="where (default: exports/POLICY)")
    writing.add_argument("--gguf", action="store_true", help="also a GGUF and a Modelfile, by llama.cpp's tools")
    writing.add_argument("--push", metavar="OWNER/NAME", help="upload it to the Hugging Face hub")
    writing.add_argument("--private", action="store_true", help="where --push makes a new place there, a private one")
    writing.add_argument("--licence", metavar="ID", help="published under (default: what the base model's card says)")
    writing.add_argument(
        "--force",
        action="store_true",
        help="replace what is no export: the folder, and with --push all that is on the hub",
    )


def write_export(given: argparse.Namespace) -> None:
    from synthalign.commands import export  # with torch, which no other command needs

    names = ("to", "gguf", "push", "private", "licence", "force")
    export.export(given.policy, **{name: getattr(given, name) for name in names})


def add_annotate(parser: argparse.ArgumentParser) -> None:
    """The sub-commands of `annotate`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    export = actions.add_parser("export", help="write a page on which a person judges pairs of answers")
    export.add_argument("--out", default="annotate.html", help="the page (default: annotate.html)")
    export.add_argument("--items", type=int, default=200, help="pairs of answers on it (default: 200)")
    export.add_argument("--seed", type=int, default=0, help="draws the pairs and which answer is first (default: 0)")
    export.add_argument("--scale", choices=list(annotation.CHOICES), default="verdict",
                        help="A, B or a tie, or 1 to 8 without a middle (default: verdict)")  # fmt: skip
    export.add_argument("--policies", nargs=2, metavar=("ONE", "OTHER"), help="these two alone (default: all pairs)")
    importing = actions.add_parser("import", help="add what an annotator downloaded to data/annotations/")
    importing.add_argument("file", help="the downloaded file")
    actions.add_parser("agreement", help="how far every two judges agree, and people among themselves")


def annotate(given: argparse.Namespace) -> None:
    if given.action == "export":
        annotation.export(given.out, count=given.items, seed=given.seed, scale=given.scale, policies=given.policies)
    elif given.action == "import":
        if not Path(given.file).is_file():  # before anything is read that the file would be compared with
            raise UserError(f"there is no file {given.file}; name what the annotator downloaded from the page")
        annotation.import_file(given.file)
    else:
        print(text_tables.plain(agreement.table(annotation.everybody())))


def add_sql(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The commands that read the tables."""
    asking = commands.add_parser("sql", help="ask the tables a question in DuckDB; alone, it asks on")
    asking.add_argument("question", nargs="?", help="SQL, or a .sql file such as those of queries/")
    asking.add_argument("--format", choices=("table", "csv", "json", "parquet"), help="table, or as --output ends")
    asking.add_argument("--output", type=Path, metavar="FILE", help="where the answer is written")
    asking.add_argument("--limit", type=int, metavar="N", help="at most so many rows")
    asking.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="read by getvariable('name')")
    checking = commands.add_parser("check-tables", help="ask every table for the rows that offend")
    for one in (asking, checking):
        one.add_argument("--published", metavar="NAME", help="the tables of published/NAME instead of these")


def ask(given: argparse.Namespace) -> None:
    """Answer the question that was given, or go on asking."""
    if wrong := [one for one in given.set if "=" not in one]:
        raise UserError(f"--set {wrong[0]}: write NAME=VALUE")
    variables = dict(one.partition("=")[::2] for one in given.set)
    if given.question is None:
        sql.interact(given.published)
        return
    sql.answer(
        given.question,
        form=given.format,
        output=given.output,
        published=given.published,
        limit=given.limit,
        variables=variables,
    )


def mend() -> None:
    """Say what was broken and is not any more."""
    from synthalign.commands import recover

    mended = recover.recover()
    for sentence in mended:
        print(f"recover: {sentence}", file=sys.stderr)
    if not mended:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
