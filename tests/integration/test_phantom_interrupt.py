"""Ctrl-C while a phantom cohort is written: what is done is kept, the command says how to go on, and does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEADLINE_S = 60.0


def command(out: Path, *more: str) -> list[str]:
    start = "from dicom_node.cli import main; main()"
    return [sys.executable, "-c", start, "phantom", "dlr", "--out", str(out), "--subjects", "400", *more]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_keeps_what_is_done(processes: str, tmp_path: Path) -> None:
    """The signal goes to the whole group, as a terminal sends it."""
    out = tmp_path / "cohort"
    images = out / "images"
    with subprocess.Popen(
        command(out, "--processes", processes), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and not (images.is_dir() and any(images.glob("P*"))):
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 130, said
    assert "goes on from here" in said
    assert "Traceback" not in said
    assert 0 < len(list(images.glob("P*"))) < 400
    assert not list(images.glob(".P*"))
    assert not (out / "cohort.csv").exists()
