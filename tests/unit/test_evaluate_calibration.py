"""Calibration, clinical utility, conformal sets and subgroups: the known answers of methods C2."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from training.evaluate.bootstrap import mean_auc
from training.evaluate.calibration import brier_score, calibration, calibration_curve
from training.evaluate.conformal import coverage, finite_sample_quantile, split_conformal
from training.evaluate.subgroups import subgroups
from training.evaluate.utility import THRESHOLDS, decision_curve, net_benefit


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def calibrated(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the scores' own probabilities, and the scores (logits)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.2, n)
    return rng.random(n) < sigmoid(scores), scores


def names(n: int) -> list[str]:
    return [f"p{i}" for i in range(n)]


def test_recalibration_finds_what_was_done_to_the_logit() -> None:
    labels, scores = calibrated(100_000)
    doubled, shifted = calibration(labels, sigmoid(2 * scores)), calibration(labels, sigmoid(scores + 0.7))
    assert doubled.slope.value == pytest.approx(0.5, abs=0.02)
    assert doubled.intercept.value == pytest.approx(0.0, abs=0.02)
    assert shifted.intercept.value == pytest.approx(-0.7, abs=0.02)
    assert shifted.slope.value == pytest.approx(1.0, abs=0.02)
    right = calibration(labels, sigmoid(scores))
    assert right.slope.low < 1 < right.slope.high
    assert right.calibration_error < 0.01 < doubled.calibration_error


def test_temperature_of_doubled_logits_is_two() -> None:
    from training.recipes.demo import fit_temperature

    labels, scores = calibrated(100_000, 3)
    assert fit_temperature(2 * scores, labels) == pytest.approx(2.0, abs=0.05)


def test_brier() -> None:
    labels, p = np.array([False, True, True, False]), np.array([0.1, 0.9, 0.8, 0.3])
    assert brier_score(labels, p) == pytest.approx(0.0375)
    assert calibration(labels, np.full(4, 0.5)).scaled_brier == pytest.approx(0.0)


def test_no_logistic_fit_gives_no_number() -> None:
    labels = np.arange(20) >= 10
    assert math.isnan(calibration(labels, np.where(labels, 0.9, 0.1)).slope.value)
    assert math.isnan(calibration(np.ones(20, bool), np.full(20, 0.9)).slope.value)


def test_smooth_curve_follows_the_truth_and_its_band_holds_it() -> None:
    labels, scores = calibrated(2000, 5)
    curve = calibration_curve(labels, sigmoid(2 * scores), names(2000), seed=0, draws=40)
    truth = sigmoid(np.log(curve.predicted / (1 - curve.predicted)) / 2)
    inside = (curve.predicted > 0.1) & (curve.predicted < 0.9)
    assert np.abs(curve.observed - truth)[inside].max() < 0.08
    assert (curve.low <= curve.high).all()
    assert sum(n for _, _, n in curve.bins) == 2000
    flat = calibration_curve(labels, np.full(2000, 0.5), names(2000), seed=0, draws=3)
    assert flat.observed == pytest.approx(labels.mean())


def test_net_benefit_by_hand() -> None:
    labels = np.array([True] * 50 + [False] * 50)
    p = np.array([0.9] * 40 + [0.1] * 10 + [0.9] * 20 + [0.1] * 30)
    assert net_benefit(labels, p, np.array([0.2]))[0] == pytest.approx(0.35)


def test_net_benefit_equals_dcurves() -> None:
    from dcurves import dca

    labels, scores = calibrated(300, 2)
    p = sigmoid(scores)
    table = dca(
        data=pd.DataFrame({"y": labels.astype(int), "model": p}),
        outcome="y",
        modelnames=["model"],
        thresholds=list(THRESHOLDS),
    )
    curve = decision_curve(labels, p, names(300), seed=0, draws=50)
    for name, ours in (("model", curve.model), ("all", curve.treat_all)):
        theirs = table[table.model == name].sort_values("threshold").net_benefit.to_numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert (curve.low <= curve.high).all()


def test_conformal_quantile_is_the_finite_sample_one() -> None:
    scores = np.arange(9) / 10
    assert finite_sample_quantile(scores) == 0.8  # n = 9: the maximum
    assert finite_sample_quantile(scores[:8]) == math.inf
    assert finite_sample_quantile(np.arange(500) / 500) == 450 / 500  # the 451st


@pytest.mark.parametrize("mondrian", [False, True])
def test_conformal_coverage(mondrian: bool) -> None:
    covered = []
    for seed in range(200):
        labels, scores = calibrated(1000, seed)
        p = sigmoid(scores)
        fitted = split_conformal(labels[:500], p[:500], mondrian=mondrian)
        covered.append(coverage(labels[500:], fitted.sets(p[500:])))
    assert 0.88 < np.mean([one.overall for one in covered]) < 0.92
    assert sum(covered[0].sizes) == 500
    if mondrian:
        assert 0.88 < np.mean([one.of_positives for one in covered]) < 0.92


def test_conformal_equals_mapie() -> None:
    from mapie.classification import SplitConformalClassifier
    from sklearn.linear_model import LogisticRegression

    labels, scores = calibrated(400, 9)
    x = scores[:, None]
    model = LogisticRegression().fit(x[:100], labels[:100].astype(int))
    theirs = SplitConformalClassifier(model, confidence_level=0.9, prefit=True, conformity_score="lac")
    theirs.conformalize(x[100:250], labels[100:250].astype(int))
    _, sets = theirs.predict_set(x[250:])
    p = model.predict_proba(x)[:, 1]
    ours = split_conformal(labels[100:250], p[100:250], mondrian=False).sets(p[250:])
    np.testing.assert_array_equal(ours, sets[:, :, 0])


def centred_cohort(leak: bool, seed: int = 0, n: int = 800) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Two centres; with ``leak`` the second is mostly positive and the score knows the centre."""
    rng = np.random.default_rng(seed)
    second = rng.random(n) < 0.5
    labels = rng.random(n) < (np.where(second, 0.85, 0.15) if leak else 0.4)
    scores = 0.8 * labels + rng.normal(size=n) + (2.0 * second if leak else 0.0)
    return labels, scores, ["B" if one else "A" for one in second]


def test_leak_by_centre_is_flagged_and_no_leak_is_not() -> None:
    labels, scores, centres = centred_cohort(leak=True)
    leaky = subgroups(labels, scores, centres, names(800), seed=0, draws=200)
    assert leaky.learnt_the_group
    assert leaky.within is not None
    assert leaky.pooled > leaky.within.high
    labels, scores, centres = centred_cohort(leak=False)
    honest = subgroups(labels, scores, centres, names(800), seed=0, draws=200)
    assert not honest.learnt_the_group
    assert honest.summary is not None
    assert honest.summary.low < honest.pooled < honest.summary.high
    assert honest.interaction_p is not None
    assert honest.interaction_p > 0.05


def test_interaction_is_seen_where_one_group_is_blind() -> None:
    rng = np.random.default_rng(1)
    labels, second = rng.random(600) < 0.5, np.arange(600) % 2 == 0
    scores = np.where(second, 1.8, 0.0) * labels + rng.normal(size=600)
    found = subgroups(labels, scores, ["f" if one else "m" for one in second], names(600), seed=0, draws=200)
    assert found.interaction_p is not None
    assert found.interaction_p < 0.01
    assert found.i2 is not None
    assert found.i2 > 0.8


def test_small_and_unknown_groups_are_counted_but_not_judged() -> None:
    labels = np.array([True, False] * 20 + [True] * 4)
    found = subgroups(
        labels,
        labels + np.random.default_rng(0).normal(size=44),
        ["a"] * 40 + ["b"] * 3 + [""],
        names(44),
        seed=0,
        draws=10,
    )
    assert [(group.name, group.subjects, group.auc is None) for group in found.groups] == [
        ("a", 40, False),
        ("b", 3, True),
    ]
    assert found.summary is None
    assert found.pooled == mean_auc(labels, labels + np.random.default_rng(0).normal(size=44))


def test_random_effects_do_not_fall_for_a_negative_variance_between_groups() -> None:
    """Groups that agree better than chance: statsmodels' own variance is then below 0, and its interval too narrow."""
    rng = np.random.default_rng(3)
    labels, scores = np.tile(rng.random(60) < 0.5, 3), np.tile(rng.normal(size=60), 3)
    scores = scores + labels
    found = subgroups(labels, scores, [g for g in "abc" for _ in range(60)], names(180), seed=0, draws=10)
    assert found.summary is not None
    width_of_all = found.summary.high - found.summary.low
    assert found.groups[0].auc is not None
    width_of_one = found.groups[0].auc.high - found.groups[0].auc.low
    assert width_of_all == pytest.approx(width_of_one / math.sqrt(3), rel=0.15)
