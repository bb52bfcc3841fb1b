"""Sets of labels that hold the true one in 90 % of cases: split conformal, for all together or per class (Mondrian).

Vovk et al. 2005; Angelopoulos & Bates 2021.  Score of a label: 1 − its probability.  Own lines: what we have are
probabilities, and the packages want an estimator (a test compares with MAPIE).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluate.estimate import Labels, Scores

ALPHA = 0.1


@dataclass(frozen=True, slots=True)
class Conformal:
    """A label is in the set when 1 − p(label) ≤ its quantile.

    ``quantiles``: of labels 0 and 1; infinite where the calibration subjects are too few for ``alpha``.
    """

    quantiles: tuple[float, float]
    alpha: float

    def sets(self, probabilities: Scores) -> npt.NDArray[np.bool_]:
        """(subjects, 2): is label 0, label 1 in the set?"""
        return np.column_stack([probabilities <= self.quantiles[0], 1.0 - probabilities <= self.quantiles[1]])


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of sets that hold the true label, overall and by class, and how many sets have 0, 1, 2 labels.

    A set of one is a report, of two "indeterminate", of none "unlike the calibration cases".
    """

    overall: float
    of_negatives: float
    of_positives: float
    sizes: tuple[int, int, int]


def finite_sample_quantile(scores: npt.NDArray[np.float64], alpha: float = ALPHA) -> float:
    """The ⌈(n + 1)(1 − α)⌉-th smallest score; infinite where n is too small for α."""
    rank = math.ceil(round((len(scores) + 1) * (1.0 - alpha), 9))
    return math.inf if rank > len(scores) else float(np.sort(scores)[rank - 1])


def split_conformal(labels: Labels, probabilities: Scores, *, alpha: float = ALPHA, mondrian: bool = True) -> Conformal:
    """From calibration subjects that neither training nor testing sees.  ``mondrian``: coverage for each class."""
    scores = 1.0 - np.where(labels, probabilities, 1.0 - probabilities)
    if not mondrian:
        both = finite_sample_quantile(scores, alpha)
        return Conformal((both, both), alpha)
    negative, positive = finite_sample_quantile(scores[~labels], alpha), finite_sample_quantile(scores[labels], alpha)
    return Conformal((negative, positive), alpha)


def coverage(labels: Labels, sets: npt.NDArray[np.bool_]) -> Coverage:
    """Of sets (subjects, 2) of subjects with known labels."""
    held = sets[np.arange(len(labels)), labels.astype(int)]
    counts = np.bincount(sets.sum(axis=1), minlength=3)
    by_class = [float(held[part].mean()) if part.any() else float("nan") for part in (~labels, labels)]
    return Coverage(float(held.mean()), by_class[0], by_class[1], (int(counts[0]), int(counts[1]), int(counts[2])))
