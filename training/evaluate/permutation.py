"""Is a result above chance?  The labels are permuted and the whole pipeline runs again, selection included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PERMUTATIONS = 200
LabelArray = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Permuted:
    """``p``: one-sided, (1 + those at or above the observed) ÷ (1 + all), never 0 (Phipson & Smyth 2010)."""

    observed: float
    permuted: tuple[float, ...]
    mean: float
    p: float


def permuted_labels(labels: LabelArray, patients: Sequence[str], *, seed: int) -> LabelArray:
    """Labels exchanged between patients; those of one patient stay together, unlabelled rows (−1) unlabelled.

    Patients with several labelled rows are exchanged only with patients of as many.
    """
    rng = np.random.default_rng(seed)
    out = labels.copy()
    rows_of: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        if labels[row] >= 0:
            rows_of.setdefault(patient, []).append(row)
    for count in sorted({len(rows) for rows in rows_of.values()}):
        blocks = [rows for rows in rows_of.values() if len(rows) == count]
        for to, source in zip(blocks, rng.permutation(len(blocks)), strict=True):
            out[to] = labels[blocks[source]]
    return out


def permutation_test(
    pipeline: Callable[[LabelArray], float],
    labels: LabelArray,
    patients: Sequence[str],
    *,
    seed: int,
    permutations: int = PERMUTATIONS,
) -> Permuted:
    """``pipeline`` takes labels (n,), does everything that depends on them, and gives its AUC out of fold."""
    found = [pipeline(permuted_labels(labels, patients, seed=seed + i)) for i in range(permutations)]
    return summarised(pipeline(labels), found)


def summarised(observed: float, permuted: Sequence[float]) -> Permuted:
    """Of results that were computed elsewhere (the runs "permuted-N")."""
    above = sum(one >= observed for one in permuted)
    mean = float(np.mean(permuted)) if len(permuted) else float("nan")
    return Permuted(observed, tuple(permuted), mean, (1 + above) / (1 + len(permuted)))
