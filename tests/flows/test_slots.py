"""Places that hold over processes."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from threading import Event

import pytest

from flows.slots import Stopped, share, slot

CODE = """
import sys, time
from pathlib import Path
from threading import Event
from flows.slots import slot
with slot("gpu", int(sys.argv[2]), [], Event(), Path(sys.argv[1])):
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

    with slot("gpu", 1, [], stop, tmp_path):
        stop.set()
        with pytest.raises(Stopped), slot("gpu", 1, [], stop, tmp_path):
            pass


def test_a_place_is_free_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), slot("gpu", 1, [], Event(), tmp_path):
        _ = 1 / 0

    with slot("gpu", 1, [], Event(), tmp_path):
        pass


FOUR = ["0", "1", "2", "3"]


def on(
    folder: Path, places: int, stop: Event | None = None, devices: Sequence[str] = FOUR
) -> AbstractContextManager[int]:
    return slot("gpu", places, devices, stop or Event(), folder)


def test_a_device_has_one_stage_whatever_the_places_of_the_runs(tmp_path: Path) -> None:
    ended = Event()
    ended.set()
    with on(tmp_path, 2) as first, ExitStack() as half:
        assert (first, half.enter_context(on(tmp_path, 2))) == (0, 1)
        half_held = half.pop_all()
    with ExitStack() as held:
        assert [held.enter_context(on(tmp_path, 4)) for _ in range(2)] == [0, 1]
        with pytest.raises(Stopped), on(tmp_path, 4, ended):
            pass
        half_held.close()
        place = held.enter_context(on(tmp_path, 4))
        assert share(place, 4, FOUR) == {"CUDA_VISIBLE_DEVICES": "2"}


def test_who_cannot_have_all_devices_of_a_place_holds_none(tmp_path: Path) -> None:
    ended = Event()
    ended.set()
    with on(tmp_path, 4) as first:
        with pytest.raises(Stopped), on(tmp_path, 1, ended):
            pass
        with on(tmp_path, 2) as half, on(tmp_path, 4) as second:
            assert (first, half, second) == (0, 1, 1)


def test_runs_on_devices_of_their_own_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with on(tmp_path, 1, devices=["4"]) as one, on(tmp_path, 1, devices=["MIG-GPU-5/1/0"]) as other:
        assert (one, other) == (0, 0)


def test_more_places_than_devices_take_turns_with_a_run_of_one_place(tmp_path: Path) -> None:
    ended = Event()
    ended.set()
    with on(tmp_path, 2, devices=["0"]) as first, on(tmp_path, 2, devices=["0"]) as second:
        assert (first, second) == (0, 1)
        with pytest.raises(Stopped), on(tmp_path, 1, ended, devices=["0"]):
            pass
