"""Two models compared over the folds of a repeated cross-validation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from training.evaluate.estimate import Difference


def corrected_resampled_t(differences: npt.NDArray[np.float64], n_test: float, n_train: float) -> Difference:
    """Mean of the J fold differences with Nadeau & Bengio's corrected t (Mach Learn 2003;52:239).

    The folds share training subjects, so the variance takes the factor 1/J + n_test/n_train in place of 1/J.  Two folds
    or more (ValueError).
    """
    count = len(differences)
    if count < 2:
        raise ValueError("a comparison over folds needs two folds")
    value = float(differences.mean())
    error = math.sqrt((1.0 / count + n_test / n_train) * float(differences.var(ddof=1)))
    if error == 0.0:
        return Difference(
            value, value, value, 0.0 if value == 0.0 else math.copysign(math.inf, value), float(value == 0)
        )
    statistic, half_width = value / error, float(t.ppf(0.975, count - 1)) * error
    p = float(2.0 * t.sf(abs(statistic), count - 1))
    return Difference(value, value - half_width, value + half_width, statistic, p)
