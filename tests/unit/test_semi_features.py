"""Small models on radiomics: agreement of PET and CT helps where both show the label, and does no harm elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from inference.model.radiomics import NAMES
from training.semi_supervised.features import Features, agreement, joined, logistic, probability, scores, similar
from training.semi_supervised.graph import in_domain, outliers, propagate


def cohort(n: int = 700, seed: int = 0, strange: int = 0) -> tuple[Features, np.ndarray]:
    """Features whose PET and CT parts share a score; volume drives both as well and is no label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(np.int8)
    score = 3.0 * (labels - 0.5) + rng.standard_normal(n)
    volume = rng.standard_normal(n)
    values = rng.standard_normal((n, len(NAMES)))
    values[:, NAMES.index("volume_log")] = volume
    for name, weight in (("pet_entropy", 0.6), ("ratio_pet_core_p95", -0.6), ("ct_sd", 0.6), ("ct_gradient", 0.5)):
        values[:, NAMES.index(name)] += weight * score + 1.5 * volume
    if strange:
        values[-strange:] = 30.0 + 5.0 * rng.standard_normal((strange, 1))
    return Features(values, NAMES, [f"c{i % 3}" for i in range(n)]), labels


def auc(head: object, features: Features, labels: np.ndarray, rows: np.ndarray) -> float:
    return float(roc_auc_score(labels[rows], scores(head, features, rows)))  # type: ignore[arg-type]


def test_agreement_beats_the_labels_alone_where_both_modalities_show_the_label() -> None:
    gains = []
    for seed in range(5):
        features, labels = cohort(seed=seed)
        train, unlabelled, test = np.arange(20), np.arange(20, 400), np.arange(400, 700)
        alone, together = logistic(features, labels, train), agreement(features, labels, train, unlabelled)
        gains.append(auc(together, features, labels, test) - auc(alone, features, labels, test))
    assert np.mean(gains) > 0.02


def test_unlabelled_rows_unlike_the_labelled_are_left_out() -> None:
    features, labels = cohort(strange=100)
    train, strange, test = np.arange(40), np.arange(580, 700), np.arange(40, 400)
    assert agreement(features, labels, train, strange) == logistic(features, labels, train)
    mixed = np.arange(40, 700)
    clean = agreement(features, labels, train, np.arange(40, 600))
    assert similar(features, train, mixed).max() < 600
    assert (
        auc(agreement(features, labels, train, mixed), features, labels, test)
        > auc(clean, features, labels, test) - 0.02
    )


def test_a_feature_that_is_unknown_counts_as_the_mean_and_has_no_target() -> None:
    features, labels = cohort()
    features.values[3] = np.nan
    head = logistic(features, labels, np.arange(40))
    assert scores(head, features, np.array([3]))[0] == pytest.approx(head.intercept)
    assert np.isnan(probability(head, features, np.array([3, 4]))).tolist() == [True, False]


def test_the_served_score_is_the_training_s_score() -> None:
    features, labels = cohort()
    head = agreement(features, labels, np.arange(40), np.arange(40, 400))
    one = dict(zip(NAMES, features.values[450], strict=True))
    assert head.score(one, 123.0) == pytest.approx(scores(head, features, np.array([450]))[0])


@pytest.mark.parametrize("stacked", [False, True])
def test_two_logits_are_joined_on_one_scale(stacked: bool) -> None:
    features, labels = cohort()
    rows = np.arange(100, 300)
    head = logistic(features, labels, np.arange(100))
    network = 50.0 * (labels[rows] - 0.5) + 30.0 * np.random.default_rng(0).standard_normal(len(rows))
    made = joined(head, network, scores(head, features, rows), labels[rows], stacked=stacked)
    total = made.network_weight * network + scores(made, features, rows)
    assert roc_auc_score(labels[rows], total) > roc_auc_score(labels[rows], network) - 0.02
    assert 0.0 < made.network_weight < 1.0


def test_labels_spread_along_the_neighbours() -> None:
    rng = np.random.default_rng(0)
    side = np.repeat([0, 1], 40)
    points = np.stack([6.0 * side - 3.0, np.ones(80)], 1) + 0.3 * rng.standard_normal((80, 2))
    labels = np.full(80, -1)
    labels[[0, 40]] = [0, 1]
    assert ((propagate(points, labels) > 0.5) == (side == 1)).mean() > 0.97


def test_far_images_weigh_little() -> None:
    rng = np.random.default_rng(0)
    known, near = rng.standard_normal((60, 4)), rng.standard_normal((60, 4))
    assert in_domain(known, near + 20.0).max() < 0.01
    assert np.median(in_domain(known, near)) > 0.3


def test_the_outlier_rule_finds_flips_and_stays_within_its_bounds() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 2
    labels = truth.copy()
    flipped = np.array([3, 10, 21, 44])
    labels[flipped] = 1 - labels[flipped]
    losses = np.where(labels == truth, rng.uniform(0.05, 0.2, 60), rng.uniform(2.0, 3.0, 60))
    found = outliers(losses, labels, truth.astype(float), 0)
    assert np.flatnonzero(found).tolist() == flipped.tolist()
    assert outliers(losses, labels, 1.0 - labels, 0).sum() <= 12
