"""Supervised training of one ensemble member, the recipe of methods A0: AdamW, warm-up, cosine, weak augmentation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from inference.model.network import MonaiResNet18, RoiResNet, build

WEIGHT_DECAY = 1e-3  # not on norms and biases
LARGEST_GRADIENT = 5.0
GAIN = 0.1  # uptake and contrast of a training example vary by this share
FORWARD_BATCH = 64


@dataclass(frozen=True, slots=True)
class FitSettings:
    """``steps`` of ``batch`` subjects, the learning rate rising for ``warm_up`` steps and then falling as a cosine."""

    steps: int
    seed: int
    batch: int = 32
    learning_rate: float = 2e-3
    warm_up: int = 30


def fit(
    inputs: npt.NDArray[np.float32],
    labels: npt.NDArray[np.bool_],
    settings: RoiResNet | MonaiResNet18,
    how: FitSettings,
) -> dict[str, npt.NDArray[Any]]:
    """Train on inputs (subject, channel, slice, row, column); gives the member's weights by name.

    One thread and deterministic kernels: the same call gives the same bytes on the same machine.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(how.seed)
    rng = np.random.default_rng(how.seed)
    network = build(settings).train()
    optimiser = torch.optim.AdamW(_groups(network), lr=how.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, how))
    truth = torch.from_numpy(labels.astype(np.int64))
    for chosen in _batches(len(labels), how, rng):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(_augment(inputs[chosen], rng)), truth[chosen])
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def answers(
    network: nn.Module, inputs: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scores (subjects,) and penultimate features (subjects, n) of a restored network for many inputs."""
    net: Any = network
    scores, embeddings = [], []
    with torch.no_grad():
        for start in range(0, len(inputs), FORWARD_BATCH):
            features = net.features(torch.from_numpy(np.ascontiguousarray(inputs[start : start + FORWARD_BATCH])))
            logits = net.head(features)
            scores.append((logits[:, 1] - logits[:, 0]).numpy())
            embeddings.append(net.embedding(features).numpy())
    return np.concatenate(scores), np.concatenate(embeddings)


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": free, "weight_decay": 0.0}]


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


def _augment(batch: npt.NDArray[np.float32], rng: np.random.Generator) -> Tensor:
    """Turn and mirror each cube (a lesion has no preferred direction) and vary its gain."""
    out = np.empty_like(batch)
    for i, cube in enumerate(batch):
        turned = cube.transpose(0, *(1 + rng.permutation(3)))
        mirrored = np.flip(turned, tuple(axis for axis in (1, 2, 3) if rng.random() < 0.5))
        out[i] = mirrored * np.float32(rng.uniform(1.0 - GAIN, 1.0 + GAIN))
    return torch.from_numpy(out)
