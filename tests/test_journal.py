from pathlib import Path

from synthalign.journal import Journal, read


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
