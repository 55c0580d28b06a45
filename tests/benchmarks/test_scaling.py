import pytest

from benchmarks import scaling


def test_shares_are_more_even_where_there_are_more_rows() -> None:
    few, many = scaling.imbalance(100, 4, draws=5), scaling.imbalance(10_000, 4, draws=5)

    assert 1 < many["median"] < few["median"]
    assert many["low"] <= many["median"] <= many["high"] < 1.1


def test_one_process_has_all_rows() -> None:
    assert scaling.imbalance(100, 1, draws=2) == {"median": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.slow
def test_two_processes_and_two_workers_say_what_one_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {scaling.measure(*one)["hash"] for one in scaling.CONFIGURATIONS.values()}

    assert len(said) == 1
