"""kill -9 of the decoder while it decodes: the study is analysed all the same, and its successor takes up the work."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from dicom_node.demo.node_process import NodeProcess
from dicom_node.ledger import Ledger
from inference.reading.decoded import folder_of_study
from tests.arrivals import PROPOSE_JPEG_2000, in_one_association, write_jpeg_2000
from tests.node_run import dicom_files, events, wait_for
from training.phantom.study import write_phantom_study

pytestmark = [pytest.mark.peers, pytest.mark.slow]

NOWHERE = "http://127.0.0.1:9"  # results stay on disk


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path / "node", NOWHERE) as running:
        yield running


def decoder(node: NodeProcess) -> int:
    return int(cast(dict[str, Any], node.state["pids"])["decoder"])


def test_a_study_survives_its_decoder(node: NodeProcess, tmp_path: Path) -> None:
    uid = write_phantom_study(tmp_path / "plain", seed=31).study_instance_uid
    write_jpeg_2000(tmp_path / "plain", tmp_path / "packed")
    files = dicom_files(tmp_path / "packed")
    folder = node.data_dir / "decoded" / folder_of_study(uid)
    killed = decoder(node)

    in_one_association(node.port, files[:-1], PROPOSE_JPEG_2000)
    wait_for(lambda: list(folder.glob("*.raw")))
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: decoder(node) != killed)

    def all_but_the_unfinished() -> bool:
        whole, unfinished = len(list(folder.glob("*.raw"))), len(list(folder.glob("*.part")))
        return whole + unfinished == len(files) - 1 and whole > 0

    wait_for(all_but_the_unfinished)
    in_one_association(node.port, files[-1:], PROPOSE_JPEG_2000)
    wait_for(lambda: "analysis-ended" in events(node, uid))
    ledger = Ledger(node.index_file)
    (run,) = ledger.runs(uid)
    ledger.close()
    assert run["state"] == "done"
    assert not [path for path in node.result_folder(run["run_id"]).iterdir() if path.suffix == ".part"]
    wait_for(lambda: not folder.exists())
