"""What a method is to the loop: a loss of a supervised step, and if it has them, steps without labels in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from training.semi_supervised.augment import Augment
from training.semi_supervised.problem import Images, Problem
from training.semi_supervised.settings import LoopSettings
from training.semi_supervised.student import Student

Memory = dict[str, Tensor]  # what a method remembers between steps; it is saved with the fit


@dataclass(slots=True, eq=False)
class Bench:
    """What every method works with.

    ``memory``: filled by the method.  ``averaged``: mean of a tensor over the processes that share the fit.
    ``row_of``: place of each row of the cohort in ``everything`` (train then unlabelled), -1 elsewhere.
    """

    student: Student
    teacher: Student
    problem: Problem
    settings: LoopSettings
    images: Images
    augment: Augment
    device: torch.device
    everything: Tensor
    row_of: Tensor
    averaged: Callable[[Tensor], Tensor]
    memory: Memory = field(default_factory=dict)
    input_seconds: float = 0.0

    def labels(self, rows: Tensor) -> Tensor:
        """int64 (n,) of training rows."""
        return torch.from_numpy(self.problem.labels[rows.cpu().numpy()].astype("int64")).to(self.device)

    def pictures(self, rows: Tensor) -> Tensor:
        """The images of rows as they are."""
        started = time.monotonic()
        found = self.images.of(rows.cpu().numpy())
        self.input_seconds += time.monotonic() - started
        return found

    def values(self, rows: Tensor) -> Tensor | None:
        """The encoded values of rows (n, k), None where the network takes none."""
        return self.images.values(rows.cpu().numpy())

    def weights(self, rows: Tensor) -> Tensor | float:
        """Of rows in the loss (n,)."""
        given = self.problem.weights
        return 1.0 if given is None else torch.from_numpy(given[rows.cpu().numpy()]).to(self.device)

    def view(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Labelled images as the settings want them augmented."""
        how = self.settings.augmentation
        return x if how == "none" else self.weak(x, generator) if how == "weak" else self.strong(x, generator)

    def weak(self, x: Tensor, generator: torch.Generator) -> Tensor:
        started = time.monotonic()
        found = self.augment.weak(x, generator)
        self.input_seconds += time.monotonic() - started
        return found

    def strong(self, x: Tensor, generator: torch.Generator) -> Tensor:
        started = time.monotonic()
        found = self.augment.strong(x, generator)
        self.input_seconds += time.monotonic() - started
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step.  ``number`` counts supervised steps from 0; ``done``: share of the run, 0..1.

    ``labelled`` and ``unlabelled``: rows (n,), the second empty where there are none.
    """

    number: int
    done: float
    labelled: Tensor
    unlabelled: Tensor
    generator: torch.Generator


class Method(Protocol):
    """``name`` as results call it.  ``needs_unlabelled``: whether it does anything without such rows."""

    name: str
    needs_unlabelled: bool

    def heads(self, features: int) -> dict[str, nn.Module]:
        """Heads of its own, for pooled features of that length."""

    def begin(self, bench: Bench) -> None:
        """Fill ``bench.memory``; called before the first step, and before a saved memory is put in."""

    def loss(self, step: Step, bench: Bench) -> Tensor:
        """Of a supervised step."""

    def free_steps(self, number: int, total: int) -> int:
        """How many steps without labels follow supervised step ``number``."""

    def free_loss(self, step: Step, bench: Bench) -> Tensor:
        """Of a step without labels."""

    def refresh(self, step: Step, bench: Bench) -> None:
        """A look at all images, every ``refresh_every`` supervised steps."""


class Plain:
    """A method without heads, memory and free steps: the start of most."""

    name = "plain"
    needs_unlabelled = False

    def heads(self, features: int) -> dict[str, nn.Module]:  # noqa: ARG002
        return {}

    def begin(self, bench: Bench) -> None:  # noqa: B027
        """Nothing to remember."""

    def free_steps(self, number: int, total: int) -> int:  # noqa: ARG002
        return 0

    def free_loss(self, step: Step, bench: Bench) -> Tensor:  # noqa: ARG002
        raise AssertionError("a method without free steps was asked for one")

    def refresh(self, step: Step, bench: Bench) -> None:  # noqa: B027
        """Nothing to look at."""
