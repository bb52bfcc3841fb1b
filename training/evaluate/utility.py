"""Clinical utility: net benefit against treating all and none (Vickers & Elkin, Med Decis Making 2006;26:565).

The same numbers as the package dcurves (a test says so); a bootstrap band asks for them two thousand times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluate.bootstrap import DRAWS, draws_of
from training.evaluate.estimate import Labels, Scores

THRESHOLDS = np.round(np.arange(0.05, 0.701, 0.01), 2)


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit (per subject) by threshold probability; treating none gives 0.  ``low``, ``high``: 95 % band."""

    thresholds: npt.NDArray[np.float64]
    model: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    treat_all: npt.NDArray[np.float64]


def net_benefit(
    labels: Labels, probabilities: Scores, thresholds: npt.NDArray[np.float64] = THRESHOLDS
) -> npt.NDArray[np.float64]:
    """TP/n − FP/n × p/(1 − p) at each threshold p, (thresholds,); above 0 and below 1."""
    n = len(labels)
    positive, negative = np.sort(probabilities[labels]), np.sort(probabilities[~labels])
    tp = len(positive) - np.searchsorted(positive, thresholds, side="left")
    fp = len(negative) - np.searchsorted(negative, thresholds, side="left")
    return np.asarray(tp / n - fp / n * thresholds / (1.0 - thresholds))


def decision_curve(
    labels: Labels, probabilities: Scores, patients: Sequence[str], *, seed: int, draws: int = DRAWS
) -> DecisionCurve:
    """Of calibrated probabilities (subjects,), for thresholds .05 to .70."""
    found = draws_of(
        lambda rows: net_benefit(labels[rows], probabilities[rows]), labels, patients, seed=seed, draws=draws
    )
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    prevalence = float(labels.mean())
    treat_all = prevalence - (1.0 - prevalence) * THRESHOLDS / (1.0 - THRESHOLDS)
    return DecisionCurve(THRESHOLDS, net_benefit(labels, probabilities), low, high, treat_all)
