"""Does the model apply: the input contract, and the distance of the features."""

from __future__ import annotations

import numpy as np
import pytest

from inference.facts import Volume
from inference.model.applicability import FeatureStatistics, judge, quantities
from inference.model.inputs import NetworkInput

RANGES = {"region_ml": (2.0, 70.0), "suv_max": (2.0, 30.0), "pixel_spacing_mm": (2.73, 5.47)}
FOUND = {"region_ml": 20.0, "suv_max": 8.0, "pixel_spacing_mm": 5.46875}


def two_classes(subjects: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (subjects, 12) of two correlated Gaussian classes, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, subjects)
    mixing = np.random.default_rng(0).normal(size=(12, 12)) / 3 + np.eye(12)
    return rng.normal(size=(subjects, 12)) @ mixing + 4.0 * labels[:, None] * np.eye(12)[0] + 3.0, labels


@pytest.fixture(scope="module")
def statistics() -> FeatureStatistics:
    training, labels = two_classes(800, 1)
    return FeatureStatistics.fit(training, labels, two_classes(800, 2)[0], reference_size=300)


def test_alike_is_inside_and_unlike_is_outside(statistics: FeatureStatistics) -> None:
    alike = [judge(FOUND, RANGES, statistics, x).state for x in two_classes(500, 3)[0]]
    assert 0.02 < np.mean([state == "outside" for state in alike]) < 0.08  # two tests at 2.5 %
    far = two_classes(50, 4)[0] * np.where(np.arange(12) % 2, -2.0, 2.0)
    assert all(judge(FOUND, RANGES, statistics, x).state == "outside" for x in far)


def test_percentiles_of_the_validation_subjects_are_uniform(statistics: FeatureStatistics) -> None:
    percentiles = np.array([statistics.percentiles(x) for x in two_classes(800, 2)[0]])
    assert np.quantile(percentiles, [0.25, 0.5, 0.75], axis=0) == pytest.approx(
        np.array([[25, 25], [50, 50], [75, 75]]), abs=1
    )


def test_mahalanobis_is_the_distance_to_the_nearer_class(statistics: FeatureStatistics) -> None:
    for mean in statistics.class_means:
        assert statistics.distances(mean)[0] == pytest.approx(0.0, abs=1e-3)


def test_statistics_survive_the_bundle(statistics: FeatureStatistics) -> None:
    again = FeatureStatistics.of(statistics.arrays())
    assert again.percentiles(two_classes(1, 9)[0][0]) == statistics.percentiles(two_classes(1, 9)[0][0])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("region_ml", 365.6, "the lesion's volume is 365.6 ml, the training data had 2 to 70 ml"),
        ("suv_max", 8000.0, "SUVmax"),
        ("pixel_spacing_mm", 1.0, "pixel spacing"),
    ],
)
def test_the_contract_names_what_lies_outside(
    statistics: FeatureStatistics, name: str, value: float, words: str
) -> None:
    verdict = judge(FOUND | {name: value}, RANGES, statistics, statistics.class_means[0])
    assert verdict.state == "outside"
    assert any(words in reason for reason in verdict.reasons)


def test_without_statistics_nothing_is_claimed() -> None:
    assert judge(FOUND, RANGES, None, np.zeros(3)).state == "unknown"
    assert judge(FOUND | {"region_ml": 0.1}, RANGES, None, np.zeros(3)).state == "outside"


def test_quantities_are_those_of_the_grid_and_the_region() -> None:
    suv = Volume(np.zeros((4, 4, 4), np.float32), np.diag([3.0, 4.0, 5.0, 1.0]), "2.25.1")
    seen = NetworkInput(np.zeros((3, 16, 16, 16), np.float32), np.eye(4), 12.0, 0.25, 0.5, 7.0)
    assert quantities(seen, suv) == {
        "region_ml": 12.0,
        "suv_max": 7.0,
        "slice_spacing_mm": 3.0,
        "pixel_spacing_mm": 5.0,
        "lost_percent": 25.0,
        "without_ct_percent": 50.0,
    }
