"""Do the probabilities mean what they say?  Logistic recalibration, Brier score, smooth curve, calibration error.

Van Calster et al., BMC Med 2019;17:230: intercept (calibration in the large) with the logit as offset, slope of the
logit.  Intercept 0 and slope 1 are perfect; a slope below 1 says that the probabilities are too extreme.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluate.bootstrap import resamples
from training.evaluate.discrimination import expected_calibration_error
from training.evaluate.estimate import UNKNOWN, Estimate, Labels, Scores

SURE = 1e-6  # a probability of 0 or 1 has no logit
BAND_DRAWS = 200
SMOOTHING = 2 / 3  # share of the subjects that lowess looks at
BINS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """``scaled_brier``: 1 − Brier ÷ that of the prevalence.  ``calibration_error``: over 10 equal-mass bins; it is
    biased upwards below about 500 subjects."""

    intercept: Estimate
    slope: Estimate
    brier: float
    scaled_brier: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Observed frequency by predicted probability (lowess), its 95 % band, and ``bins``: (mean p, frequency, n)."""

    predicted: npt.NDArray[np.float64]
    observed: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    bins: tuple[tuple[float, float, int], ...]


def calibration(labels: Labels, probabilities: Scores) -> Calibration:
    """Of probabilities (subjects,); intercept and slope are NaN where a logistic fit does not exist."""
    scores = logit(probabilities)
    brier, prevalence = brier_score(labels, probabilities), float(labels.mean())
    reference = prevalence * (1.0 - prevalence)
    return Calibration(
        intercept=_logistic(labels, np.ones((len(labels), 1)), offset=scores),
        slope=_logistic(labels, np.column_stack([scores, np.ones(len(labels))]), offset=None),
        brier=brier,
        scaled_brier=1.0 - brier / reference if reference else float("nan"),
        calibration_error=expected_calibration_error(labels, probabilities, BINS),
    )


def brier_score(labels: Labels, probabilities: Scores) -> float:
    """Mean squared distance between probability and outcome."""
    return float(np.mean((probabilities - labels) ** 2))


def logit(probabilities: Scores) -> npt.NDArray[np.float64]:
    """ln(p / (1 − p)), of p kept 1e-6 away from 0 and 1."""
    kept = np.clip(np.asarray(probabilities, float), SURE, 1.0 - SURE)
    return np.asarray(np.log(kept / (1.0 - kept)))


def calibration_curve(
    labels: Labels, probabilities: Scores, patients: Sequence[str], *, seed: int, draws: int = BAND_DRAWS
) -> CalibrationCurve:
    """Lowess of the outcome on the probability (1st to 99th percentile); the band by bootstrap of patients."""
    low, high = np.percentile(probabilities, [1.0, 99.0])
    grid = np.linspace(low, high, 50)
    curves = [
        _smooth(labels[rows], probabilities[rows], grid) for rows in resamples(labels, patients, seed=seed, draws=draws)
    ]
    band = np.percentile(np.array(curves), [2.5, 97.5], axis=0)
    parts = [part for part in np.array_split(np.argsort(probabilities, kind="stable"), BINS) if part.size]
    bins = tuple((float(probabilities[p].mean()), float(labels[p].mean()), int(p.size)) for p in parts)
    return CalibrationCurve(grid, _smooth(labels, probabilities, grid), band[0], band[1], bins)


def _smooth(labels: Labels, probabilities: Scores, grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """On at most 200 points of the curve: lowess is quadratic in time."""
    from statsmodels.nonparametric.smoothers_lowess import lowess

    order = np.argsort(probabilities, kind="stable")
    x, y = np.asarray(probabilities, float)[order], labels[order].astype(float)
    span = float(x[-1] - x[0])
    if span <= 0.0:
        return np.full(len(grid), y.mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal probabilities within a window: 0/0 inside lowess
        fitted = lowess(y, x, frac=SMOOTHING, it=0, delta=0.01 * span, is_sorted=True, return_sorted=True)
    known = np.isfinite(fitted[:, 1])
    if not known.any():
        return np.full(len(grid), y.mean())
    return np.asarray(np.clip(np.interp(grid, fitted[known, 0], fitted[known, 1]), 0.0, 1.0))


def _logistic(labels: Labels, predictors: npt.NDArray[np.float64], offset: npt.NDArray[np.float64] | None) -> Estimate:
    """The first coefficient of a logistic regression, with Wald's 95 % interval."""
    import statsmodels.api as sm
    from statsmodels.tools.sm_exceptions import PerfectSeparationError, PerfectSeparationWarning

    if labels.all() or not labels.any() or np.linalg.matrix_rank(predictors) < predictors.shape[1]:
        return UNKNOWN
    with warnings.catch_warnings(), np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            fit = sm.GLM(labels.astype(float), predictors, family=sm.families.Binomial(), offset=offset).fit()
        except (PerfectSeparationError, PerfectSeparationWarning, np.linalg.LinAlgError):
            return UNKNOWN
        low, high = fit.conf_int()[0]
    if not fit.converged or not np.isfinite([fit.params[0], low, high]).all():
        return UNKNOWN
    return Estimate(float(fit.params[0]), float(low), float(high))
