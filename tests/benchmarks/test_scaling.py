import pytest

from benchmarks import scaling


@pytest.mark.slow
def test_two_processes_and_two_workers_say_what_one_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {scaling.measure(*one)["hash"] for one in scaling.CONFIGURATIONS.values()}

    assert len(said) == 1
