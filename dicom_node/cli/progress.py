"""Long work in a terminal: a bar with time left, and Ctrl-C that lets the work save itself."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from dicom_node.cli.shared import err

if TYPE_CHECKING:
    from training.recipe import Progress


@contextmanager
def bar() -> Iterator[Callable[[Progress], None]]:
    """Gives what to call with each step of the work; on standard error, so that answers stay clean."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=err, transient=True) as bars:
        line = bars.add_task("", total=None)
        shown = ""

        def tell(step: Progress) -> None:
            nonlocal shown
            if step.text != shown:  # another stage has a speed of its own
                bars.reset(line, total=step.total, description=step.text)
                shown = step.text
            bars.update(line, completed=step.done, total=step.total)

        yield tell


@contextmanager
def interruptible(ask: Callable[[], None], said: str) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) calls ``ask`` and prints ``said``; the second ends the program at once."""
    asked = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        ask()
        err.print(said)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
