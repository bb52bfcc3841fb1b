"""Phantom images: the hidden scores can be read back from them, spoilt ones are spoilt, and nothing else tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from inference.facts import Volume
from training.phantom import sstr
from training.phantom.images import Images, iodine_mg_ml, render_subject
from training.phantom.latents import empirical_auc
from training.phantom.lesion import PlantedLesion, ellipsoid_radius, lesion_box
from training.phantom.presets import PRESETS
from training.phantom.scene import CENTRES
from training.phantom.settings import PhantomSettings
from training.phantom.subjects import PhantomSubject, draw_subjects


def inside(volume: Volume, lesion: PlantedLesion, low: float, high: float) -> npt.NDArray[Any]:
    """Values of the voxels whose relative radius lies between ``low`` and ``high``."""
    affine = np.asarray(volume.affine, np.float64)
    box = lesion_box(lesion, affine, volume.array.shape, 2.0)
    rho = ellipsoid_radius(lesion, affine, box)
    return np.asarray(volume.array[box][(rho >= low) & (rho <= high)], float)


def rendered(preset: str, count: int) -> tuple[list[PhantomSubject], list[Images]]:
    settings = PhantomSettings(preset, subjects=count, unlabelled={}, seed=9)
    subjects = draw_subjects(settings)
    return subjects, [render_subject(subject, settings) for subject in subjects]


def aucs(
    preset: str, count: int, source: str, read: Callable[[PhantomSubject, Images], float]
) -> tuple[float, float, float]:
    """AUC of what is read from the images and of the hidden score, for the same subjects; and their correlation."""
    subjects, images = rendered(preset, count)
    found = np.array([read(s, i) for s, i in zip(subjects, images, strict=True)])
    scores = np.array([s.scores[source] for s in subjects])
    labels = np.array([s.label for s in subjects])
    return empirical_auc(labels, found), empirical_auc(labels, scores), float(np.corrcoef(found, scores)[0, 1])


def core(subject: PhantomSubject, images: Images) -> float:
    """How much less uptake the core has than the hottest tenth."""
    assert subject.scene is not None
    assert images.suv is not None
    middle = inside(images.suv, subject.scene.lesion, 0.0, 0.4)
    return 1.0 - float(middle.mean()) / float(np.percentile(inside(images.suv, subject.scene.lesion, 0.0, 1.0), 90))


def texture(subject: PhantomSubject, images: Images) -> float:
    """The CT's spread in the lesion without the scanner's noise."""
    assert subject.scene is not None
    assert images.ct is not None
    variance = inside(images.ct, subject.scene.lesion, 0.0, 0.85).var()
    return float(np.sqrt(max(variance - CENTRES[subject.centre].ct_noise_hu ** 2, 1.0)))


def iodine(subject: PhantomSubject, images: Images) -> float:
    assert subject.scene is not None
    assert images.iodine is not None
    return float(inside(images.iodine, subject.scene.lesion, 0.0, 0.8).mean())


def metastases(volume: Volume, subject: PhantomSubject) -> float:
    return float(np.mean([inside(volume, lesion, 0.0, 0.6).mean() for lesion in subject.metastases]))


def test_the_core_of_the_pet_tells_the_pet_score() -> None:
    read, best, correlation = aucs("cpc", 250, "pet", core)
    assert correlation > 0.7
    assert best - 0.08 < read < best + 0.02


def test_the_texture_of_the_ct_tells_the_ct_score() -> None:
    read, best, correlation = aucs("dlr", 300, "ct", texture)
    assert correlation > 0.8
    assert best - 0.05 < read < best + 0.02


def test_the_iodine_of_the_tumour_tells_the_iodine_score() -> None:
    read, best, correlation = aucs("dfsigm", 200, "iodine", iodine)
    assert correlation > 0.97
    assert read == pytest.approx(best, abs=0.02)


def test_clustered_scores_show_in_both_images() -> None:
    subjects, images = rendered("ussl", 150)
    shown = np.array([[core(s, i), texture(s, i)] for s, i in zip(subjects, images, strict=True)])
    scores = np.tanh(np.array([s.scores["pet"] for s in subjects]) / 2.0)
    assert min(np.corrcoef(column, scores)[0, 1] for column in shown.T) > 0.65


def test_uptake_and_density_of_metastases_tell_both_scores_and_only_together_the_label() -> None:
    subjects, images = rendered("prrt_pfs", 250)
    pet = np.array([metastases(i.suv, s) for s, i in zip(subjects, images, strict=True) if i.suv])
    ct = np.array([metastases(i.ct, s) for s, i in zip(subjects, images, strict=True) if i.ct])
    p = 6.0 * np.arctanh(np.clip((pet - 15.0) / 13.0, -0.97, 0.97))
    u = 6.0 * np.arctanh(np.clip((ct - 40.0) / 180.0, -0.97, 0.97))
    assert np.corrcoef(p, [s.scores["pet"] for s in subjects])[0, 1] > 0.98
    assert np.corrcoef(u, [s.scores["ct"] for s in subjects])[0, 1] > 0.98
    labels = np.array([s.label for s in subjects])
    v = np.array([s.scores["pet"] - s.scores["ct"] for s in subjects])
    assert empirical_auc(labels, p - u) == pytest.approx(empirical_auc(labels, v), abs=0.03)
    assert empirical_auc(labels, p - u) > empirical_auc(labels, p) + 0.05


def test_the_organs_of_the_trunk_are_where_they_are_hot() -> None:
    suv, ct = sstr.image((), CENTRES[0], 8.0, np.random.default_rng(0))
    at = {
        name: tuple(np.rint(suv.to_index([x * sstr.WIDTH, y * sstr.WIDTH, z])).astype(int))
        for name, (x, y, z) in {"spleen": (106, 42, 432), "liver": (-60, -2, 418), "lung": (-80, 4, 560)}.items()
    }
    assert suv.array[at["spleen"]] > 2 * suv.array[at["liver"]] > 4
    assert ct.array[at["lung"]] < -700
    assert (ct.array[:, 0, 0] < -900).all()


@pytest.mark.parametrize("name", PRESETS)
def test_the_same_subject_has_the_same_voxels(name: str) -> None:
    settings = PhantomSettings(name, subjects=2, unlabelled={})
    one, other = (render_subject(draw_subjects(settings)[1], settings) for _ in range(2))
    assert one.reference.array.tobytes() == other.reference.array.tobytes()
    assert one.anatomy.array.tobytes() == other.anatomy.array.tobytes()
    assert (one.region is None) == (PRESETS[name].body == "whole body")


@pytest.mark.parametrize(("name", "kinds"), [("ussl", 3), ("dlr", 2), ("dfsigm", 2), ("prrt_pfs", 3)])
def test_image_outliers_are_among_the_training_images_only(name: str, kinds: int) -> None:
    settings = PhantomSettings(name, subjects=150, unlabelled={}, image_outliers=0.3)
    subjects = draw_subjects(settings)
    spoilt = [s for s in subjects if s.outlier]
    training = [s for s in subjects if s.part == "train"]
    assert {s.part for s in spoilt} == {"train"}
    assert len(spoilt) == pytest.approx(0.3 * len(training), rel=0.4)
    assert len({s.outlier for s in spoilt}) >= kinds


def spoilt_and_clean(kind: str) -> tuple[PhantomSubject, Images, Images]:
    settings = PhantomSettings("ussl", subjects=60, unlabelled={}, image_outliers=1.0)
    subject = next(s for s in draw_subjects(settings) if s.outlier == kind)
    clean = PhantomSettings("ussl", subjects=60, unlabelled={})
    return subject, render_subject(subject, settings), render_subject(draw_subjects(clean)[subject.number], clean)


def test_a_scaled_pet_is_a_thousand_times_too_hot() -> None:
    _, spoilt, clean = spoilt_and_clean("scaled")
    assert spoilt.reference.array == pytest.approx(1000.0 * clean.reference.array, rel=1e-5)


def test_a_wrong_crop_misses_the_lesion() -> None:
    _, spoilt, clean = spoilt_and_clean("wrong crop")
    assert spoilt.region is not None
    assert clean.region is not None
    assert spoilt.region.start != clean.region.start
    assert spoilt.region.mask.sum() == clean.region.mask.sum()


def test_ct_of_air_alone() -> None:
    _, spoilt, clean = spoilt_and_clean("CT air")
    assert (spoilt.anatomy.array == -1000).all()
    assert spoilt.reference.array.tobytes() == clean.reference.array.tobytes()


def test_a_misregistered_ct_lies_20_mm_away() -> None:
    settings = PhantomSettings("ussl", subjects=200, unlabelled={}, image_outliers=1.0)
    subject = next(
        s for s in draw_subjects(settings) if s.outlier == "misregistered" and s.scene and s.scene.surroundings_hu < 0
    )
    assert subject.scene is not None
    ct = render_subject(subject, settings).anatomy
    tissue = np.argwhere(ct.array > -400)
    near = ct.to_lps(tissue)
    distance = np.linalg.norm(near - np.array(subject.scene.lesion.centre_lps_mm), axis=1)
    lesion = near[distance < 20.0 + max(subject.scene.lesion.semi_axes_mm)]
    moved = np.linalg.norm(lesion.mean(axis=0) - np.array(subject.scene.lesion.centre_lps_mm))
    assert moved == pytest.approx(20.0, abs=5.0)


def test_unlabelled_kinds_look_as_they_should() -> None:
    kinds = {"other-tracer": 3, "wrong-organ": 3, "noise": 3}
    settings = PhantomSettings("ussl", subjects=1, unlabelled=kinds)
    for subject in draw_subjects(settings)[1:]:
        images = render_subject(subject, settings)
        assert images.suv is not None
        assert images.region is not None
        values = images.suv.array[images.region.slices][images.region.mask] / CENTRES[subject.centre].suv_scale
        if subject.kind == "other-tracer":
            assert values.max() > 12
        elif subject.kind == "wrong-organ":
            assert values.mean() == pytest.approx(
                np.median(images.suv.array) / CENTRES[subject.centre].suv_scale, rel=0.1
            )
            assert 2.5 < values.mean() < 5.5
        else:
            assert images.suv.array.std() > 3


def test_iodine_of_tumour_and_aorta_are_in_mg_ml() -> None:
    subjects, images = rendered("dfsigm", 5)
    for subject, image in zip(subjects, images, strict=True):
        assert image.iodine is not None
        z, _, x = (n // 2 for n in image.iodine.array.shape)
        behind = round(float(image.iodine.to_index([0.0, 36.0, 0.0])[1]))
        aorta = image.iodine.array[z - 5 : z + 5, behind - 2 : behind + 2, x - 2 : x + 2].mean()
        assert aorta == pytest.approx(float(subject.values["aorta_iodine"] or 0), abs=0.2)
        assert iodine(subject, image) == pytest.approx(iodine_mg_ml(subject.scores["iodine"]), abs=0.25)
