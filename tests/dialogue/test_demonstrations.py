from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.dialogue import demonstrations

USER = '{"role": "user", "content": "Why?"}'
ASSISTANT = '{"role": "assistant", "content": "Because."}'
GOOD = f'{{"messages": [{USER}, {ASSISTANT}]}}'


def file(folder: Path, *lines: str) -> Path:
    path = folder / "demonstrations.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_file_is_an_optional_system_paragraph_and_dialogues(tmp_path: Path) -> None:
    loaded = demonstrations.load(file(tmp_path, '{"system": "Be kind."}', GOOD, GOOD))

    assert loaded.system == "Be kind."
    assert loaded.dialogues == 2 * [[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]]


def test_no_shots_are_none_and_too_many_are_an_error(tmp_path: Path) -> None:
    loaded = demonstrations.load(file(tmp_path, GOOD, GOOD.replace("Why", "How")))

    assert loaded.take(0) == []
    assert [dialogue[0]["content"] for dialogue in loaded.take(1)] == ["Why?"]
    with pytest.raises(UserError, match="shots = 3, but it has 2 dialogues"):
        loaded.take(3)


@pytest.mark.parametrize(
    "line, message",
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: '.1.' where one key"),
        ('{"messages": [], "extra": 1}', "line 2: .*extra.* where one key"),
        ('{"messages": "hi"}', "line 2: messages is 'hi'"),
        (f'{{"messages": [{ASSISTANT}, {USER}]}}', "line 2, message 1: role is 'assistant' where 'user' must come"),
        (f'{{"messages": [{USER}, {USER}]}}', "line 2, message 2: role is 'user' where 'assistant' must come"),
        (f'{{"messages": [{USER}]}}', "line 2: the dialogue ends with the user"),
        (GOOD.replace("Because.", "  "), "line 2, message 2: content is '  '"),
        (GOOD.replace('"content": "Why?"', '"text": "Why?"'), "line 2, message 1: .* needs role and content"),
        ('{"system": "Late."}', "line 2: a system paragraph can only be the first line"),
    ],
)
def test_a_wrong_line_is_named_with_its_value(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        demonstrations.load(file(tmp_path, GOOD, line))


def test_a_byte_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + GOOD.encode().replace(b"Why", b"W\xffy"))

    with pytest.raises(UserError, match=r"line 2, byte \d+: 0xff is not UTF-8"):
        demonstrations.load(path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match="nowhere.jsonl: cannot be read"):
        demonstrations.load("nowhere.jsonl")


def test_the_prefix_of_no_shots_is_empty_and_shots_need_a_file(tmp_path: Path) -> None:
    path = str(file(tmp_path, '{"system": "Be kind."}', GOOD))

    assert demonstrations.prefix(path, 0) == ""
    assert demonstrations.prefix(None, 0) == ""
    assert demonstrations.prefix(path, 1) == "Be kind.\n\n-----\n\nHuman: Why?\n\nAssistant: Because.\n\n-----\n\n"
    with pytest.raises(UserError, match="without a file"):
        demonstrations.prefix(None, 1)


@pytest.mark.parametrize("mark", ["Human:", "Assistant:", "-----"])
def test_a_demonstration_that_marks_turns_itself_is_refused(tmp_path: Path, mark: str) -> None:
    with pytest.raises(UserError, match=f"line 2, message 2: the text holds '{mark}', which marks turns"):
        demonstrations.load(file(tmp_path, GOOD, GOOD.replace("Because.", f"Because {mark} so.")))
    if mark != "-----":
        with pytest.raises(UserError, match=f"line 1: system brings '{mark}', which marks turns"):
            demonstrations.load(file(tmp_path, f'{{"system": "Be kind.\\n\\n{mark} Hi."}}', GOOD))


def test_the_layout_of_sharegpt_is_read_as_it_is(tmp_path: Path) -> None:
    human, gpt = '{"from": "human", "value": "Why?"}', '{"from": "gpt", "value": "Because."}'

    loaded = demonstrations.load(file(tmp_path, GOOD, f'{{"conversations": [{human}, {gpt}]}}'))

    assert loaded.dialogues[0] == loaded.dialogues[1]
    with pytest.raises(UserError, match="line 1, message 2: role is 'human' where 'assistant' must come"):
        demonstrations.load(file(tmp_path, f'{{"conversations": [{human}, {human}]}}'))
