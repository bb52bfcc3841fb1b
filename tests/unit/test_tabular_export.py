"""Heads as ONNX: the node computes what scikit-learn computes, from a file without a patient in it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from inference.model.head import STEPWISE, Head, check_head
from training.tabular.choice import ImageModel
from training.tabular.classifiers import NAMES, STORES_PATIENTS, ClassifierName, fit_classifier, logits
from training.tabular.export import export_head
from training.tabular.fusion import fit_linear
from training.tabular.selection import Selection

FEATURES, VALUES = 24, 3


@cache
def cohort() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (np.arange(90) % 2).astype(np.int8)
    features = rng.standard_normal((90, FEATURES)).astype(np.float32)
    features[:, :6] += 1.0 * (labels[:, None] - 0.5)
    return features, labels, rng.standard_normal((90, VALUES)).astype(np.float32)


@cache
def fitted(name: ClassifierName) -> ImageModel:
    features, labels, _ = cohort()
    columns = (20, 0, 3, 1, 7)
    classifier = fit_classifier(name, features[:, columns], labels, seed=0)
    selection = Selection(columns, (1.0,) * len(columns), FEATURES, FEATURES, 1.0)
    return ImageModel(name, selection, classifier, {name: 0.5}, logits(classifier, features[:, columns]), labels % 2)


def probability(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))


def unseen() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    far = 8.0 * rng.standard_normal((20, FEATURES))  # far from all training
    features = np.concatenate([rng.standard_normal((200, FEATURES)), far]).astype(np.float32)
    return features, rng.standard_normal((220, VALUES)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_equals_scikit_learn(name: ClassifierName) -> None:
    image, (features, values) = fitted(name), unseen()
    head = Head(export_head(FEATURES, 0, image, None), features=FEATURES, values=0)
    assert probability(head.scores(features)) == pytest.approx(probability(image.scores(features)), abs=1e-5)
    _, labels, vectors = cohort()
    fusion = fit_linear(image.out_of_fold, vectors, labels)
    both = Head(export_head(FEATURES, VALUES, image, fusion), features=FEATURES, values=VALUES)
    expected = fusion.scores(image.scores(features), values)
    assert probability(both.scores(features, values)) == pytest.approx(probability(expected), abs=1e-5)


def test_values_alone_ignore_the_features() -> None:
    _, labels, vectors = cohort()
    fusion = fit_linear(None, vectors, labels)
    head = Head(export_head(FEATURES, VALUES, None, fusion), features=FEATURES, values=VALUES)
    features, values = unseen()
    assert head.scores(features, values) == pytest.approx(fusion.scores(None, values), abs=1e-5)
    with pytest.raises(ValueError, match="needs"):
        export_head(FEATURES, 0, None, None)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_holds_no_patients_unless_its_name_is_on_the_list(name: ClassifierName) -> None:
    """Searched for: each training patient's chosen features, as they are and as z-scores, anywhere in the file."""
    import onnx
    from onnx import numpy_helper

    image, (features, _, _) = fitted(name), cohort()
    graph = onnx.load_from_string(export_head(FEATURES, 0, image, None)).graph
    arrays = [numpy_helper.to_array(t).ravel() for t in graph.initializer]
    for node in graph.node:
        arrays += [np.array(a.floats) for a in node.attribute if a.floats]
    numbers = np.sort(np.concatenate([a.astype(float) for a in arrays if a.dtype.kind == "f"]))
    chosen = features[:, list(image.selection.columns)]
    scaled = image.fitted[0].transform(chosen)
    assert _found(scaled, numbers) == (name in STORES_PATIENTS) or _found(chosen, numbers) == (name in STORES_PATIENTS)
    if name not in STORES_PATIENTS:
        assert not _found(scaled, numbers)
        assert not _found(chosen, numbers)


def _found(rows: np.ndarray, numbers: np.ndarray) -> bool:
    """Is there a patient all of whose numbers stand in the file?"""
    near = np.searchsorted(numbers, rows)
    distance = np.minimum(
        np.abs(numbers[np.clip(near, 0, len(numbers) - 1)] - rows), np.abs(numbers[np.clip(near - 1, 0, None)] - rows)
    )
    return bool((distance < 1e-6).all(axis=1).any())


@pytest.mark.parametrize("name", NAMES)
def test_only_stepwise_heads_have_no_gradient(name: ClassifierName) -> None:
    content = export_head(FEATURES, 0, fitted(name), None)
    stepwise = bool(check_head(content, "head") & STEPWISE)
    assert stepwise == (name in ("random forest", "gradient boosting", "k nearest neighbours"))
    gradient = Head(content, features=FEATURES, values=0).gradient(cohort()[0][0])
    assert (gradient is None) == stepwise


def test_the_gradient_of_a_logistic_regression_is_its_coefficients() -> None:
    image = fitted("logistic regression")
    head = Head(export_head(FEATURES, 0, image, None), features=FEATURES, values=0)
    scaler, regression = image.fitted
    expected = np.zeros(FEATURES)
    expected[list(image.selection.columns)] = regression.coef_[0] / scaler.scale_
    assert head.gradient(cohort()[0][3]) == pytest.approx(expected, abs=2e-3)


def test_the_same_model_gives_the_same_bytes() -> None:
    """But for k nearest neighbours, where skl2onnx numbers its names through the life of the process."""
    for name in NAMES[:5]:
        assert export_head(FEATURES, 0, fitted(name), None) == export_head(FEATURES, 0, fitted(name), None)
