"""Survival of groups and by a score: Kaplan–Meier, log-rank, Cox with Schoenfeld's check, restricted mean (lifelines).

``months``: time to event or to the end of observation, ``events``: True where the event was seen.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from training.evaluate.estimate import Difference, Estimate, Labels, Scores

Months = npt.NDArray[np.float64]
TIMES_MONTHS = (12.0, 24.0)


@dataclass(frozen=True, slots=True)
class SurvivalCurve:
    """Kaplan–Meier: ``survival`` from ``months`` on (steps), 95 % band (log−log), ``at_risk`` just before each month.

    ``median`` is infinite where the curve does not reach one half.
    """

    months: Months
    survival: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    at_risk: npt.NDArray[np.int64]
    median: float
    subjects: int
    events: int

    def at(self, month: float) -> float:
        """Survival at a time, from the step before it."""
        return float(self.survival[np.searchsorted(self.months, month, side="right") - 1])


@dataclass(frozen=True, slots=True)
class LogRank:
    """``chi2`` with groups − 1 degrees of freedom."""

    chi2: float
    p: float


@dataclass(frozen=True, slots=True)
class CoxScore:
    """``hazard_ratio``: per standard deviation of the score.  ``proportional_p``: of Schoenfeld's residuals against
    time rank; a small one says that the ratio changes with time."""

    hazard_ratio: Estimate
    p: float
    proportional_p: float
    log_likelihood: float


def kaplan_meier(months: Months, events: Labels) -> SurvivalCurve:
    """Of one group."""
    from lifelines import KaplanMeierFitter

    fitted = KaplanMeierFitter().fit(months, events)
    survival = fitted.survival_function_.iloc[:, 0]
    band = fitted.confidence_interval_
    return SurvivalCurve(
        survival.index.to_numpy(float),
        survival.to_numpy(float),
        band.iloc[:, 0].fillna(1.0).to_numpy(float),
        band.iloc[:, 1].fillna(1.0).to_numpy(float),
        fitted.event_table["at_risk"].to_numpy(np.int64),
        float(fitted.median_survival_time_),
        len(months),
        int(np.sum(events)),
    )


def log_rank(months: Months, events: Labels, groups: npt.NDArray[np.int_]) -> LogRank:
    """Between two groups or more."""
    from lifelines.statistics import multivariate_logrank_test

    found = multivariate_logrank_test(months, groups, events)
    return LogRank(float(found.test_statistic), float(found.p_value))


def cox_per_sd(months: Months, events: Labels, score: Scores) -> CoxScore:
    """Cox regression (ties by Efron) on the score divided by its standard deviation.

    ValueError where it does not converge or the score is constant.
    """
    import pandas as pd
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError, ConvergenceWarning
    from lifelines.statistics import proportional_hazard_test

    spread = float(np.std(score, ddof=1))
    if not spread > 0.0:
        raise ValueError("the score is the same for all")
    table = pd.DataFrame({"months": months, "event": events.astype(int), "score": (score - np.mean(score)) / spread})
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            fitted = CoxPHFitter().fit(table, "months", "event")
        except (ConvergenceError, ConvergenceWarning) as fault:
            raise ValueError("the Cox regression does not converge") from fault
    coefficient, error = float(fitted.params_.iloc[0]), float(fitted.standard_errors_.iloc[0])
    half_width = float(norm.ppf(0.975)) * error
    ratio = Estimate(
        math.exp(coefficient), math.exp(coefficient - half_width), math.exp(min(coefficient + half_width, 700.0))
    )
    schoenfeld = proportional_hazard_test(fitted, table, time_transform="rank")
    return CoxScore(
        ratio, float(fitted.summary["p"].iloc[0]), float(np.ravel(schoenfeld.p_value)[0]), float(fitted.log_likelihood_)
    )


def restricted_mean(months: Months, events: Labels, until: float) -> Estimate:
    """Mean survival up to ``until`` months, the area under Kaplan–Meier; NaN where nobody was followed that long.

    lifelines' variance is that of one subject's time, not of the mean: the interval is by Greenwood's sum.
    """
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    if not np.max(months) >= until:
        return Estimate(math.nan, math.nan, math.nan)
    fitted = KaplanMeierFitter().fit(months, events)
    mean = float(restricted_mean_survival_time(fitted, t=until))
    half_width = float(norm.ppf(0.975)) * _restricted_error(months, events, until)
    return Estimate(mean, mean - half_width, mean + half_width)


def restricted_mean_difference(months: Months, events: Labels, group: Labels, until: float) -> Difference:
    """Restricted mean of ``group`` minus that of the others, with z test."""
    one, other = (restricted_mean(months[part], events[part], until) for part in (group, ~group))
    half_widths = [estimate.high - estimate.value for estimate in (one, other)]
    error = math.hypot(*half_widths) / float(norm.ppf(0.975))
    value = one.value - other.value
    z = value / error if error > 0.0 else math.nan
    half_width = float(norm.ppf(0.975)) * error
    return Difference(value, value - half_width, value + half_width, z, float(2.0 * norm.sf(abs(z))))


def _restricted_error(months: Months, events: Labels, until: float) -> float:
    """√ Σ (∫ from t_i to ``until`` of S)² d_i / (n_i (n_i − d_i)) over event times t_i (Greenwood)."""
    curve = kaplan_meier(months, events)
    steps = curve.months < until
    widths = np.diff(np.append(curve.months[steps], until))
    area_from = np.cumsum((curve.survival[steps] * widths)[::-1])[::-1]  # from each step to ``until``
    times, died = np.unique(months[events & (months < until)], return_counts=True)
    at_risk = len(months) - np.searchsorted(np.sort(months), times)
    area = area_from[np.searchsorted(curve.months[steps], times)]
    left = at_risk > died  # after the last subject's event there is no area
    return math.sqrt(float(np.sum((area**2 * died)[left] / (at_risk * (at_risk - died))[left])))
