import pytest

from synthalign.core import json_lines
from synthalign.core.errors import UserError


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\u00a0"])
def test_only_a_line_feed_ends_a_line(tmp_path, inside):
    file = tmp_path / "texts.jsonl"
    file.write_bytes(f'{{"text": "one{inside}and"}}\r\n\n{{"text": "two"}}\n'.encode())

    assert [number for number, _ in json_lines.lines(file)] == [1, 3]
    assert json_lines.texts(file) == [f"one{inside}and", "two"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"text": "a"}\n{"text": "W\xffy"}', "line 2, byte 12: 0xff is not UTF-8; save the file as UTF-8"),
        (b'{"text": "a"}\n\nb', r"line 3: not JSON .*: 'b'; write one object {\"text\": …} a line"),
        (b'{"text": "a"}\n{"text": 1}', "line 2: .* is not of the form"),
        (b" \r\n", "no texts"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, content, told):
    file = tmp_path / "texts.jsonl"
    file.write_bytes(content)

    with pytest.raises(UserError, match=told):
        json_lines.texts(file)


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none.jsonl: cannot be read \(No such file or directory\); fetch it, or name"):
        json_lines.texts(tmp_path / "none.jsonl")
