"""What recipes learn from: a cohort whose images have gone through ``inference.model.inputs``, as arrays.

Row i is one study; everything is in the order of the cohort's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from inference.model.values import Value

Rows = npt.NDArray[np.int64]
UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class Prepared:
    """A cohort, ready to learn from (n studies).

    ``patients``, ``studies``, ``centres``: names of the table.  ``labels``: int8 (n,), 1, 0, or -1 where there is none.
    ``inputs``: float32 (n, channel, …) by the name a recipe gave the look; may be memory-mapped, never written to.
    ``values``: name → one entry a row, None where missing.  ``quantities``: name → float (n,), as
    ``inference.model.applicability.quantities``.  ``radiomics``: float (n, features), named by ``radiomics_names``.
    ``months``: time to event or censoring, NaN where unknown; ``events``: 1 event, 0 censored, -1 unknown.
    ``groups``: subgroup columns (sex, age band, scanner …), one text a row, "" where unknown.
    ``sets``: what the table says a row is for: "train", "internal" (the table's own validation rows), "external" (never
    learnt from) or "unlabelled"; empty: all are "train".
    ``units``: name → UCUM unit of the value, where the table states one.
    ``digest``: SHA-256 (hex) of the table and all images.
    """

    patients: tuple[str, ...]
    studies: tuple[str, ...]
    centres: tuple[str, ...]
    labels: npt.NDArray[np.int8]
    inputs: Mapping[str, npt.NDArray[np.float32]]
    values: Mapping[str, tuple[Value | None, ...]] = field(default_factory=dict)
    quantities: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    radiomics: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    radiomics_names: tuple[str, ...] = ()
    months: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    events: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""
    sets: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.patients)

    def values_of(self, row: int) -> dict[str, Value | None]:
        """The values of one row, as ``inference.model.values.encode`` takes them."""
        return {name: column[row] for name, column in self.values.items()}


@dataclass(frozen=True, slots=True)
class Parts:
    """Which rows are for what.  ``train`` and ``validation`` are labelled; ``unlabelled`` never holds a test row.

    ``validation``: early stopping, calibration, choice; disjoint from ``train`` by patient.
    """

    train: Rows
    validation: Rows
    unlabelled: Rows = field(default_factory=lambda: np.empty(0, np.int64))
