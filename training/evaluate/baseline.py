"""The table that papers begin with: who is in each part, and standardised differences between parts (Austin 2009).

A standardised difference above about 0.1 says that two parts are not alike; it does not depend on their size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.model.values import Value
from training.prepared import Prepared

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Of a number: median and quartiles of those that are known."""

    median: float
    low: float
    high: float
    missing: int


@dataclass(frozen=True, slots=True)
class Count:
    """Of a level: how many have it, of those that are known."""

    count: int
    of: int
    missing: int


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """``cells``: one a part.  ``by_label``: positive minus negative, ``external``: external minus the others; None
    where a part is empty or nothing varies."""

    name: str
    cells: tuple[Quartiles | Count, ...]
    by_label: float | None
    external: float | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """``parts``: name and number of studies.  ``missing_percent``: by variable, of all studies."""

    parts: tuple[tuple[str, int], ...]
    rows: tuple[BaselineRow, ...]
    missing_percent: Mapping[str, float]


def baseline(data: Prepared) -> Baseline:
    """Of the values and subgroup columns of a cohort, by label and set; a row a number, a row a level."""
    outside = np.array([name == "external" for name in data.sets] or [False] * len(data), bool)
    positive, negative = data.labels == 1, data.labels == 0
    parts = {
        "positive": positive & ~outside,
        "negative": negative & ~outside,
        "without a label": (data.labels < 0) & ~outside,
        "external": outside,
    }
    kept = {name: mask for name, mask in parts.items() if mask.any()}
    masks = list(kept.values())
    columns: dict[str, Sequence[Value | None]] = {
        **data.values,
        **{name: [text or None for text in texts] for name, texts in data.groups.items() if name not in data.values},
    }
    rows: list[BaselineRow] = []
    for name, column in columns.items():
        rows += _rows(name, column, masks, (positive & ~outside, negative & ~outside), (outside, ~outside))
    missing = {name: 100.0 * sum(_missing(v) for v in column) / len(data) for name, column in columns.items()}
    return Baseline(tuple((name, int(mask.sum())) for name, mask in kept.items()), tuple(rows), missing)


def standardised_difference(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float | None:
    """Difference of means ÷ root of the mean variance; for 0/1 this is the one for proportions."""
    if not len(one) or not len(other):
        return None
    binary = set(np.unique(np.concatenate([one, other]))) <= {0.0, 1.0}
    free = 0 if binary or min(len(one), len(other)) < 2 else 1
    spread = math.sqrt((float(np.var(one, ddof=free)) + float(np.var(other, ddof=free))) / 2.0)
    return float(np.mean(one) - np.mean(other)) / spread if spread > 0.0 else None


def _rows(
    name: str,
    column: Sequence[Value | None],
    masks: Sequence[Mask],
    by_label: tuple[Mask, Mask],
    by_set: tuple[Mask, Mask],
) -> list[BaselineRow]:
    known = np.array([not _missing(value) for value in column], bool)
    if all(isinstance(value, int | float) for value, there in zip(column, known, strict=True) if there):
        numbers = np.array([float(v) if there else np.nan for v, there in zip(column, known, strict=True)])  # type: ignore[arg-type]
        cells = tuple(_quartiles(numbers[mask]) for mask in masks)
        return [BaselineRow(name, cells, _apart(numbers, known, by_label), _apart(numbers, known, by_set))]
    texts = np.array([str(value) if there else "" for value, there in zip(column, known, strict=True)])
    found = []
    for level in sorted(set(texts[known])):
        has = (texts == level).astype(float)
        levels = tuple(
            Count(int(has[mask & known].sum()), int((mask & known).sum()), int((mask & ~known).sum())) for mask in masks
        )
        row = BaselineRow(f"{name}: {level}", levels, _apart(has, known, by_label), _apart(has, known, by_set))
        found.append(row)
    return found


def _quartiles(numbers: npt.NDArray[np.float64]) -> Quartiles:
    there = numbers[np.isfinite(numbers)]
    if not len(there):
        return Quartiles(math.nan, math.nan, math.nan, len(numbers))
    low, median, high = np.percentile(there, [25.0, 50.0, 75.0])
    return Quartiles(float(median), float(low), float(high), len(numbers) - len(there))


def _apart(numbers: npt.NDArray[np.float64], known: Mask, masks: tuple[Mask, Mask]) -> float | None:
    return standardised_difference(numbers[masks[0] & known], numbers[masks[1] & known])


def _missing(value: Value | None) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
