"""Two processes, as torchrun starts them, share one fit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

RANK = """
import os, sys
from pathlib import Path
import numpy as np
from tests.unit.test_semi_loop import run
found = run(Path(sys.argv[1]), "alternation")
np.savez(Path(sys.argv[1], f"rank{os.environ['RANK']}.npz"), **found.weights)
"""


def test_two_processes_share_a_fit_and_end_with_the_same_weights(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
    started = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", RANK, str(tmp_path)], env={**common, "RANK": str(rank)})
        for rank in (0, 1)
    ]
    assert [process.wait(120) for process in started] == [0, 0]
    first, second = (dict(np.load(tmp_path / f"rank{rank}.npz")) for rank in (0, 1))
    assert all(np.array_equal(first[name], second[name]) for name in first)
