"""What a statistic gives: a number with its interval, or a difference with its test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; NaN where the data give none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference with its 95 % interval, its standardised size (z, or t) and two-sided p."""

    value: float
    low: float
    high: float
    statistic: float
    p: float


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))
