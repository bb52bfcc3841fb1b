"""A running node seen from outside: send to it with DCMTK, wait for what its ledger and its archive say."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import httpx

from dicom_node.demo.node_process import NodeProcess
from dicom_node.ledger import Ledger

T = TypeVar("T")
STORESCU = "/usr/bin/storescu"  # DCMTK's; pynetdicom installs one of its own under this name
KINDS = {"seg", "sr", "sr_viewer", "key_image", "heatmap"}
LIMIT_S = 120.0


def dicom_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


def start_sending(
    port: int, files: Sequence[Path], called: str = "PETCTNODE", options: Sequence[str] = ("--required",)
) -> subprocess.Popen[bytes]:
    """One association of DCMTK's storescu, in the background."""
    return subprocess.Popen(
        [STORESCU, *options, "-aec", called, "127.0.0.1", str(port), *map(str, files)],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def send(port: int, files: Sequence[Path], associations: int = 1) -> None:
    """Send, split over so many associations at once; every C-STORE must succeed."""
    parts = [files[n::associations] for n in range(associations)]
    processes = [start_sending(port, part) for part in parts if part]
    codes = [process.wait(LIMIT_S) for process in processes]
    assert codes == [0] * len(processes)


def send_until_done(node: NodeProcess, files: Sequence[Path], tries: int = 20) -> None:
    """As a scanner does: again from the start where the association broke off."""
    for _ in range(tries):
        if start_sending(node.port, files).wait(LIMIT_S) == 0:
            return
        time.sleep(0.5)
    raise AssertionError("the node never took the whole study")


def wait_for(what: Callable[[], T], limit_s: float = LIMIT_S) -> T:
    """What it returns once that is true."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {limit_s:g} s: {what}")


def events(node: NodeProcess, study: str) -> list[str]:
    """What has happened to the study so far."""
    ledger = Ledger(node.index_file)
    try:
        return [e.event for e in ledger.timeline(study)]
    finally:
        ledger.close()


def objects(orthanc_url: str, study: str) -> dict[str, bytes]:
    """SOP Instance UID → bytes, of everything in the archive that belongs to the study."""
    query = {"Level": "Instance", "Query": {"StudyInstanceUID": study}, "Expand": True}
    with httpx.Client(base_url=orthanc_url, timeout=30.0) as client:
        found = client.post("/tools/find", json=query).raise_for_status().json()
        return {
            entry["MainDicomTags"]["SOPInstanceUID"]: client.get(f"/instances/{entry['ID']}/file").content
            for entry in found
        }
