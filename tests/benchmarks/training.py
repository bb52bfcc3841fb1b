"""What a step of each recipe costs: seconds, memory, share of the input pipeline, share of the card's peak.

    python -m tests.benchmarks.training [--device cpu] [--only cpc] [--steps 4]

Each recipe is fitted as in a run, at its large size, for a few steps, on random numbers of the right shape: a cohort's
images are made ready once and kept (``training.cohort.prepare``), which is no part of a step.  Each is measured in a
process of its own; one line for it goes to docs/measured/training_costs.jsonl.  A batch that the memory does not hold
is halved.  Seconds are means of the last steps; an epoch is every subject of the cohort once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from inference.facts import Refused
from training.experiments.lines import append_line
from training.prepared import Parts, Prepared
from training.recipe import Conditions
from training.recipes import recipe
from training.run.environment import machine

OUT = Path("docs/measured/training_costs.jsonl")
REVISION = 1  # of this measurement: raise it when earlier lines can no longer be compared
NO_MEMORY = 75  # exit code of a measurement
SHARE_OF_MEMORY = 0.8  # that a measurement on the CPU may take
# Dense peak, FLOP/s, bf16 on tensor cores and fp32 without them, from NVIDIA's data sheets
PEAKS: Mapping[str, tuple[str, float, float]] = {
    "H200": ("H200 SXM", 989.4e12, 66.9e12),
    "H100 PCIe": ("H100 PCIe", 756.0e12, 51.2e12),
    "H100": ("H100 SXM5", 989.4e12, 66.9e12),
    "A100": ("A100", 312.0e12, 19.5e12),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A recipe's variant.  ``subjects``: of an epoch; ``whose``: who says so; ``small``: settings to try this out.

    ``free``: its first steps are cheaper than its later ones.
    """

    recipe: str
    variant: str
    subjects: int
    whose: str
    settings: Mapping[str, Any]
    small: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 4
    free: bool = False


_USSL = {"size": "paper-like", "cube": 96, "members": 1, "check_every": 10_000}
_SMALL_USSL = {"cube": 16, "widths": (8, 8, 8, 8)}
_LARGE = {"size": "paper-like", "members": 1, "evaluate_every": 10_000}
_BODY = {**_LARGE, "size": "full"}
_SLICES, _SMALL_SLICES = {"size": "paper-like"}, {"pixels": 32, "width": 4}
_PAPER, _PHANTOM = "the paper's", "the phantom cohort's; the paper's is not known to us"
CASES: Mapping[str, Case] = {
    "ussl": Case("ussl", "supervised", 400, _PHANTOM, _USSL, _SMALL_USSL),
    "ussl-alternation": Case("ussl", "ussl", 400, _PHANTOM, _USSL, _SMALL_USSL, free=True),
    "cpc": Case("cpc", "CPC", 331, _PAPER, _LARGE, {**_SMALL_USSL, "extent_mm": 64.0}),
    "prrt_pfs": Case("prrt_pfs", "lab+PET+CT", 116, _PAPER, _BODY, {"shape": (32, 32, 32), "widths": (8, 8, 8, 8)}),
    "dlr": Case("dlr", "dlr+clinical", 352, _PAPER, _SLICES, _SMALL_SLICES),
    "dfsigm": Case("dfsigm", "fusion", 267, _PAPER, _SLICES, _SMALL_SLICES),
}


@dataclass(slots=True)
class Clock:
    """When each step began, in seconds, and how much had been counted by then."""

    device: str
    counted: Callable[[], int] = lambda: 0
    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def tick(self) -> bool:
        """Asked between steps; never ends them."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        self.counts.append(self.counted())
        return False

    def seconds(self, last: int) -> float:
        """Mean of the last steps."""
        return (self.times[-1] - self.times[-1 - last]) / last

    def flops(self, last: int) -> float:
        """Mean of the last steps."""
        return (self.counts[-1] - self.counts[-1 - last]) / last


@dataclass(frozen=True, slots=True)
class Work:
    """A few steps of a case: ``of(clock, steps)`` takes them and gives the share of the input pipeline in them."""

    of: Callable[[Clock, int], float]
    batch: int
    shape: tuple[int, ...]
    precision: str


def main() -> None:
    """Measure what is asked for, each case in a process of its own."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--only", nargs="*", choices=sorted(CASES), default=list(CASES))
    ask.add_argument(
        "--device", choices=("cpu", "cuda"), nargs="*", default=None, help="default: both, where torch can"
    )
    ask.add_argument("--steps", type=int, default=0, help="that count (even; default 4 on the CPU, 20 on the GPU)")
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--small", action="store_true", help="tiny sizes, to try this out; nothing is kept")
    ask.add_argument("--out", type=Path, default=OUT)
    ask.add_argument("--measure", help=argparse.SUPPRESS)
    ask.add_argument("--batch", type=int, default=0, help=argparse.SUPPRESS)
    options = ask.parse_args()
    if options.measure:
        _measure_here(options)
        return
    for device in options.device or _devices():
        for name in options.only:
            found = _apart(name, device, options)
            print(json.dumps(found), flush=True)
            if found is not None and not options.small:
                append_line(options.out, found)


def _devices() -> list[str]:
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _apart(name: str, device: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """The line of a case, with the largest batch, halved from the case's, that the memory holds; None where none."""
    batch = CASES[name].batch
    while batch:
        command = [sys.executable, "-m", "tests.benchmarks.training", "--measure", name, "--device", device]
        command += ["--batch", str(batch), "--steps", str(options.steps), "--threads", str(options.threads)]
        done = subprocess.run([*command, *["--small"] * options.small], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return found
        if done.returncode not in (NO_MEMORY, -9):
            sys.exit(f"{name} on {device} ended with {done.returncode}")
        print(f"{name} on {device}: the memory does not hold a batch of {batch}", file=sys.stderr)
        batch //= 2
    return None


def _measure_here(options: argparse.Namespace) -> None:
    (device,) = options.device
    if device == "cpu":  # an honest refusal instead of a killed neighbour
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (int(SHARE_OF_MEMORY * _available_bytes()), hard))
    case = replace(CASES[options.measure], batch=options.batch)
    if options.small:
        case = replace(case, settings={**case.settings, **case.small})
    try:
        print(json.dumps(measure(case, device, options.threads, options.steps or (20 if device == "cuda" else 4))))
    except (Refused, MemoryError, RuntimeError) as fault:
        if not _of_memory(fault):
            raise
        sys.exit(NO_MEMORY)


def _of_memory(fault: Exception) -> bool:
    if isinstance(fault, Refused):
        return fault.code == "training-out-of-memory"
    return isinstance(fault, MemoryError) or "memory" in str(fault)  # torch's own, of either device


def _available_bytes() -> int:
    text = Path("/proc/meminfo").read_text()
    return 1024 * next(int(line.split()[1]) for line in text.splitlines() if line.startswith("MemAvailable"))


def measure(case: Case, device: str, threads: int, steps: int) -> dict[str, Any]:
    """The line of a case: two fits, one that counts the operations and warms up, one that is timed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    work = _work(case, device, threads)
    with FlopCounterMode(display=False) as counter:
        counting = Clock(device, counter.get_total_flops)
        work.of(counting, 3 if not case.free else 9)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    clock = Clock(device)
    share = work.of(clock, 2 * steps + 1 if case.free else steps + 2)
    seconds, flops = clock.seconds(steps), counting.flops(4 if case.free else 1)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _peak_bytes()
    named = torch.cuda.get_device_name(0) if device == "cuda" else ""
    return {
        "recipe": case.recipe,
        "variant": case.variant,
        "device": device,
        "machine": machine(device),
        "torch": version("torch"),
        "threads": threads,
        "precision": work.precision,
        "input": list(work.shape),
        "batch": work.batch,
        "steps": steps,
        "seconds_per_step": round(seconds, 5),
        "subjects": case.subjects,
        "subjects_of": case.whose,
        "seconds_per_epoch": round(seconds * case.subjects / work.batch, 2),
        "input_share": round(share, 4),
        "peak_memory_mb": round(peak / 2**20, 1),
        "flops_per_step": flops,
        "flops_per_second": round(flops / seconds),
        **_of_peak(named, work.precision, flops / seconds),
        "revision": REVISION,
    }


def _of_peak(card: str, precision: str, flops_per_second: float) -> dict[str, Any]:
    found = next((peak for name, peak in PEAKS.items() if name in card), None)
    if found is None:
        return {}
    title, tensor, plain = found
    peak = tensor if precision == "bf16" else plain
    return {
        "peak": f"{title}, {precision}, dense: {peak / 1e12:g} TFLOP/s",
        "share_of_peak": round(flops_per_second / peak, 4),
    }


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _work(case: Case, device: str, threads: int) -> Work:
    return (_frozen if case.recipe in ("dlr", "dfsigm") else _fitted)(case, device, threads)


def _fitted(case: Case, device: str, threads: int) -> Work:
    """The recipe's own ``fit`` with one member."""
    wanted = recipe(case.recipe)
    given = {**case.settings, "batch": case.batch}
    if case.recipe == "ussl":
        given["unlabelled_batch"] = 2 * case.batch  # methods B2
    settings = wanted.settings.model_validate(given)
    ((name, look),) = ((name, look) for name, look in wanted.looks(settings).items() if name != "features")
    shape = (len(look.channels), *look.shape)
    labelled, free = 3 * case.batch + 4, 4 * case.batch if case.recipe == "ussl" else 0
    data = _random_cohort({name: shape}, labelled, free, wanted.values)
    train, held, unlabelled = np.split(np.arange(labelled + free, dtype=np.int64), [labelled - 4, labelled])

    def of(clock: Clock, steps: int) -> float:
        chosen = settings.model_copy(update={"steps": steps})
        estimator: Any = wanted.estimator(chosen, case.variant)
        with tempfile.TemporaryDirectory() as folder:
            conditions = Conditions(0, Path(folder), device, threads, stop=clock.tick)
            estimator.fit(data, Parts(train, held, unlabelled), conditions)
        return float(estimator.costs["input_share"])

    return Work(of, case.batch, shape, "bf16" if device == "cuda" else "fp32")


def _frozen(case: Case, device: str, threads: int) -> Work:
    """The frozen network of deep-learning radiomics: a step is a batch of studies, no backward."""
    from training.tabular.deep_features import BATCH, deep_features, random_backbone

    wanted = recipe(case.recipe)
    settings: Any = wanted.settings.model_validate(case.settings)
    ((_, look),) = wanted.looks(settings).items()
    shape = (len(look.channels), *look.shape)
    backbone = random_backbone(settings.network, seed=0)

    def of(clock: Clock, steps: int) -> float:
        images = np.random.default_rng(0).random((steps * BATCH, *shape), np.float32)

        def ticked(_done: int, _total: int) -> None:
            clock.tick()

        clock.tick()
        with tempfile.TemporaryDirectory() as folder:
            deep_features(
                images,
                backbone,
                digest="random",
                cache=Path(folder),
                threads=threads,
                device=device,
                between=ticked,
            )
        began = time.perf_counter()
        for start in range(0, len(images), BATCH):
            np.array(images[start : start + BATCH])
        return (time.perf_counter() - began) / (clock.times[-1] - clock.times[0])

    return Work(of, BATCH, shape, "fp32")


def _random_cohort(
    shapes: Mapping[str, tuple[int, ...]], labelled: int, free: int, values: tuple[str, ...]
) -> Prepared:
    count = labelled + free
    rng = np.random.default_rng(0)
    names = tuple(f"R{i}" for i in range(count))
    labels = (np.arange(count) % 2).astype(np.int8)
    labels[labelled:] = -1
    inputs = {name: rng.random((count, *shape), np.float32) for name, shape in shapes.items()}
    columns = {name: tuple(rng.random(count).tolist()) for name in values}
    return Prepared(names, names, ("1",) * count, labels, inputs, columns)


if __name__ == "__main__":
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    main()
