"""What a fit learns from: images of a cohort in memory, and which rows are labelled, unlabelled or for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inference.facts import Refused
from training.prepared import Rows

LARGEST_FORWARD_VOXELS = 2**22
LARGEST_RESIDENT_BYTES = 8 * 1024**3  # of images kept on a GPU; more are sent batch by batch


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Rows of ``inputs``, float32 (n, channel, slice, row, column), may be memory-mapped.

    ``labels`` (n,): 1, 0, -1.  ``centres`` (n,): names.  ``train`` and ``validation`` are labelled and disjoint;
    ``unlabelled`` rows have labels that nobody looks at.  ``targets`` (n,): a teacher's probability of the label, NaN
    where there is none.  ``pretext`` (n, k): what a pretraining regresses.
    ``values`` (n, k): clinical or laboratory values, encoded, for networks that take them.
    ``weights`` (n,): of each row in the loss of labelled images, None for all alike.
    """

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8]
    centres: Sequence[str]
    train: Rows
    validation: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    unlabelled: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    targets: npt.NDArray[np.float32] | None = None
    pretext: npt.NDArray[np.float32] | None = None
    values: npt.NDArray[np.float32] | None = None
    weights: npt.NDArray[np.float32] | None = None

    def check(self) -> None:
        """Raises ``Refused`` ``training-one-class`` unless both classes are in ``train``."""
        if len(set(self.labels[self.train].tolist()) & {0, 1}) < 2:
            raise Refused(
                "training-one-class",
                f"The {len(self.train)} training rows are all of one class; label cases of both, or use fewer folds.",
            )

    @property
    def prior(self) -> float:
        """Share of positives among the labelled, with Laplace's one more of each (methods B2)."""
        return float((self.labels[self.train] == 1).sum() + 1) / (len(self.train) + 2)


def at_once(inputs: npt.NDArray[np.float32], most: int = 64) -> int:
    """How many rows go through a network together when nothing is learnt: whole bodies one by one."""
    return max(1, min(most, LARGEST_FORWARD_VOXELS // int(np.prod(inputs.shape[2:]))))


class Images:
    """Batches of a problem's images on the device."""

    def __init__(
        self, inputs: npt.NDArray[np.float32], device: torch.device, values: npt.NDArray[np.float32] | None = None
    ) -> None:
        self._inputs, self._values = inputs, values
        self.at_once = at_once(inputs)
        self._device = device
        self._resident: Tensor | None = None
        if device.type == "cuda" and inputs.nbytes <= LARGEST_RESIDENT_BYTES:
            self._resident = torch.from_numpy(np.array(inputs, np.float32)).to(
                device
            )  # a copy: inputs may be read-only

    def of(self, rows: Rows) -> Tensor:
        """float32 (len(rows), channel, slice, row, column)."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows).to(self._device)]
        return torch.from_numpy(np.ascontiguousarray(self._inputs[rows], np.float32)).to(self._device)

    def values(self, rows: Rows) -> Tensor | None:
        """float32 (len(rows), k), None where there are none."""
        return None if self._values is None else torch.from_numpy(self._values[rows]).to(self._device)


class Batches:
    """An endless queue of rows in which each stratum (class and centre) is spread evenly.

    Which rows a step gets follows from seed and step alone, so a resumed fit needs no state of it.
    """

    def __init__(self, rows: Rows, strata: Sequence[object], size: int, seed: Sequence[int]) -> None:
        self._rows, self._size, self._seed = rows, size, tuple(seed)
        names = sorted({repr(one) for one in strata})
        self._strata = np.array([names.index(repr(one)) for one in strata])
        self._epoch = lru_cache(maxsize=4)(self._order)

    def at(self, step: int, part: int = 0, parts: int = 1) -> Rows:
        """The rows of a step; of its every ``parts``-th from ``part`` on where processes share the step."""
        if len(self._rows) == 0:
            return self._rows
        places = np.arange(step * self._size, (step + 1) * self._size)
        epochs, within = np.divmod(places, len(self._rows))
        chosen = np.array([self._epoch(int(e))[w] for e, w in zip(epochs, within, strict=True)], np.int64)
        return chosen[part::parts]

    def _order(self, epoch: int) -> Rows:
        rng = np.random.default_rng([*self._seed, epoch])
        place = np.empty(len(self._rows))
        for stratum in np.unique(self._strata):
            members = np.flatnonzero(self._strata == stratum)
            place[members] = (rng.permutation(len(members)) + rng.random()) / len(members)
        return self._rows[np.argsort(place, kind="stable")]
