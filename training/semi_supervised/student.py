"""A network that learns, with the parts that only training has, and its slowly moving copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Network(Protocol):
    """What of ``inference.model.network`` is used: features (n, width, …), pooled embedding (n, d), logits (n, 2)."""

    def features(self, x: Tensor) -> Tensor: ...
    def embedding(self, features: Tensor, values: Tensor | None = None) -> Tensor: ...
    def head(self, features: Tensor, values: Tensor | None = None) -> Tensor: ...


class Student(nn.Module):
    """``network`` is what is served; ``extra``: heads of pretext tasks, by name, which are thrown away."""

    def __init__(self, network: nn.Module, extra: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.extra = nn.ModuleDict(extra)

    def forward(self, x: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (n, 2) and pooled features (n, d)."""
        network: Any = self.network
        features = network.features(x)
        return network.head(features, values), network.embedding(features, values)

    def logits(self, x: Tensor, values: Tensor | None = None) -> Tensor:
        """(n, 2)."""
        return self(x, values)[0]  # type: ignore[no-any-return]


def teacher_of(student: Student) -> Student:
    """A copy in evaluation mode that learns nothing by itself."""
    teacher = copy.deepcopy(student).eval()
    return teacher.requires_grad_(False)


@torch.no_grad()
def follow(teacher: Student, student: Student, step: int, limit: float) -> None:
    """Move the teacher towards the student (EMA, decay min(limit, (t+1)/(t+10))); batch statistics are copied."""
    decay = min(limit, (step + 1) / (step + 10))
    ours: list[Tensor] = list(teacher.parameters())
    theirs = [p.detach() for p in student.parameters()]
    torch._foreach_mul_(ours, decay)
    torch._foreach_add_(ours, theirs, alpha=1.0 - decay)
    for kept, now in zip(teacher.buffers(), student.buffers(), strict=True):
        kept.copy_(now)


@torch.no_grad()
def probabilities(student: Student, x: Tensor, values: Tensor | None = None) -> Tensor:
    """P(label) (n,) of a network in evaluation mode."""
    return student.logits(x, values).softmax(1)[:, 1]
