"""Supervised training of a network with values beside the images: AdamW, cosine, early stop (methods A3, B2).

Early stop: the weights of the best validation AUC are kept.  A fit that was killed begins again; one that ended is read
from its folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from inference.facts import Refused
from inference.model.inputs import CanonicalRoi, FixedCrop, InputSettings
from inference.model.network import Network, NetworkSettings, build
from training.prepared import Parts, Rows
from training.recipe import Conditions, Progress, Stopped

LARGEST_GRADIENT = 5.0
GAIN = 0.1  # uptake and contrast of a training example vary by this share
FORWARD_BATCH = 32
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """``steps`` of ``batch`` subjects; the rate rises for ``warm_up`` steps, then falls as a cosine to 0.

    ``evaluate_every`` so many steps the validation AUC is taken; after ``patience`` of them without a gain the fit
    ends (0: it never does).  ``look``: what the inputs are, for the augmentation.
    """

    steps: int
    look: InputSettings
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3  # not on norms and biases
    warm_up: int = 30
    evaluate_every: int = 50
    patience: int = 0


@dataclass(frozen=True, slots=True)
class Learnt:
    """A trained member: ``weights`` of ``best_step`` of the ``steps`` that were taken.

    ``seconds``: of all steps; ``input_seconds``: of them, for reading and augmenting the batches.
    """

    weights: Mapping[str, Array]
    best_step: int
    steps: int
    validation_auc: float
    seconds: float = 0.0
    input_seconds: float = 0.0


def fit(
    inputs: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32] | None,
    labels: npt.NDArray[np.int8],
    parts: Parts,
    settings: NetworkSettings,
    how: FitSettings,
    conditions: Conditions,
    *,
    weights: npt.NDArray[np.float32] | None = None,
) -> Learnt:
    """Train on the rows ``parts.train`` of ``inputs`` (row, channel, slice, row, column) and ``values`` (row, n).

    ``weights``: of each training row in the loss.  The same call gives the same bytes on the same machine.
    Raises ``Refused``: ``training-one-class``, ``training-loss-not-finite``, ``training-out-of-memory``; ``Stopped``.
    """
    for rows in (parts.train, parts.validation):
        if set(np.unique(labels[rows]).tolist()) != {0, 1}:
            raise Refused("training-one-class", "Training and validation need studies with and without the label.")
    if (learnt := _read(conditions.folder)) is not None:
        return learnt
    torch.set_num_threads(conditions.threads)
    torch.use_deterministic_algorithms(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(conditions.seed)
        try:
            learnt = _Fit(inputs, values, labels, parts, settings, how, conditions, weights).run()
        except (MemoryError, torch.OutOfMemoryError) as fault:
            reason = "Memory is too small for this training; lower the settings 'batch' or 'size', or 'members'."
            raise Refused("training-out-of-memory", reason) from fault
    _write(conditions.folder, learnt)
    return learnt


class _Fit:
    """The state of one fit."""

    def __init__(
        self,
        inputs: npt.NDArray[np.float32],
        values: npt.NDArray[np.float32] | None,
        labels: npt.NDArray[np.int8],
        parts: Parts,
        settings: NetworkSettings,
        how: FitSettings,
        conditions: Conditions,
        weights: npt.NDArray[np.float32] | None,
    ) -> None:
        self.inputs, self.values, self.labels, self.parts = inputs, values, labels, parts
        self.how, self.conditions = how, conditions
        self.rng = np.random.default_rng(conditions.seed)
        self.network = build(settings).to(conditions.device).train()
        self.optimiser = torch.optim.AdamW(_groups(self.network, how), lr=how.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: _rate(step, how))
        self.input_seconds = 0.0
        self.weights = np.ones(len(parts.train), np.float32) if weights is None else weights

    def run(self) -> Learnt:
        best, waited, step = Learnt(_kept(self.network), 0, 0, -1.0), 0, 0
        began = perf_counter()
        for step, chosen in enumerate(_batches(len(self.parts.train), self.how, self.rng), 1):
            if self.conditions.stop():
                raise Stopped
            self._step(step, chosen)
            if step % self.how.evaluate_every and step != self.how.steps:
                continue
            self.conditions.tell(Progress(step, self.how.steps, "training"))
            auc = self._validation_auc()
            waited = 0 if auc > best.validation_auc else waited + 1
            if waited == 0:
                best = Learnt(_kept(self.network), step, step, auc)
            elif waited == self.how.patience:
                break
        return replace(best, steps=step, seconds=perf_counter() - began, input_seconds=self.input_seconds)

    def _step(self, step: int, chosen: npt.NDArray[np.int64]) -> None:
        rows, device = self.parts.train[chosen], self.conditions.device
        began = perf_counter()
        x = torch.from_numpy(augmented(self.inputs[rows], self.how.look, self.rng)).to(device)
        self.input_seconds += perf_counter() - began
        values = None if self.values is None else torch.from_numpy(self.values[rows]).to(device)
        truth = torch.from_numpy(self.labels[rows].astype(np.int64)).to(device)
        each = nn.functional.cross_entropy(self.network(x, values), truth, reduction="none")
        loss = (each * torch.from_numpy(self.weights[chosen]).to(device)).mean()
        if not torch.isfinite(loss):
            raise Refused(
                "training-loss-not-finite",
                f"The loss of step {step} is no number; the batch held the rows {_listed(rows)}. Check their images "
                "and values, or lower the learning rate.",
            )
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.schedule.step()

    def _validation_auc(self) -> float:
        from sklearn.metrics import roc_auc_score

        rows = self.parts.validation
        self.network.eval()
        scores, _ = answers(self.network, self.inputs, rows, None if self.values is None else self.values[rows])
        self.network.train()
        return float(roc_auc_score(self.labels[rows], scores))


def answers(
    network: Network, inputs: npt.NDArray[np.float32], rows: Rows, values: npt.NDArray[np.float32] | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scores (len(rows),) and penultimate features (len(rows), n) of a network in evaluation mode.

    ``values``: (len(rows), n), in the order of ``rows``.
    """
    device = next(network.parameters()).device
    scores, embeddings = [], []
    with torch.no_grad():
        for start in range(0, len(rows), FORWARD_BATCH):
            part = slice(start, start + FORWARD_BATCH)
            features = network.features(torch.from_numpy(np.ascontiguousarray(inputs[rows[part]])).to(device))
            beside = None if values is None else torch.from_numpy(values[part]).to(device)
            logits = network.head(features, beside)
            scores.append((logits[:, 1] - logits[:, 0]).cpu().numpy())
            embeddings.append(network.embedding(features, beside).cpu().numpy())
    return np.concatenate(scores), np.concatenate(embeddings)


def augmented(batch: npt.NDArray[np.float32], look: InputSettings, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Another view of each subject, PET and CT alike, with another gain of the uptake.

    A lesion alone has no preferred direction: it is turned and mirrored.  With its surroundings, or as a whole body,
    only left and right are exchanged.
    """
    alone = isinstance(look, CanonicalRoi)
    pet = [i for i, name in enumerate(look.channels) if name.startswith("PET")]
    no_uptake = -1.0 if isinstance(look, FixedCrop) else 0.0
    out = np.empty_like(batch)
    for i, one in enumerate(batch):
        seen = one.transpose(0, *(1 + rng.permutation(3))) if alone else one
        axes = (1, 2, 3) if alone else (3,)
        out[i] = np.flip(seen, tuple(axis for axis in axes if rng.random() < 0.5))
        out[i, pet] = (out[i, pet] - no_uptake) * np.float32(rng.uniform(1.0 - GAIN, 1.0 + GAIN)) + no_uptake
    return out


def _kept(network: Network) -> dict[str, Array]:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def _groups(network: nn.Module, how: FitSettings) -> list[dict[str, Any]]:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": how.weight_decay}, {"params": free, "weight_decay": 0.0}]


def _rate(step: int, how: FitSettings) -> float:
    """Share of the learning rate at a step."""
    if step < how.warm_up:
        return (step + 1) / how.warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (step - how.warm_up) / max(how.steps - how.warm_up, 1))


def _batches(subjects: int, how: FitSettings, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Every subject once before any comes again."""
    queue = np.empty(0, np.int64)
    for _ in range(how.steps):
        while len(queue) < how.batch:
            queue = np.concatenate([queue, rng.permutation(subjects)])
        yield queue[: how.batch]
        queue = queue[how.batch :]


def _listed(rows: Rows) -> str:
    """Rows of the cohort's table: its first study stands in row 2."""
    return ", ".join(str(int(row) + 2) for row in sorted(rows))


def _write(folder: Path, learnt: Learnt) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(learnt.weights), folder / "member.safetensors")
    about = {name: value for name, value in asdict(learnt).items() if name != "weights"}
    partial = folder / "member.json.partial"
    partial.write_text(json.dumps(about))
    partial.replace(folder / "member.json")


def _read(folder: Path) -> Learnt | None:
    from safetensors.numpy import load_file

    if not (folder / "member.json").is_file():
        return None
    return Learnt(load_file(folder / "member.safetensors"), **json.loads((folder / "member.json").read_text()))
