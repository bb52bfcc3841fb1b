"""Survival: the known answers of methods C2 (Freireich, Waltons, Rossi, maximally selected cuts), and IPCW scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.evaluate.cutoff import altman_p, best_cut, median_cut, miller_siegmund_p
from training.evaluate.survival import (
    cox_per_sd,
    kaplan_meier,
    log_rank,
    restricted_mean,
    restricted_mean_difference,
)
from training.evaluate.survival_score import (
    auc_at,
    auc_at_interval,
    brier_at,
    harrell_c,
    harrell_c_interval,
    integrated_brier,
    uno_c,
)

TREATED = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def freireich() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weeks, events, treated."""
    both = f"{TREATED} {PLACEBO}".split()
    weeks = np.array([float(one.rstrip("+")) for one in both])
    return weeks, np.array(["+" not in one for one in both]), np.arange(len(both)) < len(TREATED.split())


def weibull(n: int, ratio: float, seed: int, censor: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Methods A0: shape 1.2, median 14 months at score 0, censoring U(12, 48); months, events, score."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n)
    scale = 14 / math.log(2) ** (1 / 1.2)
    time = scale * (-np.log(rng.random(n)) / ratio**score) ** (1 / 1.2)
    end = rng.uniform(12, 48, n) if censor else np.full(n, np.inf)
    return np.minimum(time, end), time <= end, score


def test_freireich() -> None:
    weeks, events, treated = freireich()
    found = log_rank(weeks, events, treated.astype(int))
    assert found.chi2 == pytest.approx(16.79, abs=0.005)
    assert found.p == pytest.approx(4.17e-5, rel=0.005)
    curve = kaplan_meier(weeks[treated], events[treated])
    assert (curve.median, kaplan_meier(weeks[~treated], events[~treated]).median) == (23, 8)
    assert curve.at(6) == pytest.approx(0.8571, abs=5e-5)
    assert curve.at(10) == pytest.approx(0.7529, abs=5e-5)
    assert curve.at(0) == 1.0
    assert (curve.subjects, curve.events) == (21, 9)


def test_waltons() -> None:
    from lifelines.datasets import load_waltons

    flies = load_waltons()
    months, events = flies["T"].to_numpy(float), flies["E"].to_numpy(bool)
    found = log_rank(months, events, (flies["group"] == "miR-137").to_numpy(int))
    assert found.chi2 == pytest.approx(122.2491256, abs=1e-6)
    assert found.p == pytest.approx(2.036e-28, rel=1e-3)
    assert kaplan_meier(months, events).median == 56


def test_rossi_one_score() -> None:
    """The full model's published figures are lifelines' own; here the score is its linear predictor: the same order."""
    from lifelines import CoxPHFitter
    from lifelines.datasets import load_rossi

    table = load_rossi()
    full = CoxPHFitter().fit(table, "week", "arrest")
    assert full.log_likelihood_ == pytest.approx(-658.7476595, abs=1e-6)
    assert full.params_["fin"] == pytest.approx(-0.379422, abs=1e-6)
    assert full.params_["prio"] == pytest.approx(0.091497, abs=1e-6)
    weeks, events = table["week"].to_numpy(float), table["arrest"].to_numpy(bool)
    score = full.predict_log_partial_hazard(table).to_numpy(float)
    assert harrell_c(weeks, events, score) == pytest.approx(0.64033, abs=5e-6)
    ours = cox_per_sd(weeks, events, score)
    assert ours.log_likelihood == pytest.approx(-658.7476595, abs=1e-4)  # its coefficient is 1 per unit
    assert ours.hazard_ratio.value == pytest.approx(math.exp(np.std(score, ddof=1)), rel=1e-4)


def test_cox_finds_the_planted_ratio_and_a_ratio_that_changes() -> None:
    months, events, score = weibull(3000, 1.6, 0)
    found = cox_per_sd(months, events, score)
    assert found.hazard_ratio.low < 1.6 < found.hazard_ratio.high
    assert found.proportional_p > 0.01
    assert harrell_c(months, events, score) == pytest.approx(0.624, abs=0.02)  # methods A0
    crossing = np.where(months < 8, score, -score)
    assert cox_per_sd(months, events, crossing).proportional_p < 1e-6
    with pytest.raises(ValueError, match="same for all"):
        cox_per_sd(months, events, np.ones(3000))


def test_restricted_mean() -> None:
    months, events = np.array([2.0, 4.0, 6.0, 8.0]), np.ones(4, bool)
    assert restricted_mean(months, events, 8).value == pytest.approx(5.0)  # no censoring: the mean
    assert restricted_mean(months, events, 5).value == pytest.approx((2 + 4 + 5 + 5) / 4)
    assert math.isnan(restricted_mean(months, events, 12).value)
    rng = np.random.default_rng(0)
    time = rng.exponential(10, 2000)
    found = restricted_mean(time, np.ones(2000, bool), 12)
    error = np.std(np.minimum(time, 12)) / math.sqrt(2000)  # without censoring the plain standard error
    assert found.high - found.value == pytest.approx(1.96 * error, rel=0.01)
    difference = restricted_mean_difference(np.r_[time, 2 * time], np.ones(4000, bool), np.arange(4000) >= 2000, 12)
    assert difference.p < 1e-6
    assert difference.value > 0


def test_without_censoring_the_ipcw_scores_are_the_plain_ones() -> None:
    months, events, score = weibull(300, 2.0, 1, censor=False)
    assert uno_c(months, events, score) == pytest.approx(harrell_c(months, events, score))
    assert auc_at(months, events, score, 12) == pytest.approx(roc_auc_score(months <= 12, score))
    predicted = np.random.default_rng(0).random(300)
    assert brier_at(months, events, predicted, 12) == pytest.approx(np.mean(((months > 12) - predicted) ** 2))


def test_uno_by_hand_with_one_censored() -> None:
    """Times 1, 2+, 3, 4; G is 1 up to 2 and 2/3 after: weights 1 at time 1, 9/4 at time 3."""
    months, events = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True])
    score = np.array([4.0, 1.0, 2.0, 3.0])  # pairs (1,2+) (1,3) (1,4) right, (3,4) wrong
    assert uno_c(months, events, score) == pytest.approx(3 / (3 + 9 / 4))
    assert harrell_c(months, events, score) == pytest.approx(3 / 4)
    assert auc_at(months, events, score, 3) == pytest.approx(1 / (1 + 3 / 2))  # cases 1 and 3, control 4


def test_censoring_does_not_move_uno_and_auc_at() -> None:
    censored, full = weibull(4000, 2.0, 2), weibull(4000, 2.0, 2, censor=False)
    assert auc_at(*censored, 24) == pytest.approx(auc_at(*full, 24), abs=0.02)
    assert uno_c(*censored, until=24) == pytest.approx(uno_c(*full, until=24), abs=0.02)
    few = tuple(part[:150] for part in censored)
    patients = [f"p{i}" for i in range(150)]
    at, c = (
        auc_at_interval(*few, 12, patients, seed=0, draws=40),
        harrell_c_interval(*few, patients, seed=0, draws=40),
    )
    assert at.low < at.value < at.high
    assert c.low < c.value < c.high


def test_integrated_brier_prefers_the_truth() -> None:
    months, events, score = weibull(1500, 2.0, 3)
    times = np.linspace(3, 11, 9)
    scale = 14 / math.log(2) ** (1 / 1.2)
    truth = np.exp(-((times / scale) ** 1.2) * (2.0**score)[:, None])
    everybody = np.tile(
        kaplan_meier(months, events).survival[
            np.searchsorted(kaplan_meier(months, events).months, times, side="right") - 1
        ],
        (1500, 1),
    )
    assert integrated_brier(months, events, truth, times) < integrated_brier(months, events, everybody, times) - 0.01


@pytest.mark.parametrize(
    ("p", "altman", "exact", "altman_5"),
    [
        (0.05, 0.492, 0.4916, 0.617),
        (0.01, 0.160, 0.1615, 0.2065),
        (0.005, 0.0933, 0.0946, 0.1212),
        (0.002, 0.0444, 0.0453, 0.0579),
    ],
)
def test_maximally_selected_cut(p: float, altman: float, exact: float, altman_5: float) -> None:
    assert altman_p(p) == pytest.approx(altman, abs=6e-4)
    assert miller_siegmund_p(p) == pytest.approx(exact, abs=6e-5)
    assert altman_p(p, 0.05) == pytest.approx(altman_5, abs=6e-4)


def test_searched_cuts_are_corrected_and_fixed_ones_need_not_be() -> None:
    """No effect at all: the best cut "reaches" .05 often, the corrected and the fixed ones in about 5 %."""
    minimal, corrected, fixed = [], [], []
    for seed in range(100):
        months, events, _ = weibull(60, 1.0, seed)
        score = np.random.default_rng(seed + 1000).normal(size=60)
        best = best_cut(months, events, score)
        minimal.append(best.minimal_p < 0.05)
        corrected.append(best.corrected_p < 0.05)
        cut = median_cut(np.random.default_rng(seed).normal(size=200))  # of other, training, patients
        fixed.append(log_rank(months, events, cut.high_risk(score).astype(int)).p < 0.05)
    assert np.mean(minimal) > 0.2
    assert np.mean(corrected) < 0.12
    assert np.mean(fixed) < 0.15


def test_the_search_asks_the_same_log_rank_test() -> None:
    months, events, score = weibull(80, 1.5, 6)
    months = np.round(months)  # with ties
    found = best_cut(months, events, score)
    assert found.minimal_p == pytest.approx(log_rank(months, events, (score >= found.value).astype(int)).p, rel=1e-9)


def test_permuting_the_search_gives_a_p_and_a_true_effect_survives_it() -> None:
    months, events, score = weibull(120, 2.5, 4)
    found = best_cut(months, events, score, seed=0, permutations=19)
    assert found.permuted_p == pytest.approx(1 / 20)
    assert found.corrected_p < 0.01
