"""What a run costs: seconds over all its sittings, and memory."""

from __future__ import annotations

import resource
import time


class Clock:
    """Seconds of all sittings of a run; ``before``: of those that went before."""

    def __init__(self, before: float = 0.0) -> None:
        self._before, self._began = before, time.monotonic()

    def seconds(self) -> float:
        """To a tenth."""
        return round(self._before + time.monotonic() - self._began, 1)


def peak_mb() -> float:
    """Most memory that this process, or one of its children, has held (MiB)."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024.0, 1)
