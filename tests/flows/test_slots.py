"""Places that hold over processes."""

import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from flows.slots import Stopped, slot

CODE = """
import sys, time
from pathlib import Path
from threading import Event
from flows.slots import slot
with slot("gpu", int(sys.argv[2]), Event(), Path(sys.argv[1])):
    print("in", time.monotonic(), flush=True); time.sleep(0.7); print("out", time.monotonic(), flush=True)
"""


@pytest.mark.parametrize(("places", "most"), [(1, 1), (2, 2)])
def test_no_more_processes_than_places_are_within(tmp_path: Path, places: int, most: int) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path), str(places)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    events = [line.split() for process in processes for line in process.communicate()[0].splitlines()]

    within, highest = 0, 0
    for kind, _ in sorted(events, key=lambda event: float(event[1])):
        within += 1 if kind == "in" else -1
        highest = max(highest, within)

    assert len(events) == 4 * 2
    assert highest == most


def test_who_waits_is_told_that_the_run_is_ended(tmp_path: Path) -> None:
    stop = Event()

    with slot("gpu", 1, stop, tmp_path):
        stop.set()
        with pytest.raises(Stopped), slot("gpu", 1, stop, tmp_path):
            pass


def test_a_place_is_free_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), slot("gpu", 1, Event(), tmp_path):
        _ = 1 / 0

    with slot("gpu", 1, Event(), tmp_path):
        pass
