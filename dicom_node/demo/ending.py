"""How the demonstration ends a program that it started."""

from __future__ import annotations

import subprocess


def end(process: subprocess.Popen[bytes] | None, limit_s: float) -> None:
    """Ask it to end, and kill it if it does not within ``limit_s`` seconds; None is a program never started."""
    if process is None:
        return
    process.terminate()
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
