"""However a study is sent, the node makes the same run of it, and uses what it decoded while the images came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from dicom_node.assemble import assemble
from dicom_node.demo.node_process import NodeProcess
from dicom_node.ledger import Ledger
from dicom_node.work.job import Work
from inference.model.bundle import find_bundle, load_bundle
from inference.reading.decoded import folder_of_study
from inference.reading.instance import scan_folder
from tests.arrivals import (
    PROPOSE_JPEG_2000,
    PROPOSE_PLAIN,
    WAYS,
    in_one_association,
    write_jpeg_2000,
    write_small_study,
)
from tests.node_run import dicom_files, events, wait_for

pytestmark = pytest.mark.peers

NOWHERE = "http://127.0.0.1:9"  # results stay on disk
CASES = [("plain", "one association"), *(("JPEG 2000", way) for way in WAYS)]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node"), NOWHERE) as running:
        yield running


@pytest.fixture(scope="module")
def bundle_digest() -> str:
    return load_bundle(find_bundle("demo")).digest


def study(folder: Path, encoding: str, seed: int) -> tuple[str, list[Path]]:
    """Study Instance UID and files."""
    uid = write_small_study(folder / "plain", seed)
    if encoding == "plain":
        return uid, dicom_files(folder / "plain")
    write_jpeg_2000(folder / "plain", folder / "packed")
    return uid, dicom_files(folder / "packed")


def run_of(node: NodeProcess, uid: str) -> tuple[str, str]:
    """Run id and state of the study's only run, once it is analysed."""
    wait_for(lambda: "analysis-ended" in events(node, uid))
    ledger = Ledger(node.index_file)
    try:
        (run,) = ledger.runs(uid)
    finally:
        ledger.close()
    return str(run["run_id"]), str(run["state"])


def decoded_on_arrival(node: NodeProcess, uid: str) -> str:
    ledger = Ledger(node.index_file)
    try:
        return next(e.text for e in ledger.timeline(uid) if e.event == "decoded-on-arrival")
    finally:
        ledger.close()


@pytest.mark.parametrize(("seed", "case"), list(enumerate(CASES)), ids=[", ".join(case) for case in CASES])
def test_each_way_gives_the_run_that_the_files_say(
    seed: int, case: tuple[str, str], node: NodeProcess, bundle_digest: str, tmp_path: Path
) -> None:
    encoding, way = case
    uid, files = study(tmp_path, encoding, 100 + seed)
    expected = Work.of_pair(assemble(scan_folder(files[0].parents[1]).instances), bundle_digest).run_id
    WAYS[way](node.port, files, PROPOSE_PLAIN if encoding == "plain" else PROPOSE_JPEG_2000)
    assert run_of(node, uid) == (expected, "done")


def test_the_decoder_lets_the_others_go_first(node: NodeProcess) -> None:
    pids = cast(dict[str, int], node.state["pids"])
    niceness = {name: psutil.Process(pid).nice() for name, pid in pids.items()}
    assert all(niceness["decoder"] > nice for name, nice in niceness.items() if name != "decoder")


def test_what_was_decoded_on_arrival_is_used_and_then_removed(node: NodeProcess, tmp_path: Path) -> None:
    uid, files = study(tmp_path, "JPEG 2000", 200)
    decoded = node.data_dir / "decoded" / folder_of_study(uid)
    *most, last = files
    in_one_association(node.port, most, PROPOSE_JPEG_2000)
    wait_for(lambda: len(list(decoded.glob("*.raw"))) == len(most))
    in_one_association(node.port, [last], PROPOSE_JPEG_2000)
    assert run_of(node, uid)[1] == "done"
    assert decoded_on_arrival(node, uid) in ("39 of 40 compressed images", "40 of 40 compressed images")
    wait_for(lambda: not decoded.exists())
