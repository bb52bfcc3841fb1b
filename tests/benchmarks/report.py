"""What the result objects of a whole-body study cost, beside one fp32 forward of a network of the same machine.

    python -m tests.benchmarks.report [--runs 5] [--slices 300] [--profile]

CPU seconds (user + system, all threads) in a warm process, like the node's analyst: the median of the runs of each
object, of the whole default set and of the whole set with every optional object.  The forward is of one member: of the
benchmark's bundle (MONAI ResNet-18 on 96³, seed 0; see ``pipeline.py``) and of the demonstration model, which is tiny.
Two threads at once make CPU time dearer: both sides run with one thread and with all.  Sizes stand beside their bounds.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from dicom_node.assemble import assemble
from dicom_node.report import write, write_results
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects import heatmap, pdf, segmentation, sr, sr_viewer
from dicom_node.report.pictures import key_image as drawn
from inference.analyse import analyse
from inference.facts import Analysis, Result, Run
from inference.model.bundle import find_bundle, load_bundle
from inference.model.predict import Model
from inference.model.torch_backend import TorchBackend
from inference.reading.instance import scan_folder
from tests.benchmarks.pipeline import PEER, REPOSITORY, prepare

RUN = Run("20260301101500.250000+0100", "2.25.4711", "benchmark", "0.1.0", "c" * 64)
KB, MB = 1 << 10, 1 << 20
BOUNDS = {"sr": 256 * KB, "sr_viewer": 256 * KB, "seg": 5 * MB, "key_image": 1 * MB, "heatmap": 30 * MB}  # results.md 3
SET_BOUND = 40 * MB


@dataclass
class Costs:
    """CPU seconds of each part, one figure a run."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its CPU time noted under the name."""

        def timed(*args: Any, **more: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **more)
            finally:
                self.seconds.setdefault(name, []).append(time.process_time() - began)

        return timed

    def median(self, name: str, runs: int) -> float:
        """Of the sums of each run: a part may be called several times in one."""
        found = self.seconds.get(name, [0.0])
        each = max(1, len(found) // runs)
        return statistics.median(sum(found[n : n + each]) for n in range(0, len(found), each))


# Where the work of each object is done: its name here → (owner, attribute).
PARTS: dict[str, tuple[Any, str]] = {
    "segments": (segmentation, "segments"),
    "seg": (segmentation, "segmentation"),
    "key_image drawn": (drawn, "key_image"),
    "key_image": (write, "_key_image"),
    "heatmap": (heatmap, "heatmap_capture"),
    "sr_viewer": (sr_viewer, "viewer_report"),
    "sr": (sr, "main_report"),
    "pdf": (pdf, "printed_report"),
    "files": (Evidence, "write"),
}


def analysed(study: Path, bundle: Path) -> Analysis:
    """As the node does it, with our own proposal of lesions."""
    return analyse(assemble(scan_folder(study).instances), Model.load(bundle, device="cpu"))


def cost_of_set(analysis: Analysis, run: Run, folder: Path, runs: int) -> tuple[Costs, tuple[Result, ...]]:
    """The set written ``runs`` times and once before, which does not count."""
    costs = Costs()
    results = write_results(analysis, run, folder)
    with ExitStack() as patched:
        for name, (owner, attribute) in PARTS.items():
            patched.enter_context(patch.object(owner, attribute, costs.of(name, getattr(owner, attribute))))
        writers = {k: w if k in PARTS else costs.of(k, w) for k, w in write.OPTIONAL.items()}
        patched.enter_context(patch.object(write, "OPTIONAL", writers))
        for _ in range(runs):
            costs.of("all", write_results)(analysis, run, folder)
    return costs, results


def cost_of_forward(bundle: Path, runs: int, threads: int) -> float:
    """One member's forward, without Grad-CAM; the first does not count."""
    loaded = load_bundle(bundle)
    backend = TorchBackend(loaded, device="cpu", threads=threads)
    shape = (len(loaded.served.input.channels), *loaded.served.input.shape)
    array = np.random.default_rng(0).random(shape, np.float32)
    costs = Costs()
    members = len(backend.forward(array))
    for _ in range(runs):
        costs.of("forward", backend.forward)(array)
    return costs.median("forward", runs) / members


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--runs", type=int, default=5)
    ask.add_argument("--slices", type=int, default=300)
    ask.add_argument("--work", type=Path, default=REPOSITORY / ".cache" / "bench")
    ask.add_argument("--also", nargs="*", default=list(write.OPTIONAL), help="optional objects to measure (all)")
    ask.add_argument("--profile", action="store_true", help="print where the time of the default set goes")
    options = ask.parse_args()
    if not PEER.is_dir():
        sys.exit("../shared/bench is not beside this repository")
    options.work.mkdir(parents=True, exist_ok=True)
    study, bundle = prepare(options.work, options.slices)
    analysis = analysed(study, bundle)
    folder = options.work / "report"
    shutil.rmtree(folder, ignore_errors=True)
    with_all = replace(RUN, also=tuple(options.also))
    default, results = cost_of_set(analysis, RUN, folder / "default", options.runs)
    everything, more = cost_of_set(analysis, with_all, folder / "all", options.runs)
    cores = len(os.sched_getaffinity(0))
    forwards = {
        f"{name}, {threads} thread(s)": cost_of_forward(path, options.runs, threads)
        for name, path in (("benchmark network 96³", bundle), ("demonstration model", find_bundle("demo")))
        for threads in dict.fromkeys((1, cores))
    }
    print_costs(analysis, default, everything, (*results, *more), options.runs)
    print_ratios(default.median("all", options.runs), everything.median("all", options.runs), forwards)
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(write_results, analysis, RUN, folder / "default")
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def print_costs(
    analysis: Analysis,
    default: Costs,
    everything: Costs,
    results: tuple[Result, ...],
    runs: int,
) -> None:
    sizes: dict[Path, tuple[str, int]] = {r.path: (r.kind, r.path.stat().st_size) for r in results}
    shape = "×".join(map(str, analysis.suv.array.shape))
    table = Table(title=f"PET {shape}, {len(analysis.lesions)} lesions; median of {runs} runs, warm process")
    for heading in ("", "CPU s", "bytes", "bound"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in dict.fromkeys((*PARTS, *write.OPTIONAL)):
        costs, folder = (everything, "all") if name in write.OPTIONAL else (default, "default")
        size = sum(bytes_ for path, (kind, bytes_) in sizes.items() if kind == name and path.parent.name == folder)
        bound = BOUNDS.get(name)
        mark = "" if bound is None else f"{bound:,}" + ("" if size <= bound else "  EXCEEDED")
        table.add_row(name, f"{costs.median(name, runs):.3f}", f"{size:,}" if size else "", mark)
    for name, costs, folder in (("default set", default, "default"), ("with all optional", everything, "all")):
        size = sum(bytes_ for path, (_, bytes_) in sizes.items() if path.parent.name == folder)
        mark = f"{SET_BOUND:,}" + ("" if size <= SET_BOUND else "  EXCEEDED") if folder == "default" else ""
        table.add_row(name, f"{costs.median('all', runs):.3f}", f"{size:,}", mark)
    Console().print(table)


def print_ratios(default_s: float, everything_s: float, forwards: dict[str, float]) -> None:
    table = Table(title="CPU of the set against one fp32 forward of one member")
    for heading in ("forward of", "CPU s", "default set ÷ forward", "with all optional ÷ forward"):
        table.add_column(heading, justify="left" if heading == "forward of" else "right")
    for name, seconds in forwards.items():
        table.add_row(name, f"{seconds:.3f}", f"{default_s / seconds:.2f}", f"{everything_s / seconds:.2f}")
    Console().print(table)
    Console().print(f"torch {torch.__version__}, {len(os.sched_getaffinity(0))} cores")


if __name__ == "__main__":
    main()
