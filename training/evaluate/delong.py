"""Area under the ROC curve by DeLong: its interval, and the difference of two on the same or on different subjects.

DeLong, DeLong, Clarke-Pearson, Biometrics 1988;44:837, by ranks as Sun & Xu, IEEE Signal Process Lett 2014;21:1389.
Scores may have one column a repeat of a cross-validation (every subject once in each): then the statistic is the mean
over the repeats, and its variance the contrast of DeLong's covariance, so that repeats do not count as new subjects.
Not for the models' own training data, and not for more than one study a patient (use ``bootstrap``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, norm, rankdata, t

from training.evaluate.estimate import Difference, Estimate, Labels, Scores

Z = float(norm.ppf(0.975))
LOGIT_ABOVE, LOGIT_BELOW_SUBJECTS = 0.95, 50


@dataclass(frozen=True, slots=True)
class Delong:
    """AUCs (k,) of k scores on the same subjects, and their covariance (k, k)."""

    aucs: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]


def placements(labels: Labels, scores: Scores) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Share of negatives below each positive (m,), and of positives above each negative (n,); ties count half.

    Both classes need two subjects or more (ValueError).
    """
    positive, negative = scores[labels], scores[~labels]
    m, n = len(positive), len(negative)
    if min(m, n) < 2:
        raise ValueError("an AUC needs two subjects of each class")
    ranks = rankdata(np.concatenate([positive, negative]))
    return (ranks[:m] - rankdata(positive)) / n, 1.0 - (ranks[m:] - rankdata(negative)) / m


def delong(labels: Labels, columns: Scores) -> Delong:
    """AUCs and covariance of scores (subjects, k)."""
    pairs = [placements(labels, column) for column in columns.T]
    above, below = np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
    covariance = np.atleast_2d(np.cov(above)) / above.shape[1] + np.atleast_2d(np.cov(below)) / below.shape[1]
    return Delong(above.mean(axis=1), covariance)


def auc_interval(labels: Labels, scores: Scores) -> Estimate:
    """AUC of scores (subjects,) or mean AUC of (subjects, repeats), with DeLong's 95 % interval.

    On the logit where AUC > .95 or there are fewer than 50 subjects (methods C1).  Where all pairs are ordered alike
    the variance is 0: then the exact binomial limit for the smaller class as trials ([R], on the safe side).
    """
    columns = _columns(scores)
    found = delong(labels, columns)
    weights = np.full(columns.shape[1], 1.0 / columns.shape[1])
    value, error = float(weights @ found.aucs), _error(weights, found)
    if error < 1e-12 and (value >= 1.0 or value <= 0.0):
        limit = float(beta.ppf(0.025, min(labels.sum(), (~labels).sum()), 1))
        return Estimate(value, limit, 1.0) if value >= 1.0 else Estimate(value, 0.0, 1.0 - limit)
    if value <= LOGIT_ABOVE and len(labels) >= LOGIT_BELOW_SUBJECTS:
        return Estimate(value, max(value - Z * error, 0.0), min(value + Z * error, 1.0))
    logit, half_width = math.log(value / (1.0 - value)), Z * error / (value * (1.0 - value))
    low, high = (1.0 / (1.0 + math.exp(-(logit + side * half_width))) for side in (-1.0, 1.0))
    return Estimate(value, low, high)


def auc_difference(labels: Labels, a: Scores, b: Scores) -> Difference:
    """AUC(a) − AUC(b) of two models on the same subjects: the paired DeLong test.

    ``a``, ``b``: (subjects,) or (subjects, repeats).  Two models that order all pairs alike differ by 0 with p = 1.
    """
    left, right = _columns(a), _columns(b)
    found = delong(labels, np.hstack([left, right]))
    weights = np.concatenate(
        [np.full(left.shape[1], 1.0 / left.shape[1]), np.full(right.shape[1], -1.0 / right.shape[1])]
    )
    value, error = float(weights @ found.aucs), _error(weights, found)
    if error < 1e-12:
        return Difference(
            value, value, value, 0.0 if value == 0.0 else math.copysign(math.inf, value), float(value == 0)
        )
    z = value / error
    return Difference(value, value - Z * error, value + Z * error, z, float(2.0 * norm.sf(abs(z))))


def auc_difference_unpaired(labels_a: Labels, a: Scores, labels_b: Labels, b: Scores) -> Difference:
    """AUC(a) − AUC(b) on different subjects, by t with Welch's degrees of freedom, as pROC's unpaired DeLong test."""
    found = [delong(labels, _columns(scores)) for labels, scores in ((labels_a, a), (labels_b, b))]
    variances = [float(one.covariance[0, 0]) for one in found]
    value, error = float(found[0].aucs[0] - found[1].aucs[0]), math.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / sum(
        v**2 / (len(n) - 1) for v, n in zip(variances, (labels_a, labels_b), strict=True)
    )
    statistic, half_width = value / error, float(t.ppf(0.975, freedom)) * error
    return Difference(
        value, value - half_width, value + half_width, statistic, float(2.0 * t.sf(abs(statistic), freedom))
    )


def _columns(scores: Scores) -> Scores:
    return scores[:, None] if scores.ndim == 1 else scores


def _error(weights: npt.NDArray[np.float64], found: Delong) -> float:
    return math.sqrt(max(float(weights @ found.covariance @ weights), 0.0))
