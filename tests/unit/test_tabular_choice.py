"""Classifier and features by nested inner folds, the fusion with values, and calibration by out-of-fold scores."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from inference.facts import Refused
from training.evaluate.shapley import shapley
from training.tabular.choice import ChoiceSettings, choose, inner_folds
from training.tabular.classifiers import NAMES, STORES_PATIENTS
from training.tabular.fusion import fit_linear, out_of_fold_linear

LR = ("logistic regression",)


def cohort(seed: int, subjects: int = 160, carried: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(subjects) % 2).astype(np.int8)
    features = rng.standard_normal((subjects, 20)).astype(np.float32)
    features[:, 0] += carried * (labels - 0.5)
    return features, labels


def each_alone(labels: np.ndarray) -> list[str]:
    return [f"P{i}" for i in range(len(labels))]


def test_out_of_fold_scores_are_honest_about_noise_and_about_signal() -> None:
    """Choice outside the folds would lift noise far above .5: 60 columns of 60 patients."""
    labels = (np.arange(60) % 2).astype(np.int8)
    aucs = []
    for seed in range(2):
        noise = np.random.default_rng(seed).standard_normal((60, 60)).astype(np.float32)
        model = choose(noise, labels, each_alone(labels), ChoiceSettings(LR, 8, False, 0))
        aucs.append(roc_auc_score(labels, model.out_of_fold))
    assert abs(np.mean(aucs) - 0.5) < 0.17
    features, labels = cohort(0, subjects=80, carried=3.0)
    model = choose(features, labels, each_alone(labels), ChoiceSettings(LR, 8, False, 0))
    assert roc_auc_score(labels, model.out_of_fold) > 0.9
    assert model.selection.columns[0] == 0


def test_all_seven_are_compared_and_what_stores_patients_is_not_kept() -> None:
    features, labels = cohort(1, subjects=50)
    model = choose(features, labels, each_alone(labels), ChoiceSettings(NAMES, 8, False, 0))
    assert tuple(model.inner_aucs) == NAMES
    assert model.name not in STORES_PATIENTS
    assert model.inner_aucs[model.name] == max(a for n, a in model.inner_aucs.items() if n not in STORES_PATIENTS)
    neighbours = ("k nearest neighbours",)
    with pytest.raises(Refused) as refusal:
        choose(features, labels, each_alone(labels), ChoiceSettings(neighbours, 8, False, 0))
    assert refusal.value.code == "classifier-none"
    assert choose(features, labels, each_alone(labels), ChoiceSettings(neighbours, 8, True, 0)).name in STORES_PATIENTS


def test_a_patient_with_two_studies_is_in_one_inner_fold() -> None:
    labels = np.repeat(np.arange(30, dtype=np.int8) % 2, 2)
    patients = [f"P{i // 2}" for i in range(60)]
    folds = inner_folds(labels, patients, 3)
    assert all(len({folds[i], folds[i + 1]}) == 1 for i in range(0, 60, 2))
    assert set(folds) == set(range(5))


@pytest.mark.parametrize("positives", [0, 1])
def test_one_class_is_refused(positives: int) -> None:
    features, labels = cohort(0, subjects=20)
    labels[:] = 0
    labels[:positives] = 1
    with pytest.raises(Refused) as refusal:
        choose(features, labels, each_alone(labels), ChoiceSettings(LR, 2, False, 0))
    assert refusal.value.code == "training-one-class"


def test_features_that_are_all_the_same_are_refused() -> None:
    _, labels = cohort(0, subjects=20)
    with pytest.raises(Refused) as refusal:
        choose(np.ones((20, 4), np.float32), labels, each_alone(labels), ChoiceSettings(LR, 2, False, 0))
    assert refusal.value.code == "features-constant"


def test_fusion_uses_both_and_reaches_the_optimum_of_independent_sources() -> None:
    """Two independent sources of distance 1.2 and .9: AUC Φ(√(1.44 + .81) ÷ √2) = .856."""
    rng = np.random.default_rng(0)
    labels = (rng.random(4000) < 0.4).astype(np.int8)
    image = 1.2 * 1.2 * (labels - 0.5) + 1.2 * rng.standard_normal(4000)  # a logit: distance² × …
    vectors = np.column_stack([0.9 * (labels - 0.5) + rng.standard_normal(4000), rng.standard_normal(4000)])
    vectors = vectors.astype(np.float32)
    folds = np.arange(4000) % 5
    scores = out_of_fold_linear(image, vectors, labels, folds)
    assert roc_auc_score(labels, scores) == pytest.approx(0.856, abs=0.015)
    linear = fit_linear(image, vectors, labels)
    assert linear.weights[0] == pytest.approx(1.0, abs=0.1)
    assert linear.weights[1] == pytest.approx(0.9, abs=0.1)
    assert abs(linear.weights[2]) < 0.1
    alone = fit_linear(None, vectors, labels)
    assert not alone.image
    assert roc_auc_score(labels, alone.scores(None, vectors)) < roc_auc_score(labels, scores) - 0.05


def test_an_image_that_goes_against_the_label_is_left_out_not_turned_round() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(200) < 0.5).astype(np.int8)
    against = -1.0 * (labels - 0.5) + rng.standard_normal(200)
    vectors = (labels[:, None] + rng.standard_normal((200, 2))).astype(np.float32)
    linear, alone = fit_linear(against, vectors, labels), fit_linear(None, vectors, labels)
    assert linear.weights == (0.0, *alone.weights)
    assert np.allclose(linear.scores(against, vectors), alone.scores(None, vectors))


def test_importance_is_the_mean_size_of_shap_values() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % 2).astype(np.int8)
    image = labels + rng.standard_normal(60)
    vectors = (0.5 * labels[:, None] + rng.standard_normal((60, 2))).astype(np.float32)
    linear = fit_linear(image, vectors, labels)
    columns = np.column_stack([image, vectors])
    expected = shapley(
        lambda x: linear.scores(x[:, 0], x[:, 1:].astype(np.float32)), columns, columns, ("a", "b", "c"), seed=0
    )
    found = dict(zip("abc", linear.importance(image, vectors), strict=True))
    assert found == pytest.approx(expected.importance, rel=1e-3)
