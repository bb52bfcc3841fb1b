"""What a bundle says of itself: area under the ROC curve with its interval, and calibration error.

The report of a run uses ``delong`` and ``calibration``; there the interval is on the logit only where methods C1 says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from training.evaluate.delong import placements
from training.evaluate.estimate import Labels, Scores


@dataclass(frozen=True, slots=True)
class Auc:
    """Area under the ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float


def auc_with_interval(labels: Labels, scores: Scores) -> Auc:
    """AUC (ties count half) and DeLong's interval on the logit, which stays within 0..1.

    DeLong et al., Biometrics 1988;44:837, by ranks as Sun & Xu, IEEE Signal Process Lett 2014;21:1389.  Both classes
    need two subjects or more (ValueError).
    """
    above, below = placements(labels, scores)
    value = float(above.mean())
    error = math.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    if not 0.0 < value < 1.0:
        return Auc(value, value, value)
    logit, half_width = math.log(value / (1.0 - value)), float(norm.ppf(0.975)) * error / (value * (1.0 - value))
    low, high = (1.0 / (1.0 + math.exp(-(logit + side * half_width))) for side in (-1.0, 1.0))
    return Auc(value, low, high)


def expected_calibration_error(labels: Labels, probabilities: Scores, bins: int = 10) -> float:
    """Mean distance between predicted and observed frequency over bins of equal size, weighted by their counts."""
    order = np.argsort(probabilities)
    parts = [part for part in np.array_split(order, bins) if part.size]
    gaps = [abs(labels[part].mean() - probabilities[part].mean()) * part.size for part in parts]
    return float(sum(gaps) / len(labels))
