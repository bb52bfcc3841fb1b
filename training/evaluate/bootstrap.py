"""Intervals by resampling patients with replacement, as many of each class as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from training.evaluate.estimate import Estimate, Labels, Scores
from training.prepared import Rows

DRAWS = 2000
Statistic = Callable[[Rows], float | npt.NDArray[np.float64]]


def resamples(labels: Labels, patients: Sequence[str], *, seed: int, draws: int = DRAWS) -> Iterator[Rows]:
    """Row numbers of each draw.  A patient's rows stay together; strata: patients with a positive row, and the rest."""
    rng = np.random.default_rng(seed)
    names, of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    positive = np.zeros(len(names), bool)
    np.logical_or.at(positive, of, labels)
    strata = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    if len(names) == len(labels):  # one row a patient: the row is the patient
        rows_of = np.argsort(of)
        for _ in range(draws):
            yield np.concatenate([rows_of[rng.choice(one, len(one))] for one in strata if len(one)])
        return
    members = [np.flatnonzero(of == patient) for patient in range(len(names))]
    for _ in range(draws):
        chosen = np.concatenate([rng.choice(one, len(one)) for one in strata if len(one)])
        yield np.concatenate([members[patient] for patient in chosen])


def draws_of(
    statistic: Statistic, labels: Labels, patients: Sequence[str], *, seed: int, draws: int = DRAWS
) -> npt.NDArray[np.float64]:
    """The statistic in every draw, (draws, …)."""
    return np.array([statistic(rows) for rows in resamples(labels, patients, seed=seed, draws=draws)], float)


def bootstrap_interval(
    statistic: Statistic, labels: Labels, patients: Sequence[str], *, seed: int, draws: int = DRAWS
) -> Estimate:
    """The statistic of all rows, with the 2.5th and 97.5th percentile of its draws (those that are NaN left out)."""
    found = draws_of(statistic, labels, patients, seed=seed, draws=draws)
    found = found[np.isfinite(found)]
    value = float(statistic(np.arange(len(labels))))
    if not len(found):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(found, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def mean_auc(labels: Labels, scores: Scores) -> float:
    """AUC of scores (subjects,), or the mean AUC of (subjects, repeats); NaN with one class only."""
    m = int(labels.sum())
    n = len(labels) - m
    if not m or not n:
        return float("nan")
    ranks = rankdata(scores, axis=0)
    return float(((ranks[labels].sum(axis=0) - m * (m + 1) / 2.0) / (m * n)).mean())
