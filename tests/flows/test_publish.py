"""Published folders, and a reader that looks at them while they are made."""

import hashlib
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml

from flows import publish
from tests import small_tables

ROOT = Path(__file__).resolve().parents[2]
TODAY = date(2026, 11, 21)
TABLES = [f"data/t{number}.parquet" for number in range(20)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("{}\n")
    for needed in ("queries", "synthalign"):
        Path(needed).symlink_to(ROOT / needed)
    write("one")
    yield tmp_path


def write(text: str) -> None:
    """All files of a run whose every file says the same, and its dvc.lock."""
    paths = [*TABLES, "data/notes.txt", "metrics/score.json", "report/index.html", "models/m/weights"]
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    lock(paths)


def lock(paths: list[str], **others: Any) -> None:
    """The dvc.lock of a stage that wrote these files as they are now, and of others."""
    old = {"path": "data/old.parquet", "md5": "of a stage that is no more"}
    stages = {"all": {"outs": [out(path) for path in paths]}, "former": {"outs": [old]}, **others}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))


def out(path: str) -> dict[str, str]:
    return {"path": path, "hash": "md5", "md5": hashlib.md5(Path(path).read_bytes()).hexdigest()}


def test_tables_metrics_report_and_lock_are_published_and_nothing_else() -> None:
    found, is_new = publish.publish(["all"], TODAY)

    published = [*TABLES, "metrics/score.json", "report/index.html"]
    text = "\n".join([Path("dvc.lock").read_text(), *sorted(published)])
    short = hashlib.sha256(text.encode()).hexdigest()[:8]
    assert (found, is_new) == (Path(f"published/2026-11-21-{short}"), True)
    assert sorted(str(file.relative_to(found)) for file in found.rglob("*") if file.is_file()) == sorted(
        [*published, "dvc.lock", "params.yaml"]
    )
    assert os.readlink("published/latest") == found.name


def test_the_same_lock_is_published_once_whatever_the_day() -> None:
    first, _ = publish.publish(["all"], TODAY)

    assert publish.publish(["all"], date(2026, 11, 22)) == (first, False)
    assert sorted(os.listdir("published")) == [first.name, "latest"]


def test_a_run_without_tables_is_published() -> None:
    lock(["metrics/score.json"])

    found, is_new = publish.publish(["all"], TODAY)

    assert is_new and sorted(os.listdir(found)) == ["dvc.lock", "metrics", "params.yaml"]


def test_a_run_of_more_stages_is_published_with_the_tables_of_all() -> None:
    lock(TABLES[:2], rlcd={"outs": [out(TABLES[2])]})
    first, _ = publish.publish(["all"], TODAY)

    second, is_new = publish.publish(["all", "rlcd"], TODAY)

    assert is_new and second != first
    assert [sorted(os.listdir(folder / "data")) for folder in (first, second)] == [
        ["t0.parquet", "t1.parquet"],
        ["t0.parquet", "t1.parquet", "t2.parquet"],
    ]
    assert publish.publish(["all"], TODAY) == (second, False)  # which has all of it


def test_settings_that_were_edited_since_publish_nothing() -> None:
    rlcd, rate = {"pairs": 8, "names": ["a", None]}, 1e-05
    checked = {"params": {"params.yaml": {"rlcd": rlcd, "ppo": {"rate": rate}}}}
    lock(TABLES, check_settings=checked)
    Path("params.yaml").write_text("ppo:\n  rate: 2e-5  # more\nrlcd: {names: [a, null], pairs: 8}\nnew: {}\n")

    told = "publish: params.yaml is not what dvc.lock says of new, ppo; run the flow again"
    with pytest.raises(ValueError, match=told):
        publish.publish(["all", "check_settings"], TODAY)
    assert not Path("published/latest").exists()

    # another order, another way to write it and words above a key are the same settings
    Path("params.yaml").write_text("# less\nppo:\n  rate: 1.0e-5\nrlcd: {names: [a, ~], pairs: 8}\n")
    found, _ = publish.publish(["all", "check_settings"], TODAY)
    assert (found / "params.yaml").read_text().startswith("# less")


def test_a_lock_that_comes_back_is_linked_again() -> None:
    first, _ = publish.publish(["all"], TODAY)
    write("two")
    publish.publish(["all"], TODAY)
    write("one")

    assert publish.publish(["all"], TODAY) == (first, True)
    assert os.readlink("published/latest") == first.name


def test_a_file_that_is_not_what_the_lock_says_publishes_nothing() -> None:
    first, _ = publish.publish(["all"], TODAY)
    write("two")
    Path(TABLES[-1]).write_text("meanwhile")

    with pytest.raises(ValueError, match=f"publish: {TABLES[-1]} is not what dvc.lock says; run `dvc status`"):
        publish.publish(["all"], TODAY)

    assert os.readlink("published/latest") == first.name
    # what was begun is removed by the next one
    write("two")
    second, _ = publish.publish(["all"], TODAY)
    assert sorted(os.listdir("published")) == sorted([first.name, second.name, "latest"])


def test_a_stage_that_the_lock_does_not_have_publishes_nothing() -> None:
    with pytest.raises(ValueError, match="publish: dvc.lock has no entry of train_ppo; run the flow again"):
        publish.publish(["all", "train_ppo"], TODAY)

    assert not Path("published/latest").exists()


def test_a_reader_always_sees_a_whole_run() -> None:
    publish.publish(["all"], TODAY)
    stop, seen, wrong = Event(), set[str](), list[str]()

    def read() -> None:
        while not stop.is_set():
            for name in os.listdir("published"):
                if name.startswith("."):
                    continue
                folder = Path("published", os.readlink(f"published/{name}") if name == "latest" else name)
                texts = {(folder / path).read_text() for path in [*TABLES, "report/index.html"]}
                seen.add(min(texts))
                if len(texts) != 1:
                    wrong.append(f"{folder}: {texts}")

    def guarded() -> None:
        try:
            read()
        except Exception as error:
            wrong.append(repr(error))

    reader = Thread(target=guarded)
    reader.start()
    for number in range(12):
        write(f"run {number}" * 1000)
        publish.publish(["all"], TODAY)
    stop.set()
    reader.join()

    assert wrong == []
    assert len(seen) > 1


def test_a_table_that_breaks_a_rule_publishes_nothing_and_shows_the_rows() -> None:
    table = "data/queries.parquet"
    twice = small_tables.rows()["queries"] + small_tables.rows()["queries"][:1]
    small_tables.write(Path("."), {"queries": twice})
    lock([table])

    with pytest.raises(ValueError, match=r"(?s)queries: a query_id is there once.*yak.*2") as told:
        publish.publish(["all"], TODAY)

    assert "`make check-tables` shows all" in str(told.value)
    assert not Path("published/latest").exists()

    small_tables.write(Path("."), {"queries": small_tables.rows()["queries"]})
    lock([table])
    assert publish.publish(["all"], TODAY)[1]
