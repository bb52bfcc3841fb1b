"""AUC, differences, resampling, proportions, precision and recall: the known answers of methods C2.

The aSAH figures (C2.1) need data under the GPL, which we do not ship: they are left out.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ttest_1samp
from sklearn.metrics import average_precision_score, roc_auc_score

from training.evaluate.bootstrap import bootstrap_interval, mean_auc, resamples
from training.evaluate.delong import auc_difference, auc_difference_unpaired, auc_interval, delong, placements
from training.evaluate.discrimination import auc_with_interval
from training.evaluate.multiplicity import benjamini_hochberg, holm
from training.evaluate.operating_point import operating_point, share
from training.evaluate.permutation import permutation_test, permuted_labels, summarised
from training.evaluate.precision_recall import average_precision, average_precision_interval
from training.evaluate.resampled import corrected_resampled_t
from training.evaluate.sample_size import (
    cox_snell_from_auc,
    expected_shrinkage,
    half_width,
    hanley_mcneil_error,
    subjects_for_shrinkage,
    subjects_to_tell,
)

BY_HAND_LABELS = np.array([True, True, True, False, False, False])
BY_HAND = np.array([0.9, 0.8, 0.4, 0.7, 0.3, 0.2])


def two_scores(seed: int, n: int = 300, d: float = 1.2, r: float = 0.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two correlated scores that are equally good."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    shared, own = rng.normal(size=n), rng.normal(size=(2, n))
    a, b = (d * labels + math.sqrt(r) * shared + math.sqrt(1 - r) * one for one in own)
    return labels, a, b


def test_delong_by_hand() -> None:
    above, below = placements(BY_HAND_LABELS, BY_HAND)
    np.testing.assert_allclose(above, [1, 1, 2 / 3])
    np.testing.assert_allclose(below, [2 / 3, 1, 1])
    found = delong(BY_HAND_LABELS, BY_HAND[:, None])
    assert found.aucs[0] == pytest.approx(8 / 9)
    assert found.covariance[0, 0] == pytest.approx(2 / 81)


def test_few_subjects_take_the_logit_interval_and_many_do_not() -> None:
    few = auc_interval(BY_HAND_LABELS, BY_HAND)
    assert (few.low, few.high) == pytest.approx(tuple(vars_of(auc_with_interval(BY_HAND_LABELS, BY_HAND))))
    labels, a, _ = two_scores(1)
    many = auc_interval(labels, a)
    assert many.high - many.value == pytest.approx(many.value - many.low)
    assert many.high - many.value == pytest.approx(1.959964 * math.sqrt(delong(labels, a[:, None]).covariance[0, 0]))


def vars_of(auc: object) -> tuple[float, float]:
    return auc.low, auc.high  # type: ignore[attr-defined]


def test_perfect_order_keeps_an_honest_lower_limit() -> None:
    labels = np.arange(20) >= 10
    perfect = auc_interval(labels, np.arange(20.0))
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.025 ** (1 / 10))
    assert auc_interval(labels, -np.arange(20.0)).high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_ties_count_half_and_one_class_is_refused() -> None:
    labels = np.array([True, False] * 5)
    assert auc_interval(labels, np.ones(10)).value == 0.5
    with pytest.raises(ValueError, match="two subjects"):
        auc_interval(np.ones(5, bool), np.arange(5.0))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 60))
def test_auc_and_average_precision_agree_with_scikit_learn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    labels[:4] = [True, True, False, False]
    scores = np.round(rng.normal(size=n), 1)  # with ties
    assert auc_interval(labels, scores).value == pytest.approx(roc_auc_score(labels, scores))
    assert mean_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))


def test_scikit_learns_own_example() -> None:
    labels, scores = np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8])
    assert auc_interval(labels, scores).value == 0.75
    assert average_precision(labels, scores) == pytest.approx(0.8333, abs=1e-4)
    found = average_precision_interval(labels, scores, ["a", "b", "c", "d"], seed=0, draws=50)
    assert found.low <= found.value <= found.high


def test_paired_delong_holds_its_level_and_sees_a_difference() -> None:
    p = np.array([auc_difference(*two_scores(seed)).p for seed in range(400)])
    assert 0.02 < np.mean(p < 0.05) < 0.085
    labels, a, b = two_scores(5, n=600)
    better = auc_difference(labels, a + 1.5 * labels, b)
    assert better.p < 1e-6
    assert better.low < better.value < better.high
    assert auc_difference(labels, a, a).p == 1.0
    assert auc_difference(labels, a, 3 * a + 1).value == 0.0


def test_difference_is_the_contrast_of_the_covariance_and_unpaired_forgets_it() -> None:
    labels, a, b = two_scores(7)
    found = delong(labels, np.column_stack([a, b]))
    paired, unpaired = auc_difference(labels, a, b), auc_difference_unpaired(labels, a, labels, b)
    variance = found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]
    assert paired.statistic == pytest.approx(paired.value / math.sqrt(variance))
    assert paired.p == pytest.approx(2 * norm.sf(abs(paired.statistic)))
    assert unpaired.value == pytest.approx(paired.value)
    assert unpaired.statistic**2 == pytest.approx(paired.value**2 / np.trace(found.covariance))


def test_repeats_are_not_new_subjects() -> None:
    labels, a, b = two_scores(3)
    one, four = auc_interval(labels, a), auc_interval(labels, np.column_stack([a] * 4))
    assert (four.low, four.high) == pytest.approx((one.low, one.high))
    mixed = auc_interval(labels, np.column_stack([a, b]))
    assert mixed.value == pytest.approx((one.value + auc_interval(labels, b).value) / 2)
    assert mixed.high - mixed.low < one.high - one.low  # two looks at the same subjects, partly independent


def test_bootstrap_agrees_with_delong_and_keeps_patients_together() -> None:
    labels, a, _ = two_scores(11)
    patients = [f"p{i}" for i in range(len(labels))]
    drawn = bootstrap_interval(lambda rows: mean_auc(labels[rows], a[rows]), labels, patients, seed=1, draws=500)
    exact = auc_interval(labels, a)
    assert drawn.value == pytest.approx(exact.value)
    assert drawn.low == pytest.approx(exact.low, abs=0.015)
    assert drawn.high == pytest.approx(exact.high, abs=0.015)
    again = bootstrap_interval(lambda rows: mean_auc(labels[rows], a[rows]), labels, patients, seed=1, draws=500)
    assert again == drawn
    pairs = [f"p{i // 2}" for i in range(10)]
    rows_labels = np.repeat([True, False, True, False, False], 2)
    for rows in resamples(rows_labels, pairs, seed=0, draws=20):
        assert len(rows) == 10
        assert rows_labels[rows].sum() == 4  # as many of each class
        counts = np.bincount(rows, minlength=10)
        np.testing.assert_array_equal(counts[::2], counts[1::2])


def test_doubled_studies_do_not_narrow_the_bootstrap() -> None:
    labels, a, _ = two_scores(2, n=100)
    patients = [f"p{i}" for i in range(100)]
    single = bootstrap_interval(lambda r: mean_auc(labels[r], a[r]), labels, patients, seed=3, draws=400)
    twice = np.tile(np.arange(100), 2)
    y, s = labels[twice], a[twice]
    double = bootstrap_interval(lambda r: mean_auc(y[r], s[r]), y, [patients[i] for i in twice], seed=3, draws=400)
    assert double.high - double.low == pytest.approx(single.high - single.low, rel=0.15)


def test_nadeau_bengio() -> None:
    differences = np.array([0.02, 0.05, -0.01, 0.04, 0.03])
    plain = corrected_resampled_t(differences, 0.0, 100.0)  # no test subjects: the plain t test
    assert plain.p == pytest.approx(ttest_1samp(differences, 0.0).pvalue)
    corrected = corrected_resampled_t(differences, 20, 80)
    assert plain.statistic / corrected.statistic == pytest.approx(math.sqrt((1 / 5 + 20 / 80) / (1 / 5)))
    assert corrected_resampled_t(np.zeros(3), 1, 2).p == 1.0


def test_proportions() -> None:
    exact, wilson = share(8, 10), share(81, 263)
    assert (exact.low, exact.high) == pytest.approx((0.4439, 0.9748), abs=5e-5)
    assert (wilson.low, wilson.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert math.isnan(share(0, 0).value)


def test_operating_point_takes_each_folds_threshold() -> None:
    labels = np.array([True, True, False, False])
    point = operating_point(labels, np.array([0.4, 0.6, 0.4, 0.6]), np.array([0.3, 0.3, 0.5, 0.5]))
    counts = (point.true_positives, point.false_positives, point.true_negatives, point.false_negatives)
    assert counts == (2, 1, 1, 0)
    assert point.sensitivity.value == 1.0
    assert point.specificity.value == 0.5
    assert point.positive_predictive_value.value == pytest.approx(2 / 3)


def test_multiplicity_of_benjamini_and_hochbergs_table() -> None:
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590]
    p.append(1.0)
    assert sum(one <= 0.05 for one in benjamini_hochberg(p)) == 4
    assert sum(one <= 0.05 for one in holm(p)) == 3
    assert sum(one * 15 <= 0.05 for one in p) == 3
    assert holm([]) == []


def test_hanley_mcneil() -> None:
    assert hanley_mcneil_error(0.72, 74, 42) == pytest.approx(0.0471, abs=5e-5)
    assert hanley_mcneil_error(0.85, 170, 182) == pytest.approx(0.0209, abs=5e-5)
    assert half_width(0.85, 170, 182) == pytest.approx(0.041, abs=5e-4)
    assert half_width(0.82, 32, 32) == pytest.approx(0.105, abs=1e-3)


def test_subjects_to_tell_two_models() -> None:
    paired, unpaired = (subjects_to_tell(0.82, 0.77, correlation=r) for r in (0.6, 0.0))
    assert 300 < paired < unpaired < 2000  # "several hundred"
    a, b = (hanley_mcneil_error(auc, paired / 2, paired / 2) for auc in (0.82, 0.77))
    assert 0.05 / math.sqrt(a * a + b * b - 1.2 * a * b) == pytest.approx(1.959964 + 0.841621, abs=0.01)
    with pytest.raises(ValueError, match="equal"):
        subjects_to_tell(0.8, 0.8, correlation=0.5)


def test_riley_shrinkage() -> None:
    # pmsampsize's documented example: 24 parameters, Cox-Snell R² .288, shrinkage .9 → 623 subjects
    assert subjects_for_shrinkage(24, 0.288) == 623
    assert expected_shrinkage(24, 623, 0.288) == pytest.approx(0.9, abs=1e-3)
    assert expected_shrinkage(24, 300, 0.288) < 0.82


def test_cox_snell_from_auc_agrees_with_a_simulated_cohort() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(400_000) < 0.3
    d = math.sqrt(2) * norm.ppf(0.8)
    s = d * (y - 0.5) + rng.normal(size=len(y))
    p = 1 / (1 + np.exp(-(d * s + math.log(0.3 / 0.7))))
    model, null = np.mean(np.where(y, np.log(p), np.log1p(-p))), 0.3 * math.log(0.3) + 0.7 * math.log(0.7)
    assert cox_snell_from_auc(0.8, 0.3) == pytest.approx(1 - math.exp(-2 * (model - null)), abs=0.003)


def test_permutation_runs_the_whole_pipeline_on_permuted_labels() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 30))
    labels = (np.arange(60) % 2).astype(np.int8)
    patients = [f"p{i}" for i in range(60)]

    def select_then_score(given_labels: np.ndarray) -> float:
        """Selection on all rows: a leak that reports an AUC far above 0.5 on noise."""
        y = given_labels.astype(bool)
        best = np.argmax(np.abs(features[y].mean(axis=0) - features[~y].mean(axis=0)))
        return max(mean_auc(y, features[:, best]), mean_auc(y, -features[:, best]))

    found = permutation_test(select_then_score, labels, patients, seed=1, permutations=60)
    assert found.observed > 0.6
    assert found.p > 0.05  # because the selection is repeated too
    assert found.mean > 0.6
    real = permutation_test(
        lambda y: mean_auc(y.astype(bool), labels + 0.1 * features[:, 0]), labels, patients, seed=1, permutations=60
    )
    assert real.p == pytest.approx(1 / 61)
    assert real.mean == pytest.approx(0.5, abs=0.03)
    assert summarised(0.5, [0.4, 0.5, 0.6]).p == 3 / 4


def test_permuted_labels_stay_with_patients_and_leave_the_unlabelled() -> None:
    labels = np.array([1, 1, 0, 0, 1, 0, -1, -1], np.int8)
    patients = ["a", "a", "b", "b", "c", "d", "e", "e"]
    seen = {tuple(permuted_labels(labels, patients, seed=seed)) for seed in range(20)}
    assert len(seen) == 4  # a and b may be exchanged, and c and d
    for one in seen:
        assert one[0] == one[1]
        assert one[2] == one[3]
        assert one[6:] == (-1, -1)
        assert sum(one) == sum(labels)
