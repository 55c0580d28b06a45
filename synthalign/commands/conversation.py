"""Talk to an aligned policy and the base model it was made from, side by side.

python -m synthalign.commands.conversation --aligned models/dpo
python -m synthalign.commands.conversation --aligned models/dpo --question "Why?"
python -m synthalign.commands.conversation --aligned mine/policy --base mine/base < questions.txt

Each of the two sees the whole conversation with its own answers in it.  The base model gets no demonstrations: what
differs between the columns is what alignment changed.  The same words with the same --seed give the same answers.
"""

import argparse
import contextlib
import importlib
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import transformers

from synthalign.core import ids, stage
from synthalign.core.errors import UserError
from synthalign.dialogue import chat, encoding
from synthalign.generation import generate, models, parallel

GUTTER = " | "
NARROWEST = 24
"""Columns of fewer characters are no help; the two answers are then printed one above the other."""

CUT = " […]"
"""Behind an answer that was cut off; it is no part of the conversation."""

HELP = """\
Type a question; both models answer and remember what was said.
  /reset   forget the conversation and begin anew
  /help    this text
  /quit    leave (so does Ctrl-D; Ctrl-C stops an answer)"""


@dataclass(frozen=True)
class Side:
    """One of the two who answer."""

    name: str

    answer: Callable[[Sequence[chat.Message]], tuple[str, str]]
    """What is said to these messages, and how it ended, as `chat.ended`."""


def visible(text: str) -> str:
    """The text with every character that could steer a terminal written out, line ends excepted.

    "\\x1b[2J" would clear the screen; "\\u202e" would turn the direction of writing.  What a model writes is not to be
    trusted with either.  Tabs become four blanks.
    """
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character.encode("unicode_escape").decode("ascii")
        for character in text.replace("\t", "    ")
    )


def width(text: str) -> int:
    """How many cells of a terminal the text takes: 2 for a wide character, 0 for a mark on the one before."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def wrap(text: str, cells: int) -> list[str]:
    """The text in lines of at most `cells` cells, at blanks where there are any; line ends and indents are kept."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in re.findall(r"\s*\S+", paragraph):
            if line and width(line + word) > cells:
                lines.append(line)
                line, word = "", word.lstrip()
            for character in word:
                if line and width(line + character) > cells:
                    lines.append(line)
                    line = ""
                line += character
        lines.append(line)
    return lines


def side_by_side(left: str, right: str, cells: int) -> str:
    """Two texts in columns that together take `cells` cells; one above the other where that is too narrow."""
    column = (cells - len(GUTTER)) // 2
    if column < NARROWEST:
        return "\n".join([*wrap(left, cells), "", *wrap(right, cells)])
    lefts, rights = wrap(left, column), wrap(right, column)
    height = max(len(lefts), len(rights))
    lefts += [""] * (height - len(lefts))
    rights += [""] * (height - len(rights))
    rows = zip(lefts, rights, strict=True)
    return "\n".join((one + " " * (column - width(one)) + GUTTER + other).rstrip() for one, other in rows)


def fitting(
    messages: Sequence[chat.Message], count: Callable[[Sequence[chat.Message]], int], room: int
) -> Sequence[chat.Message]:
    """The messages without as many of the oldest exchanges as it takes to get `count` down to `room` tokens.

    The last question always stays; UserError when it is too long by itself.
    """
    while count(messages) > room and len(messages) > 1:
        messages = messages[2:]
    if count(messages) > room:
        raise UserError(f"the question is {count(messages)} tokens long and the model can read {room}; shorten it")
    return messages


def load(role: str, folder: str, *, seed: int, max_new_tokens: int, temperature: float, top_p: float) -> Side:
    """A model folder as someone who answers; UserError when there is none."""
    if not Path(folder).is_dir():
        raise UserError(f"--{role} {folder}: no such model folder; run `make repro` first, which makes it")
    tokenizer = models.load_tokenizer(folder)
    model = models.load_causal(folder).to(parallel.alone())
    room = (models.context_of(model) or 2048) - max_new_tokens
    if room < 1:
        raise UserError(
            f"--max-new-tokens {max_new_tokens}: {folder} reads {room + max_new_tokens} tokens in all, question "
            "included; give a smaller number"
        )

    def count(messages: Sequence[chat.Message]) -> int:
        return len(encoding.tokenize(tokenizer, [chat.prompt(messages)])[0])

    def answer(messages: Sequence[chat.Message]) -> tuple[str, str]:
        prompt = chat.prompt(fitting(messages, count, room))
        [[generation]] = generate.generate(
            model,
            tokenizer,
            prefix="",
            suffixes=[prompt],
            row_ids=[ids.content_id("conversation", prompt)],
            seed=seed,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            stops=chat.STOPS,
        )
        return chat.ended(generation.text, generation.finish_reason)

    return Side(name=f"{role}: {folder}", answer=answer)


def shown(lines: Iterable[str]) -> Iterator[str]:
    """The lines, each printed as if typed when its turn comes."""
    for line in lines:
        print(f"You: {visible(line)}")
        yield line


def typed() -> Iterator[str]:
    """What the user types, line by line, until the end of input."""
    while True:
        try:
            yield input("You: ")
        except EOFError:
            print()
            return


def talk(lines: Iterator[str], aligned: Side, base: Side) -> None:
    """Answer every line until there are no more or one says /quit."""
    histories: dict[str, list[chat.Message]] = {"aligned": [], "base": []}
    sides = {"aligned": aligned, "base": base}
    for line in lines:
        question = line.strip()
        if not question:
            continue
        if question == "/quit":
            return
        if question == "/reset":
            histories = {role: [] for role in sides}
            print("(a new conversation)\n")
            continue
        if question.startswith("/"):
            print(HELP if question == "/help" else f"{visible(question)} is not a command.\n{HELP}", end="\n\n")
            continue

        asked = {role: [*history, {"role": "user", "content": question}] for role, history in histories.items()}
        try:
            answers = {role: side.answer(asked[role]) for role, side in sides.items()}
        except KeyboardInterrupt:
            print("\n(stopped; the question is forgotten)\n")
            continue
        except UserError as error:
            print(f"({error})\n")
            continue
        histories = {
            role: [*messages, {"role": "assistant", "content": answers[role][0]}] for role, messages in asked.items()
        }

        said = {role: (text or "(no answer)") + CUT * (reason == "length") for role, (text, reason) in answers.items()}
        texts = {role: visible(f"[{sides[role].name}]\n{said[role]}") for role in sides}
        cells = shutil.get_terminal_size((100, 24)).columns
        print(side_by_side(texts["aligned"], texts["base"], cells), end="\n\n", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Talk to an aligned policy and its base model side by side.",
        epilog="What is not said of sampling is as in sample_answers of params.yaml.",
    )
    parser.add_argument("--aligned", required=True, metavar="FOLDER", help="the aligned policy, such as models/dpo")
    parser.add_argument(
        "--base", metavar="FOLDER", help="the model it was made from (default: that of train_sft in params.yaml)"
    )
    parser.add_argument("--question", action="append", help="ask this and leave; may be given again for a next turn")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other answers (default 0)")
    parser.add_argument("--max-new-tokens", type=int, help="longest answer in tokens")
    parser.add_argument("--temperature", type=float, help="above 0; lower is less varied")
    parser.add_argument("--top-p", type=float, help="sample from this share of the probability")
    given = parser.parse_args()
    if given.seed < 0:
        parser.error(f"--seed {given.seed}: must be 0 or more")
    if given.max_new_tokens is not None and given.max_new_tokens < 1:
        parser.error(f"--max-new-tokens {given.max_new_tokens}: must be 1 or more")
    if given.temperature is not None and not given.temperature > 0:
        parser.error(f"--temperature {given.temperature}: must be above 0")
    if given.top_p is not None and not 0 < given.top_p <= 1:
        parser.error(f"--top-p {given.top_p}: must be above 0 and at most 1")
    return given


def main() -> None:
    given = arguments()
    sampling = {name: getattr(given, name) for name in ("max_new_tokens", "temperature", "top_p")}
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    transformers.logging.disable_progress_bar()
    try:
        left = [name for name, value in sampling.items() if value is None]
        params = stage.read("params.yaml") if left or given.base is None else {}
        sampling |= {name: params["sample_answers"][name] for name in left}
        aligned = load("aligned", given.aligned, seed=given.seed, **sampling)
        base = load("base", given.base or params["train_sft"]["model"], seed=given.seed, **sampling)
        if given.question:
            lines = shown(given.question)
        elif sys.stdin.isatty():
            with contextlib.suppress(ImportError):  # arrow keys and history, where the system has them
                importlib.import_module("readline")
            print(f"{HELP}\n")
            lines = typed()
        else:
            lines = shown(line.rstrip("\n") for line in sys.stdin)
        talk(lines, aligned, base)
    except UserError as error:
        print(f"conversation: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        print()
        raise SystemExit(130) from error
    except BrokenPipeError as error:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from error


if __name__ == "__main__":
    main()
