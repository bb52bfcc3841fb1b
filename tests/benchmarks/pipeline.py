"""`petct-node analyse` beside a plain script on the same whole-body study: CPU seconds and peak memory, in turn.

    python tests/benchmarks/pipeline.py [--runs 3] [--slices 300] [--work FOLDER]

The peer is ../shared/bench/baseline_script.py (SimpleITK, MONAI, highdicom, one file); both run ResNet-18 on 96³, one
member, seed 0, eager fp32, automatic region, on ../shared/bench/make_study.py.  A run counts only if it wrote
probability, SEG, two SRs, key image and at least 60 heatmap frames (the script: probability, SEG, SR, 60 pictures).
Whole processes are measured, imports included, and printed without them too: `imports` is a process that only imports
what the other imports.  The machine's speed drifts: compare the ratio, not the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pydicom
from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[2]
PEER = REPOSITORY.parent / "shared" / "bench"
PETCT_NODE = Path(sys.executable).with_name("petct-node")
SCRIPT_IMPORTS = "import highdicom, numpy, pydicom, SimpleITK, torch; from monai.networks.nets import resnet18"
OURS = ("dicom_node.commands.offline", "dicom_node.report", "inference.analyse", "inference.model.predict")
OUR_IMPORTS = f"import {', '.join(OURS)}, torch, monai"
HEATMAP_FRAMES = 60


@dataclass(frozen=True)
class Measured:
    """One finished process: user + system CPU seconds, wall seconds, peak resident memory of it and its children."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    output: str


def measure(command: list[str], log: Path) -> Measured:
    """Run to the end; stop the benchmark with the log if it fails."""
    began = time.perf_counter()
    with log.open("wb") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:
        assert process.stdout is not None
        output = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}\n{log.read_text()[-4000:]}")
    wall = time.perf_counter() - began
    return Measured(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, output)


def check_script(out: Path, measured: Measured) -> None:
    answer = json.loads(measured.output)
    assert 0 <= answer["result"]["probability"] <= 1
    assert (out / "seg.dcm").is_file()
    assert (out / "sr.dcm").is_file()
    assert len(list(out.glob("sc*.dcm"))) >= HEATMAP_FRAMES


def check_ours(measured: Measured) -> None:
    answer = json.loads(measured.output)
    assert answer["status"] == "done", answer
    assert answer["prediction"]["probability"] is not None, answer["prediction"]
    kinds = {r["kind"]: r["path"] for r in answer["results"]}
    assert {"seg", "sr", "sr_viewer", "key_image", "heatmap"} <= set(kinds), kinds
    assert pydicom.dcmread(kinds["heatmap"], stop_before_pixels=True).NumberOfFrames >= HEATMAP_FRAMES


def prepare(work: Path, slices: int) -> tuple[Path, Path]:
    """The study and the bundle, made once."""
    study, bundle = work / f"study-{slices}", work / "bundle-bench"
    if not (study / "truth.json").is_file():
        command = [sys.executable, str(PEER / "make_study.py"), str(study), "--slices", str(slices)]
        measure(command, work / "make_study.log")
    measure([str(PETCT_NODE), "train", "bench", "--out", str(bundle), "--overwrite"], work / "bundle.log")
    return study, bundle


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--runs", type=int, default=3)
    ask.add_argument("--slices", type=int, default=300)
    ask.add_argument("--work", type=Path, default=REPOSITORY / ".cache" / "bench")
    options = ask.parse_args()
    if not PEER.is_dir():
        sys.exit("../shared/bench is not beside this repository")
    options.work.mkdir(parents=True, exist_ok=True)
    study, bundle = prepare(options.work, options.slices)

    script, ours, script_imports, our_imports = [], [], [], []
    for turn in range(options.runs + 1):  # the first of each warms the page cache and does not count
        script_out, our_out = options.work / f"script-{turn}", options.work / f"ours-{turn}"
        log = options.work / f"run-{turn}.log"
        peer = measure([sys.executable, str(PEER / "baseline_script.py"), str(study), str(script_out), "--json"], log)
        check_script(script_out, peer)
        node = [str(PETCT_NODE), "analyse", str(study), "--out", str(our_out), "--bundle", str(bundle)]
        mine = measure([*node, "--region", "automatic", "--json"], log)
        check_ours(mine)
        if turn:
            script.append(peer)
            ours.append(mine)
            script_imports.append(measure([sys.executable, "-c", SCRIPT_IMPORTS], log))
            our_imports.append(measure([sys.executable, "-c", OUR_IMPORTS], log))
    report(script, ours, script_imports, our_imports)


def report(
    script: list[Measured], ours: list[Measured], script_imports: list[Measured], our_imports: list[Measured]
) -> None:
    console = Console()
    table = Table(title=f"median of {len(ours)} runs in turn, {len(os.sched_getaffinity(0))} cores")
    for heading in ("", "script", "petct-node", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    median = statistics.median
    rows = {
        "CPU s, whole process": ([m.cpu_s for m in script], [m.cpu_s for m in ours]),
        "CPU s, imports only": ([m.cpu_s for m in script_imports], [m.cpu_s for m in our_imports]),
        "CPU s, without imports": (
            [m.cpu_s - i.cpu_s for m, i in zip(script, script_imports, strict=True)],
            [m.cpu_s - i.cpu_s for m, i in zip(ours, our_imports, strict=True)],
        ),
        "wall s, whole process": ([m.wall_s for m in script], [m.wall_s for m in ours]),
        "peak memory MB": ([m.peak_mb for m in script], [m.peak_mb for m in ours]),
    }
    for name, (theirs, mine) in rows.items():
        ratio = median(m / t for m, t in zip(mine, theirs, strict=True))
        table.add_row(name, f"{median(theirs):.2f}", f"{median(mine):.2f}", f"{ratio:.2f}")
    console.print(table)
    stages = json.loads(ours[-1].output)["timings_s"]
    console.print("petct-node, wall s per stage (last run): " + ", ".join(f"{k} {v:.2f}" for k, v in stages.items()))


if __name__ == "__main__":
    main()
