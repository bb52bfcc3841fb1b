"""Average precision with its interval; it means something only beside the prevalence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.evaluate.bootstrap import DRAWS, bootstrap_interval
from training.evaluate.estimate import Estimate, Labels, Scores


def average_precision(labels: Labels, scores: Scores) -> float:
    """Σ (R_n − R_{n−1}) P_n, as scikit-learn's; mean over the columns of (subjects, repeats)."""
    columns = scores[:, None] if scores.ndim == 1 else scores
    return float(np.mean([_average_precision(labels, column) for column in columns.T]))


def average_precision_interval(
    labels: Labels, scores: Scores, patients: Sequence[str], *, seed: int, draws: int = DRAWS
) -> Estimate:
    """With the bootstrap by patient; its chance level is the prevalence."""
    return bootstrap_interval(
        lambda rows: average_precision(labels[rows], scores[rows]), labels, patients, seed=seed, draws=draws
    )


def _average_precision(labels: Labels, scores: Scores) -> float:
    """scikit-learn's own checks take ten times longer than the sum, and a bootstrap asks thousands of times."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits, called = hits[last_of_tie], np.flatnonzero(last_of_tie) + 1
    return float(np.sum(np.diff(hits, prepend=0) * hits / called) / max(hits[-1], 1))
