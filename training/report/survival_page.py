"""Survival by the score of a run: the cut comes from the other folds' scores, never from these patients' outcome."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from training.evaluate.answers import Tested
from training.evaluate.calibration import logit
from training.evaluate.cutoff import best_cut, median_cut
from training.evaluate.estimate import UNKNOWN, Difference, Estimate, Labels
from training.evaluate.survival import (
    TIMES_MONTHS,
    CoxScore,
    LogRank,
    SurvivalCurve,
    cox_per_sd,
    kaplan_meier,
    log_rank,
    restricted_mean_difference,
)
from training.evaluate.survival_score import auc_at_interval, harrell_c_interval, integrated_brier, uno_c

FEWEST_EVENTS = 10
SEED = 0


@dataclass(frozen=True, slots=True)
class SurvivalNumbers:
    """Of the studies with known follow-up.  A higher score is taken to mean an earlier event.

    ``auc_at``, ``restricted_mean``: by month, where follow-up allows.  ``integrated_brier`` of a Cox regression on the
    score fitted in the other folds, ``reference_brier`` of their Kaplan–Meier curve alone.  ``searched_p``: what a
    search for the best cut would have claimed, ``corrected_p`` what is left of it (Miller & Siegmund).
    """

    variant: str
    studies: int
    events: int
    harrell: Estimate
    uno: float
    auc_at: dict[str, Estimate]
    cox: CoxScore | None
    cut: str
    logrank: LogRank
    low_risk: SurvivalCurve
    high_risk: SurvivalCurve
    restricted_mean: dict[str, Difference]
    integrated_brier: float | None
    reference_brier: float | None
    searched_p: float
    corrected_p: float
    sentence: str


def survival_numbers(of: Tested, draws: int) -> SurvivalNumbers | None:
    """None with fewer than ten events or one risk group only."""
    known = np.isfinite(of.months)
    months, events, score = of.months[known], of.events[known], logit(of.first[known])
    folds = of.folds[known, 0]
    patients = tuple(np.array(of.patients)[known])
    if events.sum() < FEWEST_EVENTS:
        return None
    high = _high_risk(score, folds)
    if high.all() or not high.any():
        return None
    harrell = harrell_c_interval(months, events, score, patients, seed=SEED, draws=min(draws, 500))
    try:
        cox = cox_per_sd(months, events, score)
    except ValueError:
        cox = None
    brier = _cross_fitted_brier(months, events, score, folds)
    searched = best_cut(months, events, score)
    times = [time for time in TIMES_MONTHS if np.sum(months > time) >= FEWEST_EVENTS]
    return SurvivalNumbers(
        variant=of.variant,
        studies=int(known.sum()),
        events=int(events.sum()),
        harrell=harrell,
        uno=uno_c(months, events, score),
        auc_at={
            f"{time:g}": auc_at_interval(months, events, score, time, patients, seed=SEED, draws=min(draws, 500))
            for time in times
        },
        cox=cox,
        cut="median score of the other folds" if len(np.unique(folds)) > 1 else "median score (no outcome used)",
        logrank=log_rank(months, events, high.astype(int)),
        low_risk=kaplan_meier(months[~high], events[~high]),
        high_risk=kaplan_meier(months[high], events[high]),
        restricted_mean={f"{time:g}": restricted_mean_difference(months, events, high, time) for time in times},
        integrated_brier=brier[0],
        reference_brier=brier[1],
        searched_p=searched.minimal_p,
        corrected_p=searched.corrected_p,
        sentence=_sentence(harrell, int(known.sum())),
    )


def _high_risk(score: np.ndarray, folds: np.ndarray) -> Labels:
    """Each fold is cut at the median of the others' scores."""
    high = np.zeros(len(score), bool)
    for fold in np.unique(folds):
        inside = folds == fold
        others = score[~inside] if (~inside).any() else score
        high[inside] = median_cut(others).high_risk(score[inside])
    return high


def _cross_fitted_brier(
    months: np.ndarray, events: Labels, score: np.ndarray, folds: np.ndarray
) -> tuple[float | None, float | None]:
    import pandas as pd
    from lifelines import CoxPHFitter

    until = float(np.quantile(months, 0.8))
    times = np.linspace(max(float(np.quantile(months, 0.05)), 1e-3), until, 25)
    if len(np.unique(folds)) < 2 or times[0] >= until:
        return None, None
    by_score, by_none = np.ones((len(months), len(times))), np.ones((len(months), len(times)))
    table = pd.DataFrame({"months": months, "event": events.astype(int), "score": score})
    for fold in np.unique(folds):
        inside = folds == fold
        if events[~inside].sum() < FEWEST_EVENTS // 2 or np.ptp(score[~inside]) == 0.0:
            return None, None
        fitted = CoxPHFitter(penalizer=1e-4).fit(table[~inside], "months", "event")
        by_score[inside] = fitted.predict_survival_function(table[inside], times=times).to_numpy().T
        curve = kaplan_meier(months[~inside], events[~inside])
        by_none[inside] = [curve.at(time) for time in times]
    found = [integrated_brier(months, events, one, times) for one in (by_score, by_none)]
    return (found[0], found[1]) if all(math.isfinite(one) for one in found) else (None, None)


def _sentence(harrell: Estimate, studies: int) -> str:
    if harrell is UNKNOWN or not math.isfinite(harrell.low):
        return "The C-index has no interval here."
    if harrell.low <= 0.5 <= harrell.high:
        return f"With {studies} studies this C-index cannot be told from 0.5, that is from no relation to survival."
    return "The interval of the C-index does not hold 0.5."
