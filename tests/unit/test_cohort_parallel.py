"""Work in several processes: in order, stopped when asked, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from inference.facts import Refused
from training.cohort.parallel import each
from training.recipe import Stopped

PATIENCE_S = 60.0
PROGRAM = """
import time
from training.cohort.parallel import each
if __name__ == "__main__":
    for _ in each(time.sleep, [0.1, *[600.0] * 4], 2):
        print("begun", flush=True)
"""


def square(value: int) -> int:
    if value == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return value * value


def test_in_the_order_of_the_items() -> None:
    assert list(each(square, [3, 1, 2], 2)) == list(each(square, [3, 1, 2], 1)) == [9, 1, 4]
    assert list(each(square, [], 2)) == []


def test_a_killed_process_is_a_refusal() -> None:
    with pytest.raises(Refused) as refused:
        list(each(square, [1, 13], 2))
    assert refused.value.code == "cohort-interrupted"


@pytest.mark.parametrize("processes", [1, 2])
def test_stopped_between_items(processes: int) -> None:
    asked = iter([False, False, True])
    found = each(square, [1, 2, 3, 4], processes, lambda: next(asked))
    assert [next(found), next(found)] == [1, 4]
    with pytest.raises(Stopped):
        next(found)


def test_a_process_that_ctrl_c_ended_is_a_stop_that_was_asked_for() -> None:
    asked = iter([False])
    with pytest.raises(Stopped):
        list(each(square, [13, 13], 2, lambda: next(asked, True)))


def test_workers_end_with_a_parent_that_was_killed() -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == b"begun\n"
        workers = psutil.Process(program.pid).children()
        assert len(workers) >= 2
    finally:
        program.kill()
        program.communicate()
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
    assert not alive


def test_ctrl_c_is_left_to_the_parent() -> None:
    """A worker that the terminal's Ctrl-C reaches too goes on with its item."""
    assert list(each(_interrupt_myself, [1, 2], 2)) == [1, 2]


def _interrupt_myself(value: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return value
