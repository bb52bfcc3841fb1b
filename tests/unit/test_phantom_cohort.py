"""The cohort with a known optimum."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.evaluate.discrimination import auc_with_interval, expected_calibration_error
from training.phantom.cohort import CENTRES, CohortSettings, bayes_auc, draw, render, write_truth
from training.phantom.lesion import (
    PlantedLesion,
    acquire_pet,
    core_fraction,
    lesion_of_score,
    paint_hounsfield,
    paint_uptake,
    texture_sd_hu,
)

COHORT = CohortSettings(400, seed=11)


@pytest.mark.parametrize(
    ("delta", "epsilon", "prevalence", "expected"),
    [(4, 0.1, 0.45, 0.896), (4, 0.2, 0.45, 0.797), (3, 0.1, 0.45, 0.885), (4, 0.1, 0.30, 0.873)],
)
def test_bayes_auc_equals_the_published_simulation(
    delta: float, epsilon: float, prevalence: float, expected: float
) -> None:
    settings = CohortSettings(1, 0, delta=delta, epsilon=epsilon, prevalence=prevalence)
    assert bayes_auc(settings) == pytest.approx(expected, abs=0.0015)


def test_the_score_of_the_subjects_reaches_it() -> None:
    subjects = draw(CohortSettings(4000, seed=2))
    found = auc_with_interval(np.array([s.label for s in subjects]), np.array([s.score for s in subjects]))
    assert found.low < bayes_auc(COHORT) < found.high


def test_nothing_but_the_score_tells_the_label() -> None:
    subjects = draw(CohortSettings(4000, seed=2))
    labels = [s.label for s in subjects]
    for distractor in ("radius", "suv", "hu", "place", "centre", "spots"):
        value = {
            "radius": [s.lesion.radius_mm for s in subjects],
            "suv": [s.lesion.suv for s in subjects],
            "hu": [s.lesion.hu for s in subjects],
            "place": [s.lesion.centre_lps_mm[0] for s in subjects],
            "centre": [s.centre for s in subjects],
            "spots": [len(s.distractors) for s in subjects],
        }[distractor]
        assert roc_auc_score(labels, value) == pytest.approx(0.5, abs=0.04), distractor


def test_a_subject_depends_on_seed_and_number_only() -> None:
    few, many = draw(CohortSettings(3, seed=11)), draw(COHORT)
    assert few == many[:3]
    assert few != draw(CohortSettings(3, seed=12))
    first, again = render(few[2], COHORT), render(few[2], COHORT)
    assert np.array_equal(first.suv.array, again.suv.array)
    assert np.array_equal(first.ct.array, again.ct.array)


def test_images_show_what_the_truth_says() -> None:
    for subject in draw(COHORT)[:40]:
        phantom = render(subject, COHORT)
        centre = CENTRES[subject.centre]
        assert phantom.suv.spacing_mm == pytest.approx((centre.slice_mm, centre.pet_pixel_mm, centre.pet_pixel_mm))
        assert phantom.suv.array.dtype == np.float32
        assert phantom.ct.array.dtype == np.int16
        index = np.argwhere(phantom.region.mask) + phantom.region.start
        assert np.allclose(phantom.suv.to_lps(index).mean(axis=0), subject.lesion.centre_lps_mm, atol=4.0)
        if subject.region_rule == "contour":
            drawn_ml = subject.lesion.volume_ml * subject.contour_scale**3
            assert len(index) * phantom.suv.voxel_ml == pytest.approx(drawn_ml, rel=0.15)
        for spot in subject.distractors:
            gap = np.linalg.norm(np.subtract(spot.centre_lps_mm, subject.lesion.centre_lps_mm))
            assert gap > max(subject.lesion.semi_axes_mm) + spot.semi_axes_mm[0] + 9.9


def test_the_score_shows_in_core_and_texture() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -63.0
    cold, full = (lesion_of_score(s, (0.0, 0.0, 0.0), 20.0, 8.0) for s in (3.0, -3.0))
    measured = []
    for lesion in (cold, full):
        suv = np.full((64, 64, 64), 0.8, np.float32)
        paint_uptake(suv, affine, lesion)
        hu = np.full((64, 64, 64), -800.0, np.float32)
        paint_hounsfield(hu, affine, lesion, np.random.default_rng(0))
        core, rim = suv[32, 32, 32], suv[32, 32, 23]
        inside = hu[27:37, 27:37, 27:37]
        measured.append((core / rim, inside.std(), inside.mean()))
    assert measured[0][0] < 0.45 < 0.9 < measured[1][0]
    assert measured[0][1] == pytest.approx(texture_sd_hu(3.0), rel=0.25)
    assert measured[1][1] == pytest.approx(texture_sd_hu(-3.0), rel=0.25)
    assert measured[0][2] == pytest.approx(40.0, abs=6.0)
    assert core_fraction(0.0) == pytest.approx(0.375)


def test_a_lesion_outside_the_grid_paints_nothing() -> None:
    suv = np.full((8, 8, 8), 0.8, np.float32)
    hu = suv.copy()
    far = PlantedLesion((500.0, 0.0, 0.0), (10.0, 10.0, 10.0), 9.0, 0.0)
    paint_uptake(suv, np.eye(4), far)
    paint_hounsfield(hu, np.eye(4), far, np.random.default_rng(0))
    assert (suv == 0.8).all()
    assert (hu == 0.8).all()


def test_pet_noise_grows_with_the_root_of_activity_and_blur_keeps_the_mean() -> None:
    rng = np.random.default_rng(4)
    for activity in (1.0, 9.0):
        seen = acquire_pet(np.full((40, 40, 40), activity, np.float32), (2.0, 2.0, 2.0), 6.0, rng)
        assert seen.mean() == pytest.approx(activity, rel=0.01)
        assert seen.std() == pytest.approx(0.15 * np.sqrt(activity), rel=0.05)
    point = np.zeros((41, 41, 41), np.float32)
    point[20, 20, 20] = 1e6
    profile = acquire_pet(point, (2.0, 2.0, 2.0), 8.0, rng, noise=0.0)[20, 20]
    assert (profile > profile.max() / 2).sum() * 2.0 == pytest.approx(8.0, abs=2.0)


def test_the_truth_file_holds_the_latents(tmp_path: Path) -> None:
    subjects = draw(CohortSettings(5, seed=1))
    write_truth(tmp_path / "truth.json", CohortSettings(5, seed=1), subjects)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["bayes_auc"] == bayes_auc(COHORT)
    assert truth["settings"]["seed"] == 1
    assert [s["score"] for s in truth["subjects"]] == [s.score for s in subjects]


def test_auc_interval_against_resampling() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(300) < 0.4
    scores = np.round(rng.standard_normal(300) + 1.2 * labels, 1)  # with ties
    found = auc_with_interval(labels, scores)
    assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    draws = [rng.integers(0, 300, 300) for _ in range(1000)]
    low, high = np.quantile([roc_auc_score(labels[d], scores[d]) for d in draws], [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.012)
    assert found.high == pytest.approx(high, abs=0.012)
    with pytest.raises(ValueError, match="each class"):
        auc_with_interval(np.array([True, False, False]), np.array([1.0, 2.0, 3.0]))


def test_calibration_error_is_zero_for_true_probabilities_only() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(20000)
    labels = rng.random(20000) < truth
    assert expected_calibration_error(labels, truth) < 0.015
    assert expected_calibration_error(labels, truth**3) > 0.1
