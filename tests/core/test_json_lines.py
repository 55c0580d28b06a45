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


@pytest.mark.parametrize(
    "text", ["\\ud83e\\udd8a", "\\\\ud83e", "\\u00e9", "🦊", "\\\\\\ud83e\\udd8a"], ids=repr
)  # a pair, a backslash, a letter, the fox itself, a backslash and a pair
def test_whole_characters_and_backslashes_are_left_alone(tmp_path, text):
    (tmp_path / "a.jsonl").write_text(f'{{"text": "{text}"}}\n', encoding="utf-8")

    [found] = json_lines.texts(tmp_path / "a.jsonl")

    assert found.encode()


@pytest.mark.parametrize("half", ["\\ud83e", "\\uDD8A", "\\udd8a\\ud83e", "\\\\\\ud83e"], ids=repr)
def test_half_a_character_is_named_with_file_and_line_for_all_lines_at_once(tmp_path, half):
    lines = ['{"text": "fine"}', f'{{"text": "fox {half}!"}}', '{"text": "fine"}', f'{{"text": "{half}"}}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    with pytest.raises(UserError) as caught:
        json_lines.texts(tmp_path / "a.jsonl")

    told = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in told] == [f"{tmp_path / 'a.jsonl'}, line {number}" for number in (2, 4)]
    assert all("is half a character" in line and line.isprintable() for line in told)


def test_a_byte_order_mark_is_no_json_and_no_error(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n')

    assert json_lines.texts(tmp_path / "a.jsonl") == ["a", "b"]
