"""Sensitivity, specificity and predictive values at a threshold that was fixed before these subjects were seen.

A threshold chosen on the same subjects (Youden on the test set) flatters; nothing here chooses one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.evaluate.estimate import UNKNOWN, Estimate, Labels, Scores

EXACT_BELOW = 40


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Counts, and shares with 95 % intervals."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    sensitivity: Estimate
    specificity: Estimate
    positive_predictive_value: Estimate
    negative_predictive_value: Estimate


def operating_point(labels: Labels, probabilities: Scores, threshold: float | Scores) -> OperatingPoint:
    """Positive: probability ≥ ``threshold``, one number or one a row (each fold has its own)."""
    called = probabilities >= threshold
    tp, fp = int(np.sum(called & labels)), int(np.sum(called & ~labels))
    fn, tn = int(np.sum(~called & labels)), int(np.sum(~called & ~labels))
    return OperatingPoint(
        tp,
        fp,
        tn,
        fn,
        sensitivity=share(tp, tp + fn),
        specificity=share(tn, tn + fp),
        positive_predictive_value=share(tp, tp + fp),
        negative_predictive_value=share(tn, tn + fn),
    )


def share(count: int, of: int) -> Estimate:
    """A proportion with Wilson's interval, Clopper and Pearson's below 40 (methods C1); NaN of nothing."""
    from statsmodels.stats.proportion import proportion_confint

    if not of:
        return UNKNOWN
    low, high = proportion_confint(count, of, method="beta" if of < EXACT_BELOW else "wilson")
    return Estimate(count / of, float(low), float(high))
