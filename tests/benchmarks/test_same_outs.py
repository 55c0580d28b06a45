"""Outputs of two locks, compared hash by hash."""

from benchmarks.same_outs import differences, outs

LOCK = """
schema: '2.0'
stages:
  mine:
    cmd: python mine.py
    deps:
    - {path: mine.py, hash: md5, md5: 11, size: 3}
    outs:
    - {path: data/queries.parquet, hash: md5, md5: aa, size: 3}
    - {path: metrics/mine.json, hash: md5, md5: bb, size: 3}
  check: {cmd: python check.py}
"""


def test_code_that_moved_is_no_difference_and_a_metric_that_moved_is() -> None:
    moved, measured = LOCK.replace("mine.py", "room/mine.py"), LOCK.replace("md5: bb", "md5: bc")

    assert differences(outs(LOCK), outs(moved)) == []
    assert differences(outs(LOCK), outs(measured)) == ["differs  mine: metrics/mine.json"]


def test_an_output_that_one_side_lacks_is_named() -> None:
    less = LOCK.replace("    - {path: metrics/mine.json, hash: md5, md5: bb, size: 3}\n", "")

    assert differences(outs(LOCK), outs(less)) == ["gone     mine: metrics/mine.json"]
    assert differences(outs(less), outs(LOCK)) == ["new      mine: metrics/mine.json"]
