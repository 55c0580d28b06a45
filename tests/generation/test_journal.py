"""A journal that was torn, damaged, or written where the disk was full: what is whole counts, and nothing else."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthalign.core import stage
from synthalign.generation.journal import Journal, read


def written(path: Path) -> Path:
    journal = Journal(path)
    journal.append("a", {"text": "é\n\u2028"})
    journal.append("b", [1, 2.5, None])
    journal.close()
    return path


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    assert Journal(written(tmp_path / "rows.jsonl")).done == {"a": {"text": "é\n\u2028"}, "b": [1, 2.5, None]}


def test_a_torn_last_line_costs_its_row_alone_and_the_next_line_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl")
    content = path.read_bytes()
    for cut in range(content.index(b"\n") + 2, len(content) - 1):
        path.write_bytes(content[:cut])
        journal = Journal(path)
        assert set(journal.done) == {"a"}
        assert journal.damaged == 1
        journal.append("c", cut)
        journal.close()
        assert read(path)[0].keys() == {"a", "c"}


def test_a_line_with_a_flipped_character_is_not_believed(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl")
    path.write_bytes(path.read_bytes().replace(b"2.5", b"2.6"))

    assert read(path) == ({"a": {"text": "é\n\u2028"}}, 1)


def test_half_a_surrogate_survives(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl")
    journal.append("a", "\ud800")
    journal.close()

    assert read(tmp_path / "rows.jsonl") == ({"a": "\ud800"}, 0)


def test_a_damaged_line_in_the_middle_costs_its_row_alone_whatever_was_done_to_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    journal = Journal(path)
    for row in ("a", "b", "c"):
        journal.append(row, [row])
    journal.close()
    first, middle, last = path.read_bytes().splitlines(keepends=True)

    for damaged in (
        middle.replace(b'"b"', b'"x"', 1),  # another id
        middle.replace(b'["b"]', b'["x"]'),  # another record
        middle[:-4] + b"\n",  # cut
        b"\0" * len(middle) + b"\n",  # a block that never reached the disk
        b'{"id": "b"}\n',  # no record
        b"[1]\n",  # not a line of a journal at all
        b"\xff\xfe\n",  # not text
    ):
        path.write_bytes(first + damaged + last)
        assert read(path) == ({"a": ["a"], "c": ["c"]}, 1), damaged

        again = Journal(path)
        again.append("b", ["b"])
        again.close()
        assert read(path) == ({"a": ["a"], "b": ["b"], "c": ["c"]}, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_when_there_is_room_again_nothing_is_lost(small_disk: Path) -> None:
    other = small_disk / "other"
    other.write_bytes(b"x" * 2**19)
    path = small_disk / "rows.jsonl"
    journal = Journal(path)
    whole = []
    with pytest.raises(OSError) as caught:
        for row in map(str, range(2000)):
            journal.append(row, row * 200)
            whole.append(row)
    assert caught.value.errno == errno.ENOSPC
    assert stage.is_full_disk(caught.value)
    assert read(path)[0].keys() == set(whole)  # every row that `append` returned for
    assert str(len(whole)) not in journal.done

    with pytest.raises(OSError):
        journal.close()  # what it could not write, it still cannot
    other.unlink()
    again = Journal(path)
    assert list(again.done) == whole
    again.append(str(len(whole)), "there is room")
    again.close()
    assert list(read(path)[0]) == [*whole, str(len(whole))]
