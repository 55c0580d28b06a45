import gzip

import pytest
import yaml
from pydantic import BaseModel

from synthalign.core import text_file, yaml_file
from synthalign.core.errors import UserError, each, together

MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_no_text_at_the_beginning_nor_where_two_files_were_joined(tmp_path):
    (tmp_path / "a.txt").write_bytes(MARK + "Café?\r\n".encode() + MARK + b"Why?\rHow?\n")

    assert text_file.lines(tmp_path / "a.txt", step="") == ["Café?", "Why?", "How?"]
    assert text_file.read(tmp_path / "a.txt", step="") == "Café?\r\nWhy?\rHow?\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"one\ntwo\xe9\n", "line 2, byte 4: 0xe9 is not UTF-8; save the file as UTF-8"),
        ("Why?".encode("utf-16"), "line 1, byte 1: 0xff is not UTF-8; save the file as UTF-8"),
    ],
)
def test_a_file_in_another_encoding_is_named_with_line_and_byte(tmp_path, content, told):
    (tmp_path / "a.txt").write_bytes(content)

    with pytest.raises(UserError, match=f"a.txt, {told}"):
        text_file.read(tmp_path / "a.txt", step="")


def test_a_packed_file_is_unpacked_and_a_torn_one_named(tmp_path):
    packed = gzip.compress(b"Why?\n" * 99)
    (tmp_path / "a.txt.gz").write_bytes(packed)
    (tmp_path / "torn.txt.gz").write_bytes(packed[:-9])
    (tmp_path / "none.txt.gz").write_bytes(b"Why?")

    assert text_file.lines(tmp_path / "a.txt.gz", step="") == ["Why?"] * 99
    with pytest.raises(UserError, match="torn.txt.gz: cannot be unpacked .*; fetch it again"):
        text_file.read(tmp_path / "torn.txt.gz", step="fetch it again")
    with pytest.raises(UserError, match="none.txt.gz: cannot be read .*; fetch it again"):
        text_file.read(tmp_path / "none.txt.gz", step="fetch it again")
    with pytest.raises(UserError, match="nowhere.txt: cannot be read .*; fetch it again"):
        text_file.read(tmp_path / "nowhere.txt", step="fetch it again")


class Phrases(BaseModel):
    task: dict[str, list[str]]


def test_yaml_may_begin_with_a_mark_and_half_a_character_in_it_is_named_by_its_place(tmp_path):
    file = tmp_path / "phrases.yaml"
    file.write_bytes(MARK + yaml.safe_dump({"task": {"positive": ["kind 🦊"]}}, allow_unicode=True).encode())
    assert yaml_file.read(file, Phrases, example="x").task == {"positive": ["kind 🦊"]}

    file.write_text('task: {positive: [kind, "\\ud83e"]}')
    with pytest.raises(UserError, match=r"(?s)phrases.yaml: cannot be read .*invalid Unicode.*line 1, column 28"):
        yaml_file.read(file, Phrases, example="x")


def test_of_many_wrong_ones_ten_are_named_and_all_are_counted():
    def even(number):
        if number % 2:
            raise UserError(f"{number} is odd")
        return number

    assert each([2, 4], even) == [2, 4]
    with pytest.raises(UserError) as caught:
        each(range(30), even)
    assert str(caught.value).splitlines() == [*(f"{number} is odd" for number in range(1, 21, 2)), "… and 5 more"]
    assert str(together(["one"])) == "one"
