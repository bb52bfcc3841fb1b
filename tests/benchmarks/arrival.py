"""How soon after its last slice a whole-body study is analysed: the node's own timestamps, for each way to send it.

    python -m tests.benchmarks.arrival [--work FOLDER] [--seed 5] [--json]

A study of 300 CT slices of 512² and 300 PET slices of 200², plain and as JPEG 2000, goes by DCMTK's storescu to a node
of its own each time: over one association, with a new association for every image, and with both series shuffled over
four associations.  The same encoding must give the same run each time, and both the same segmentation.  Sender and
node share the machine, so the sender's load is in the figures; its load average is printed beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import pydicom
from rich.console import Console
from rich.table import Table

from dicom_node.demo.node_process import NodeProcess
from dicom_node.ledger import Event, Ledger
from tests.arrivals import PROPOSE_JPEG_2000, PROPOSE_PLAIN, WAYS, write_jpeg_2000
from tests.node_run import dicom_files, events, wait_for
from training.phantom.study import write_phantom_study

REPOSITORY = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9"  # results stay on disk
LIMIT_S = 300.0
WANTED_S = 1.0
OPTIONS = {"plain": PROPOSE_PLAIN, "JPEG 2000": PROPOSE_JPEG_2000}


@dataclass(frozen=True)
class Measured:
    """One study sent.  Seconds: of sending, and from the last slice stored to each event of the node's ledger."""

    encoding: str
    way: str
    sending_s: float
    complete_s: float
    started_s: float
    ended_s: float
    decoded: str
    run_id: str
    segmentation: str
    load: float


def prepare(work: Path, seed: int) -> dict[str, Path]:
    """The study in each encoding, made once."""
    folders = {"plain": work / f"plain-{seed}", "JPEG 2000": work / f"jpeg2000-{seed}"}
    if not (folders["plain"] / "truth.json").is_file():
        write_phantom_study(folders["plain"], seed=seed, preset="whole-body")
    if len(dicom_files(folders["JPEG 2000"])) < len(dicom_files(folders["plain"])):
        write_jpeg_2000(folders["plain"], folders["JPEG 2000"])
    return folders


def measure(work: Path, study: Path, encoding: str, way: str) -> Measured:
    """Send the study to a fresh, warm node and read what its ledger says."""
    shutil.rmtree(work / "node", ignore_errors=True)
    files = dicom_files(study)
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    with NodeProcess(work / "node", NOWHERE) as node:
        wait_for(lambda: " warm " in node.log.read_text())
        began = time.perf_counter()
        WAYS[way](node.port, files, OPTIONS[encoding])
        sending_s = time.perf_counter() - began
        load = os.getloadavg()[0]
        wait_for(lambda: "analysis-ended" in events(node, uid), LIMIT_S)
        return read_ledger(node, uid, encoding, way, sending_s, load)


def read_ledger(node: NodeProcess, uid: str, encoding: str, way: str, sending_s: float, load: float) -> Measured:
    ledger = Ledger(node.index_file)
    try:
        told: dict[str, Event] = {e.event: e for e in ledger.timeline(uid)}
        (run,) = ledger.runs(uid)
    finally:
        ledger.close()
    assert run["state"] == "done", run["reason"]
    last = told["last-slice-stored"].at
    after = [told[name].at - last for name in ("pair-complete", "analysis-started", "analysis-ended")]
    decoded = told["decoded-on-arrival"].text if "decoded-on-arrival" in told else "-"
    (segmentation,) = node.result_folder(run["run_id"]).glob("*seg*")
    pixels = pydicom.dcmread(segmentation).PixelData
    return Measured(
        encoding, way, sending_s, *after, decoded, run["run_id"], f"{hash_of(pixels)} {len(pixels)} bytes", load
    )


def hash_of(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()[:12]


def faults(found: Sequence[Measured]) -> list[str]:
    """What is not as it must be; the last line of the report."""
    told = [f"{m.encoding}, {m.way}: started {m.started_s:.2f} s after" for m in found if m.started_s >= WANTED_S]
    runs = {encoding: {m.run_id for m in found if m.encoding == encoding} for encoding in OPTIONS}
    told += [f"{encoding}: the ways give different runs" for encoding, ids in runs.items() if len(ids) > 1]
    if len({m.segmentation for m in found}) > 1:
        told.append("the segmentations differ")
    return told


def report(found: Sequence[Measured]) -> None:
    table = Table(title=f"300 + 300 slices, seconds after the last slice, {len(os.sched_getaffinity(0))} cores")
    for heading in ("encoding", "way", "sent in", "complete", "started", "ended", "decoded on arrival", "run", "load"):
        table.add_column(heading, justify="left" if heading in ("encoding", "way", "run") else "right")
    for m in found:
        seconds = [f"{s:.2f}" for s in (m.sending_s, m.complete_s, m.started_s, m.ended_s)]
        table.add_row(m.encoding, m.way, *seconds, m.decoded, m.run_id[:12], f"{m.load:.1f}")
    Console(width=160).print(table)


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--work", type=Path, default=REPOSITORY / ".cache" / "bench-arrival")
    ask.add_argument("--seed", type=int, default=5)
    ask.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    ask.add_argument("--only", default="", help="only ways and encodings whose name holds this")
    options = ask.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    folders = prepare(options.work, options.seed)
    wanted = [(e, w) for e, w in product(OPTIONS, WAYS) if options.only in f"{e}, {w}"]
    found = []
    for encoding, way in wanted:
        found.append(measure(options.work, folders[encoding], encoding, way))
        print(f"{encoding}, {way}: started {found[-1].started_s:.2f} s after the last slice", file=sys.stderr)
    if options.json:
        print(json.dumps({"measured": [asdict(m) for m in found], "faults": faults(found)}, indent=1))
    else:
        report(found)
        print("\n".join(faults(found)) or "every way under 1 s, the same run and the same segmentation")
    sys.exit(1 if faults(found) else 0)


if __name__ == "__main__":
    main()
