"""How well a risk score orders and predicts survival: Harrell's and Uno's C, AUC(t), integrated Brier score.

A higher score means an earlier event.  Censoring is weighted away by its own Kaplan–Meier curve G (IPCW), which
supposes that censoring does not depend on the subject.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.evaluate.bootstrap import DRAWS, bootstrap_interval
from training.evaluate.estimate import Estimate, Labels, Scores
from training.evaluate.survival import Months


def harrell_c(months: Months, events: Labels, score: Scores) -> float:
    """Share of comparable pairs whose higher score has the earlier event (ties count half); NaN without pairs."""
    from lifelines.utils import concordance_index

    try:
        return float(concordance_index(months, -np.asarray(score, float), events))
    except ZeroDivisionError:
        return float("nan")


def harrell_c_interval(
    months: Months, events: Labels, score: Scores, patients: Sequence[str], *, seed: int, draws: int = DRAWS
) -> Estimate:
    """With the bootstrap by patient; strata are those with and without an event."""
    return bootstrap_interval(
        lambda rows: harrell_c(months[rows], events[rows], score[rows]), events, patients, seed=seed, draws=draws
    )


def uno_c(months: Months, events: Labels, score: Scores, until: float | None = None) -> float:
    """Uno et al., Stat Med 2011;30:1105: pairs weighted by 1/G(t)², events before ``until``; NaN without pairs."""
    weights = _event_weights(months, events)
    limit = np.inf if until is None else until
    above = total = 0.0
    for i in np.flatnonzero(events & (months < limit)):
        later = months > months[i]
        weight = weights[i] ** 2
        total += weight * later.sum()
        above += weight * (np.sum(score[later] < score[i]) + 0.5 * np.sum(score[later] == score[i]))
    return float(above / total) if total else float("nan")


def auc_at(months: Months, events: Labels, score: Scores, month: float) -> float:
    """Cumulative/dynamic AUC: event by ``month`` against alive after it, cases weighted by 1/G (Uno et al. 2007)."""
    cases, controls = events & (months <= month), months > month
    if not cases.any() or not controls.any():
        return float("nan")
    weights = _event_weights(months, events)[cases]
    ordered = np.sort(score[controls])
    below = np.searchsorted(ordered, score[cases], side="left")
    ties = np.searchsorted(ordered, score[cases], side="right") - below
    return float(np.sum(weights * (below + 0.5 * ties)) / (weights.sum() * controls.sum()))


def auc_at_interval(
    months: Months,
    events: Labels,
    score: Scores,
    month: float,
    patients: Sequence[str],
    *,
    seed: int,
    draws: int = DRAWS,
) -> Estimate:
    """With the bootstrap by patient."""
    return bootstrap_interval(
        lambda rows: auc_at(months[rows], events[rows], score[rows], month), events, patients, seed=seed, draws=draws
    )


def brier_at(months: Months, events: Labels, survival: npt.NDArray[np.float64], month: float) -> float:
    """Graf et al., Stat Med 1999;18:2529: squared error of predicted survival (subjects,) at ``month``, by IPCW."""
    died, alive = events & (months <= month), months > month
    error = float(np.sum(_event_weights(months, events)[died] * survival[died] ** 2))
    if alive.any():
        error += float(np.sum((1.0 - survival[alive]) ** 2)) / _uncensored(months, events, np.array([month]), "at")[0]
    return error / len(months)


def integrated_brier(
    months: Months, events: Labels, survival: npt.NDArray[np.float64], times: npt.NDArray[np.float64]
) -> float:
    """Mean of the Brier score over ``times`` by the trapezoid rule; ``survival``: (subjects, times)."""
    scores = [brier_at(months, events, survival[:, k], float(month)) for k, month in enumerate(times)]
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))


def _event_weights(months: Months, events: Labels) -> npt.NDArray[np.float64]:
    """1/G just before each subject's time; 0 where the event was not seen."""
    left = _uncensored(months, events, months, "before")
    return np.where(events & (left > 0.0), 1.0 / np.maximum(left, 1e-12), 0.0)


def _uncensored(months: Months, events: Labels, times: Months, side: str) -> npt.NDArray[np.float64]:
    """G: share not yet censored at each time, or just before it (Kaplan–Meier; a bootstrap asks thousands of times)."""
    ends, censored = np.unique(months[~events], return_counts=True)
    at_risk = len(months) - np.searchsorted(np.sort(months), ends)
    left = np.concatenate([[1.0], np.cumprod(1.0 - censored / at_risk)])
    return np.asarray(left[np.searchsorted(ends, times, side="right" if side == "at" else "left")])
