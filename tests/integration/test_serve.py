"""`petct-node serve` as a person meets it: what is wrong is said in a sentence, and Ctrl-C is quiet."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dicom_node.demo.node_process import PROGRAM

pytestmark = pytest.mark.peers

LIMIT_S = 60.0
REFUSED, USAGE = 3, 2


def start(data_dir: Path, **keys: str) -> subprocess.Popen[str]:
    """The node with its data there; keys as SECTION__KEY."""
    settings = {"NODE__DATA_DIR": str(data_dir), "RECEIVE__PORT": "0"} | keys
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve"],
        env={**os.environ, **{f"PETCT_NODE__{key}": value for key, value in settings.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def answer(data_dir: Path, **keys: str) -> tuple[int, str]:
    """Exit code and all that was printed, on one line, of a node that cannot start."""
    with start(data_dir, **keys) as node:
        try:
            printed, _ = node.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)
            raise
    assert "Traceback" not in printed
    return node.returncode, " ".join(printed.split())


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for data_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        code, printed = answer(data_dir)
        assert code == REFUSED
        assert "data-dir-unusable" in printed


def test_an_index_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"these are no tables" * 100)
    code, printed = answer(tmp_path)
    assert code == REFUSED
    assert "index.sqlite cannot be opened" in printed
    assert "made anew from the spool" in printed


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, printed = answer(tmp_path, RECEIVE__PORT=str(port))
    assert code == REFUSED
    assert f"Cannot listen on 127.0.0.1:{port}" in printed


def test_faults_of_the_configuration_are_listed_together(tmp_path: Path) -> None:
    code, printed = answer(tmp_path, RECEIVE__PROT="1", DATABASE__URL="nonsense", RECEIVE__PORT="70000")
    assert code == USAGE
    assert all(key in printed for key in ("3 fault(s)", "receive.prot", "database.url", "receive.port"))


def test_ctrl_c_ends_all_processes_quietly_and_a_state_that_cannot_be_written_ends_none(tmp_path: Path) -> None:
    (tmp_path / "node.json").mkdir()  # as on a full disk: the state cannot be written
    with start(tmp_path) as node:
        try:
            assert node.stdout is not None
            printed = ""
            while "petct-node ready" not in printed:
                line = node.stdout.readline()
                assert line, printed
                printed += line
            assert "node.json could not be written" in printed
            family = psutil.Process(node.pid).children(recursive=True)
            time.sleep(1.0)
            os.killpg(node.pid, signal.SIGINT)
            rest, _ = node.communicate(timeout=LIMIT_S)
        finally:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
    assert node.returncode == 0, rest
    assert "Traceback" not in printed + rest
    assert len(family) >= 4
    _, alive = psutil.wait_procs(family, timeout=10.0)
    assert alive == []
