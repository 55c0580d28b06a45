"""`make chat`: the layout by hand, and whole conversations with two tiny models through a pipe."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from synthalign.commands import conversation
from synthalign.core.errors import UserError
from tests import tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an aligned policy `ppo` and a model `base` that say different things."""
    root = tmp_path_factory.mktemp("models")
    tokenizer = tiny.tokenizer()
    tiny.save(root / "ppo", tiny.causal(seed=1), tokenizer)
    tiny.save(root / "base", tiny.causal(seed=2), tokenizer)
    return root


SAMPLING = ("--max-new-tokens", "8", "--temperature", "0.7", "--top-p", "0.9")


def chat_with(
    folder: Path,
    *options: str,
    typed: bytes = b"",
    base: tuple[str, ...] = ("--base", "base"),
    sampling: tuple[str, ...] = SAMPLING,
) -> subprocess.CompletedProcess[bytes]:
    """The command in this process, in the folder that holds the models, 100 columns wide, with `typed` piped in."""
    words, code = ["conversation", "--aligned", "ppo", *base, *sampling, *options], 0
    given, out, err = (io.TextIOWrapper(io.BytesIO(text), encoding="utf-8") for text in (typed, b"", b""))
    with pytest.MonkeyPatch.context() as here, redirect_stdout(out), redirect_stderr(err):
        here.chdir(folder)
        here.setenv("COLUMNS", "100")
        here.setattr(sys, "argv", words)
        here.setattr(sys, "stdin", given)
        try:
            conversation.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    said = []
    for stream in (out, err):
        stream.flush()
        said.append(stream.buffer.getvalue())  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(words, code, *said)


def test_the_base_beside_a_policy_is_the_one_that_params_name(folder: Path) -> None:
    (folder / "params.yaml").write_text("train_sft: {model: base}\n")
    named = chat_with(folder, "--question", "Where does it live?")

    told = chat_with(folder, "--question", "Where does it live?", base=())

    assert named.returncode == told.returncode == 0
    assert told.stdout == named.stdout and b"[base: base]" in told.stdout


def test_answers_are_sampled_as_the_profile_does_where_nothing_else_is_said(folder: Path) -> None:
    (folder / "params.yaml").write_text("sample_answers: {max_new_tokens: 40, temperature: 1.0, top_p: 0.5}\n")
    asked = ("--question", "Where does it live?")
    sampling = ("--max-new-tokens", "40", "--temperature", "1.0", "--top-p", "0.5")

    told, named = chat_with(folder, *asked, sampling=()), chat_with(folder, *asked, sampling=sampling)
    short = chat_with(folder, *asked, sampling=("--max-new-tokens", "8"))

    assert told.returncode == short.returncode == 0, told.stderr + short.stderr
    assert told.stdout == named.stdout
    assert len(short.stdout) < len(told.stdout)


def test_an_answer_that_is_cut_off_says_so_and_is_remembered_as_it_was_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = conversation.load("base", str(folder / "base"), seed=0, max_new_tokens=8, temperature=1.0, top_p=1.0)
    seen = []

    def answer(messages):
        seen.append([message["content"] for message in messages])
        return endless.answer(messages)

    brief = conversation.Side(name="brief", answer=lambda messages: ("In the forest.", "eos"))
    conversation.talk(iter(["Where?", "Why?"]), brief, conversation.Side(name="endless", answer=answer))

    [_, (_, said, _)] = seen
    assert endless.answer([{"role": "user", "content": "Where?"}]) == (said, "length")
    assert "[…]" not in said
    shown = capsys.readouterr().out
    assert shown.count("[…]") == 2 and "forest. […]" not in shown


def test_control_characters_are_written_out_and_letters_of_any_script_are_kept():
    assert conversation.visible("a\x1b[2Jb\x07\r\n\tc") == "a\\x1b[2Jb\\x07\\r\n    c"
    assert conversation.visible("\u202eabc\u2066\u2028\x9b") == "\\u202eabc\\u2066\\u2028\\x9b"
    assert conversation.visible("größer 東京 e\u0301 🦊") == "größer 東京 e\u0301 🦊"


def test_a_wide_character_takes_two_cells_and_an_accent_none():
    assert conversation.width("ab") == 2
    assert conversation.width("東京") == 2 * 2
    assert conversation.width("e\u0301") == 1 + 0


def test_text_is_wrapped_at_blanks_and_a_long_word_is_cut():
    assert conversation.wrap("one two three", 7) == ["one two", "three"]
    assert conversation.wrap("abcdefghij k", 4) == ["abcd", "efgh", "ij k"]
    assert conversation.wrap("東京都", 4) == ["東京", "都"]


def test_line_ends_and_indents_survive_wrapping():
    assert conversation.wrap("for x:\n    y\n\nend", 20) == ["for x:", "    y", "", "end"]


def test_two_columns_share_the_width_of_the_terminal():
    # 53 cells: (53 - 3) // 2 = 25 for each column and 3 between them.
    shown = conversation.side_by_side("left\nof it", "right", 53)

    assert shown == "left" + " " * 21 + " | right\nof it" + " " * 20 + " |"


def test_a_narrow_terminal_gets_one_above_the_other():
    # (50 - 3) // 2 = 23 cells for each would be fewer than 24.
    assert conversation.side_by_side("left", "right", 50) == "left\n\nright"


def test_the_oldest_exchanges_are_forgotten_when_the_model_cannot_read_all():
    messages = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant", "user")]

    def ten_each(given):
        return 10 * len(given)

    assert conversation.fitting(messages, ten_each, room=50) == messages
    assert conversation.fitting(messages, ten_each, room=49) == messages[2:]
    assert conversation.fitting(messages, ten_each, room=10) == messages[4:]
    with pytest.raises(UserError, match="10 tokens long and the model can read 9"):
        conversation.fitting(messages, ten_each, room=9)


def test_a_model_sees_its_own_earlier_answers_until_reset():
    seen: dict[str, list[list[str]]] = {"aligned": [], "base": []}

    def speaker(role: str) -> conversation.Side:
        def answer(messages):
            seen[role].append([message["content"] for message in messages])
            return f"{role} {len(seen[role])}", "eos"

        return conversation.Side(name=role, answer=answer)

    lines = ["one", "", "two", "/reset", "three", "/quit", "four"]
    conversation.talk(iter(lines), speaker("aligned"), speaker("base"))

    assert seen["aligned"] == [["one"], ["one", "aligned 1", "two"], ["three"]]
    assert seen["base"] == [["one"], ["one", "base 1", "two"], ["three"]]


def test_an_interrupted_answer_is_forgotten_and_the_conversation_goes_on(capsys):
    seen = []

    def answer(messages):
        seen.append([message["content"] for message in messages])
        if messages[-1]["content"] == "slow":
            raise KeyboardInterrupt
        return "fine", "eos"

    side = conversation.Side(name="model", answer=answer)
    conversation.talk(iter(["slow", "quick"]), side, side)

    assert seen == [["slow"], ["quick"], ["quick"]]
    assert "(stopped; the question is forgotten)" in capsys.readouterr().out


def test_what_a_model_writes_cannot_steer_the_terminal(capsys):
    side = conversation.Side(name="model", answer=lambda messages: ("\x1b]0;owned\x07 hello", "eos"))

    conversation.talk(iter(["hi"]), side, side)

    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x07" not in shown
    assert "\\x1b]0;owned\\x07 hello" in shown


def test_commands_are_obeyed_and_nothing_is_answered_after_quit(capsys):
    side = conversation.Side(name="model", answer=lambda messages: ("never said", "eos"))

    conversation.talk(iter(["/dance\x1b", "/help", "/reset", "/quit", "What is a fox?"]), side, side)

    shown = capsys.readouterr().out
    assert "/dance\\x1b is not a command." in shown
    assert shown.count("/reset   forget the conversation") == 2  # after /dance and for /help
    assert "(a new conversation)" in shown
    assert "never said" not in shown


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(folder):
    def answer(seed: int) -> tuple[str, str]:
        side = conversation.load(
            "aligned", str(folder / "ppo"), seed=seed, max_new_tokens=8, temperature=1.0, top_p=1.0
        )
        return side.answer([{"role": "user", "content": "What is a fox?"}])

    assert answer(7) == answer(7)
    assert answer(7) != answer(8)


def test_an_answer_as_long_as_the_context_is_refused(folder):
    with pytest.raises(UserError, match="--max-new-tokens 512: .*reads 512 tokens in all"):
        conversation.load("base", str(folder / "base"), seed=0, max_new_tokens=512, temperature=1.0, top_p=1.0)


def test_every_piped_line_is_answered_by_both_and_the_end_of_input_leaves(folder):
    # The second line is not UTF-8; the third is longer than the 512 tokens that the tiny models read.
    done = subprocess.run(
        [sys.executable, "-m", "synthalign.commands.conversation", "--aligned", "ppo", "--base", "base", *SAMPLING],
        input=b"What is a fox?\ncaf\xe9 \x1b[2J?\n" + b"1234567890" * 300 + b"\nAnd now?\n",
        capture_output=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        timeout=300,
        check=False,
    )

    shown = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert "You: What is a fox?" in shown and "You: And now?" in shown
    assert shown.count("[aligned: ppo]") == 3 and shown.count("[base: base]") == 3
    assert "shorten it" in shown
    assert "\x1b" not in shown


def test_questions_given_as_options_are_the_turns_of_one_conversation(folder):
    done = chat_with(folder, "--question", "What is a fox?", "--question", "Why?", typed=b"not read\n")

    shown = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert shown.startswith("You: What is a fox?\n[aligned: ppo]")
    assert shown.index("[base: base]") < shown.index("You: Why?") < shown.rindex("[aligned: ppo]")
    assert "not read" not in shown


def test_a_missing_model_folder_is_one_line_that_names_the_next_step(tmp_path):
    done = chat_with(tmp_path, typed=b"hello\n")

    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode() == (
        "conversation: --aligned ppo: no such model folder; run `make repro` first, which makes it\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--seed", "-1", "0 or more"),
        ("--max-new-tokens", "0", "1 or more"),
        ("--temperature", "nan", "above 0"),
        ("--top-p", "1.5", "at most 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_a_model_loads(option, value, allowed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["conversation", "--aligned", "none", "--base", "none", f"{option}={value}"])

    with pytest.raises(SystemExit) as refused:
        conversation.main()

    assert refused.value.code == 2
    assert f"{option} {value}: must be " in (message := capsys.readouterr().err)
    assert allowed in message
