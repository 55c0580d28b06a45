import sys

import pytest

from benchmarks.pocket_cost import ran, watched
from synthalign.core.errors import UserError

HOLDS = "import time; held = bytearray(b'x') * {size}; time.sleep(1.5)"


def test_what_two_processes_hold_at_once_is_added_up():
    child = HOLDS.format(size=80_000_000)
    parent = (
        f"import subprocess, sys, time; held = bytearray(b'x') * 80_000_000; "
        f'subprocess.run([sys.executable, "-c", "{child}"], check=True)'
    )
    seconds, most = watched([sys.executable, "-c", parent], every=0.1)
    assert 160e6 < most < 260e6  # two interpreters and 80 MB each
    assert 1.5 < seconds < 30


def test_pages_of_a_fork_count_once():
    forks = (
        "import os, time\nheld = bytearray(b'x') * 150_000_000\nchild = os.fork()\ntime.sleep(1.5)\n"
        "if child: os.waitpid(child, 0)"
    )
    _, most = watched([sys.executable, "-c", forks], every=0.1)
    assert 150e6 < most < 250e6


def test_a_command_that_fails_is_no_figure():
    with pytest.raises(UserError, match="ended with status 3; nothing is written"):
        watched([sys.executable, "-c", "raise SystemExit(3)"])


def test_only_stages_that_ran_meanwhile_are_counted():
    assert ran({"a": [1.0], "b": [2.0]}, {"a": [1.0], "b": [2.0, 2.5], "c": [3.0]}) == ["b", "c"]
