"""Weights for the frozen networks of ``dlr`` and ``dfsigm`` where nobody has ImageNet's: pretrained on phantoms.

The published systems use ImageNet weights, which are not in this repository.  Here a 2D ResNet learns to tell how a
phantom was rendered (texture and density on CT, iodine on the map, size) from one slice.  Its phantoms have a seed of
their own and no label is shown; but what it learns to see is what the phantom cohorts hide their label in, so a result
on them flatters these weights against any from elsewhere.  They say nothing about patients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from inference.facts import Refused
from inference.model.slice_network import SliceNet, SliceResNet
from inference.model.slices import AxialSlices
from training.phantom.images import iodine_mg_ml
from training.phantom.lesion import texture_sd_hu
from training.phantom.prepared import prepare_phantom
from training.phantom.settings import PhantomSettings
from training.phantom.subjects import PhantomSubject, draw_subjects
from training.recipe import Conditions, Progress, Stopped
from training.tabular.deep_features import ABOUT_KEY

WEIGHTS_FILE, REPORT_FILE = "backbone.safetensors", "backbone.json"
PREFIX = "resnet."  # of the network's own names; the file has torchvision's
TARGETS = ("texture sd (HU)", "density (HU)", "iodine (mg/ml)", "radius (mm)")
LOOK = "slices"
OWN_SEED = 700_000  # added to the seed: cohorts that are tested on have small ones
HELD_OUT = 0.1  # share of the phantoms that show how well it learnt
Array = npt.NDArray[np.float32]


class BackboneSettings(BaseModel):
    """All of it is ours [R]; network and look must be those of the recipe that uses the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixels: int = Field(96, ge=32, le=512, description="edge of a slice")
    slices: int = Field(3, ge=1, le=16, description="of each phantom; a step sees one of them")
    depth: Literal[18, 50] = Field(18, description="of the ResNet")
    width: int = Field(16, ge=4, le=64, description="maps of the first stage")
    stem: Literal["imagenet", "small"] = Field("imagenet", description="small: one 3² kernel, for small slices")
    subjects: int = Field(2000, ge=20, le=100_000, description="phantoms of CT, and as many iodine maps")
    steps: int = Field(3000, ge=1, le=1_000_000, description="of a batch each")
    batch: int = Field(32, ge=2, le=1024, description="slices a step")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="largest, of AdamW with one cycle")

    @property
    def network(self) -> SliceResNet:
        """What is trained."""
        return SliceResNet(depth=self.depth, width=self.width, stem=self.stem)

    @property
    def looks(self) -> dict[Literal["dlr", "dfsigm"], AxialSlices]:
        """By phantom."""
        return {
            "dlr": AxialSlices.of_ct(self.pixels, self.slices),
            "dfsigm": AxialSlices.of_iodine(self.pixels, self.slices),
        }


@dataclass(frozen=True, slots=True)
class BackboneReport:
    """``explained``: target → share of its variance that is explained on held-out phantoms (mean over the slices)."""

    file: Path
    subjects: int
    steps: int
    seed: int
    explained: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Task:
    """``inputs``: (n, 3, slices, rows, columns); ``targets``: (n, target), z-scored, NaN where a phantom has none."""

    inputs: Array
    targets: Array


def train_backbone(
    out: Path, settings: BackboneSettings, conditions: Conditions, *, processes: int = 1
) -> BackboneReport:
    """Render, train, test on phantoms that were held out, and write ``backbone.safetensors`` and ``backbone.json``.

    The names are torchvision's.  The same arguments give the same bytes on the same machine.
    Raises ``Refused``: ``bundle-out`` (the folder holds other files), ``training-loss-not-finite``; ``Stopped``.
    """
    if out.exists() and any(f.name not in (WEIGHTS_FILE, REPORT_FILE) for f in out.iterdir()):
        raise Refused("bundle-out", "The output folder holds other files; give an empty or a new folder.", out=str(out))
    task = _phantoms(settings, conditions, processes)
    order = np.random.default_rng(conditions.seed).permutation(len(task.inputs))
    held = max(1, round(HELD_OUT * len(order)))
    network = _train(task, order[held:], settings, conditions)
    explained = _explained(network, task, order[:held])
    report = BackboneReport(out / WEIGHTS_FILE, 2 * settings.subjects, settings.steps, conditions.seed, explained)
    _write(out, network, settings, report)
    return report


class _WithTargets(nn.Module):
    def __init__(self, settings: SliceResNet) -> None:
        super().__init__()
        self.network = SliceNet(settings)
        self.targets = nn.Linear(settings.features, len(TARGETS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        told: torch.Tensor = self.targets(self.network.embedding(self.network.features(x)))
        return told


def _phantoms(settings: BackboneSettings, conditions: Conditions, processes: int) -> _Task:
    inputs, targets = [], []
    for preset, look in settings.looks.items():
        cohort = PhantomSettings(preset=preset, subjects=settings.subjects, seed=OWN_SEED + conditions.seed)
        prepared = prepare_phantom(
            cohort, {LOOK: look}, processes=processes, tell=conditions.tell, stop=conditions.stop
        )
        inputs.append(prepared.inputs[LOOK])
        targets.append(np.array([_targets(subject) for subject in draw_subjects(cohort)], np.float32))
    found = np.concatenate(targets)
    return _Task(np.concatenate(inputs), (found - np.nanmean(found, axis=0)) / np.nanstd(found, axis=0))


def _targets(subject: PhantomSubject) -> tuple[float, ...]:
    """In the order of ``TARGETS``; no label among them."""
    assert subject.scene is not None  # both presets show a lesion
    lesion = subject.scene.lesion
    if "ct" in subject.scores:
        return texture_sd_hu(subject.scores["ct"]), lesion.hu, np.nan, lesion.radius_mm
    return np.nan, np.nan, iodine_mg_ml(subject.scores["iodine"]), lesion.radius_mm


def _train(
    task: _Task, rows: npt.NDArray[np.int64], settings: BackboneSettings, conditions: Conditions
) -> _WithTargets:
    torch.set_num_threads(conditions.threads)
    torch.use_deterministic_algorithms(True)
    rng = np.random.default_rng(conditions.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(conditions.seed)
        network = _WithTargets(settings.network).to(conditions.device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=settings.steps + 1)
    for step in range(settings.steps):
        if conditions.stop():
            raise Stopped
        conditions.tell(Progress(step, settings.steps, "pretraining"))
        chosen = rng.choice(rows, settings.batch)
        told = network(torch.from_numpy(_augmented(task.inputs, chosen, rng)).to(conditions.device))
        wanted = torch.from_numpy(task.targets[chosen]).to(conditions.device)
        known = torch.isfinite(wanted)
        loss = ((told - wanted.nan_to_num()) ** 2 * known).sum() / known.sum()
        if not torch.isfinite(loss):
            raise Refused(
                "training-loss-not-finite", f"The loss of step {step} is no number; lower the setting 'learning_rate'."
            )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        cycle.step()
    return network.eval()


def _augmented(inputs: Array, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> Array:
    """One slice of each, turned and mirrored in its plane."""
    slices = inputs.shape[2]
    out = np.empty((len(chosen), inputs.shape[1], 1, *inputs.shape[3:]), np.float32)
    for i, row in enumerate(chosen):
        picture = np.rot90(inputs[row, :, int(rng.integers(slices))], int(rng.integers(4)), axes=(1, 2))
        out[i, :, 0] = picture[:, ::-1] if rng.random() < 0.5 else picture
    return out


def _explained(network: _WithTargets, task: _Task, rows: npt.NDArray[np.int64]) -> dict[str, float]:
    device = next(network.parameters()).device
    with torch.no_grad():
        told = np.concatenate(
            [
                network(torch.from_numpy(np.array(task.inputs[part])).to(device)).cpu().numpy()
                for part in np.array_split(rows, max(1, len(rows) // 32))
            ]
        )
    wanted = task.targets[rows]
    found = {}
    for i, name in enumerate(TARGETS):
        known = np.isfinite(wanted[:, i])
        if known.sum() > 1:
            missed = np.mean((told[known, i] - wanted[known, i]) ** 2)
            found[name] = round(float(1.0 - missed / wanted[known, i].var()), 4)
    return found


def _write(out: Path, network: _WithTargets, settings: BackboneSettings, report: BackboneReport) -> None:
    from safetensors.numpy import save

    tensors = {n.removeprefix(PREFIX): t.cpu().numpy() for n, t in network.network.state_dict().items()}
    card = (
        f"pretrained on {report.subjects} phantoms at {settings.pixels}² pixels (seed {report.seed}, {report.steps} "
        "steps) to tell how they were rendered; they know what phantom cohorts hide their label in, and say nothing "
        "about patients"
    )
    # one entry only: safetensors writes several in any order
    network_of = {"network": settings.network.model_dump(mode="json"), "pixels": settings.pixels, "card": card}
    about = {ABOUT_KEY: json.dumps(network_of)}
    told: dict[str, Any] = {
        "settings": settings.model_dump(mode="json"),
        "seed": report.seed,
        "explained": dict(report.explained),
        "card": card,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / REPORT_FILE).write_text(json.dumps(told, indent=1) + "\n")
    partial = out / f"{WEIGHTS_FILE}.partial"
    partial.write_bytes(save(tensors, about))
    partial.replace(out / WEIGHTS_FILE)
