"""Temperature, threshold and conformal quantile from validation subjects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from training.prepared import Prepared
from training.release.calibrate import (
    Calibration,
    calibrate,
    feature_statistics,
    fit_temperature,
    ranges,
    youden_threshold,
)


def test_scores_that_are_twice_too_sure_have_temperature_two() -> None:
    """Methods C2, known answer 9."""
    rng = np.random.default_rng(0)
    logit = rng.normal(0.0, 1.5, 100_000)
    assert fit_temperature(2.0 * logit, rng.random(len(logit)) < expit(logit)) == pytest.approx(2.0, abs=0.02)


def test_a_few_subjects_told_apart_without_a_fault_do_not_ask_for_certainty() -> None:
    scores = np.array([-3.0, -2.0, -2.5, 2.0, 3.0, 2.5])
    found = calibrate(scores, np.array([0, 0, 0, 1, 1, 1], np.int8))
    probability = found.probability(scores)
    assert 0.05 < probability.min() < probability.max() < 0.95
    assert found.conformal_quantile is None  # nine subjects are the fewest that can give 90 %
    assert 0.3 < found.threshold < 0.7


def test_the_threshold_lies_between_the_subjects_it_parts() -> None:
    probability = np.array([0.1, 0.2, 0.6, 0.7, 0.8, 0.9])
    positive = np.array([False, False, False, True, True, True])
    assert youden_threshold(probability, positive) == pytest.approx(0.65)
    assert youden_threshold(probability, np.ones(6, bool)) == 0.5


def test_the_conformal_quantile_is_the_finite_sample_one() -> None:
    scores = np.linspace(-2.0, 2.0, 9)
    labels = (scores > 0.3).astype(np.int8)
    found = calibrate(scores, labels)
    p = found.probability(scores)
    assert found.conformal_quantile == pytest.approx(np.where(labels == 1, 1.0 - p, p).max(), abs=1e-6)


def test_probabilities_keep_the_order_of_scores_and_need_no_guard() -> None:
    assert Calibration(0.05, 0.5, None).probability(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


def test_too_few_subjects_give_no_statistics_of_features() -> None:
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(40, 3)).astype(np.float32), np.array([0, 1] * 20, np.int8)
    assert feature_statistics(features[:10], labels[:10], features[30:]) is None
    assert feature_statistics(features, np.zeros(40, np.int8), features) is None
    assert feature_statistics(features[:30], labels[:30], features[30:]) is not None


def test_ranges_are_of_the_training_rows_and_leave_unknown_values_out() -> None:
    quantities = {
        "region_ml": np.array([5.0, 1.0, np.nan, 900.0]),
        "suv_max": np.full(4, np.nan),
        "lost_percent": np.array([2.0, 3.0, 2.5, 90.0]),
    }
    data = Prepared(("a",) * 4, ("a",) * 4, ("a",) * 4, np.zeros(4, np.int8), {}, quantities=quantities)
    assert ranges(data, np.array([0, 1, 2])) == {"region_ml": (1.0, 5.0), "lost_percent": (0.0, 3.0)}
