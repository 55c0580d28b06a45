"""Tests of two commits, one and the same by name and parameters."""

from benchmarks.test_vs_before import by_name


def test_a_test_that_moved_to_another_file_is_the_same_and_a_name_of_two_is_of_neither() -> None:
    before = by_name(["tests/test_ppo.py::test_kl[0.1]", "tests/test_a.py::test_same", "tests/test_b.py::test_same"])
    now = by_name(["tests/policies/test_ppo.py::test_kl[0.1]", "tests/policies/test_ppo.py::test_kl[0.2]"])

    assert before == {"test_kl[0.1]": "tests/test_ppo.py::test_kl[0.1]"}
    assert {name: now[name] for name in before} == {"test_kl[0.1]": "tests/policies/test_ppo.py::test_kl[0.1]"}
