"""What is in the way of every study alike is waited out: a full disk, a locked file, a model that cannot be loaded.

It must not use up the tries of the study that happens to be next.
"""

from __future__ import annotations

import errno
import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog
from sqlalchemy.exc import OperationalError

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}
)


class NotNow(Exception):  # noqa: N818 - a state to wait in
    """The machine is not ready to do it.  The message is a sentence for the operator, without patient data."""


def is_of_the_machine(error: BaseException) -> bool:
    """Whether the fault, or what caused it, lies with the machine and its operator, and not with the study at hand."""
    if isinstance(error, NotNow | OperationalError):
        return True
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        return True
    return error.__cause__ is not None and is_of_the_machine(error.__cause__)  # pydicom wraps what writing raises


def patiently(act: Callable[P, R]) -> Callable[P, R]:
    """The same, tried again with growing pauses while the machine is not ready; other exceptions pass."""

    @functools.wraps(act)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> R:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return act(*args, **kwargs)
            except Exception as error:
                if not is_of_the_machine(error):
                    raise
                log.error("the node waits", step=act.__name__, reason=str(error), again_in_s=pause_s)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    return waiting
