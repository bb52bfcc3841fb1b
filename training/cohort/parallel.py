"""The same function on many items, in processes of their own, in order; stopped between items when asked."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TypeVar

from threadpoolctl import threadpool_limits

from inference.facts import Refused
from training.recipe import Stopped

T = TypeVar("T")
R = TypeVar("R")


def each(
    function: Callable[[T], R], items: Sequence[T], processes: int, stop: Callable[[], bool] = lambda: False
) -> Iterator[R]:
    """``function`` of each item, in the order of ``items``; both must be picklable where ``processes`` is above 1.

    Raises ``Stopped`` when ``stop`` says so, ``Refused`` ``cohort-interrupted`` where a process was killed.
    """
    workers = min(processes, len(items))
    if workers <= 1:
        with threadpool_limits(1):
            for item in items:
                _ask(stop)
                yield function(item)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as pool:
        waiting = [pool.submit(function, item) for item in items]
        try:
            for future in waiting:
                _ask(stop)
                yield future.result()
        except (BrokenProcessPool, MemoryError):
            _ask(stop)  # Ctrl-C reached a process that was only beginning
            raise Refused(
                "cohort-interrupted",
                f"One of {workers} processes was killed, as when memory runs out. What was done is kept; start again "
                "with fewer processes.",
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ask(stop: Callable[[], bool]) -> None:
    if stop():
        raise Stopped


def _begin() -> None:
    """A worker has one thread, leaves Ctrl-C to its parent, and ends when that was killed."""
    import SimpleITK as sitk

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threadpool_limits(1)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
