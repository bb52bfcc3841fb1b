"""No process of the node outlives the one that started it."""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_EVERY_S = 0.25
DRAIN_LIMIT_S = 25.0  # longer than a receiver lets a C-STORE finish


def end_with_parent(parent_pid: int) -> None:
    """From a thread of its own: once the parent is gone, SIGTERM to ourselves, and the hard way if that is not heard.

    ``parent_pid``: as the parent knew it before it started us; else a parent that died at once would go unseen.
    """

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(DRAIN_LIMIT_S)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
