"""A cohort with a known optimum (methods A0): hidden scores, labels, and the PET/CT of one lesion for each subject.

Hidden state h ~ Bernoulli(prevalence), score s = ±delta/2 + N(0, 1), label y = h flipped with probability epsilon.
The image shows s twice (core of the uptake, texture on CT); size, uptake, place, centre and other hot spots carry
nothing.  No reader of the images can beat ``bayes_auc`` in expectation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.stats import norm

from inference.facts import BoolArray, Region, Volume
from training.phantom.lesion import (
    FloatArray,
    Matrix,
    PlantedLesion,
    Triple,
    acquire_pet,
    ellipsoid_radius,
    lesion_of_score,
    paint_hounsfield,
    paint_uptake,
)

FRAME_OF_REFERENCE = "2.25.1"  # any: a cohort's volumes never leave training
CT_PIXEL_MM = 2.0
BACKGROUND_SUV = 0.8
LUNG_HU, SOFT_TISSUE_HU = -800.0, 50.0
ISOCONTOUR = 0.41
RegionRule = Literal["contour", "isocontour"]


@dataclass(frozen=True, slots=True)
class Centre:
    """How one centre scans.  Spacings in mm; ``suv_scale`` is its calibration error."""

    suv_scale: float
    psf_fwhm_mm: float
    ct_noise_hu: float
    slice_mm: float
    pet_pixel_mm: float


CENTRES = (
    Centre(1.00, 5.0, 12.0, 2.0, 2.73),
    Centre(1.10, 6.0, 18.0, 3.0, 4.07),
    Centre(0.90, 7.0, 25.0, 5.0, 4.00),
    Centre(1.25, 8.0, 12.0, 3.3, 5.47),
)


@dataclass(frozen=True, slots=True)
class CohortSettings:
    """The bimodal preset of methods A0; ``extent_mm``: edge of the rendered cube."""

    subjects: int
    seed: int
    delta: float = 4.0
    epsilon: float = 0.1
    prevalence: float = 0.45
    extent_mm: float = 128.0


@dataclass(frozen=True, slots=True)
class Subject:
    """The truth of one subject.  ``region_rule``: how its region is drawn, a contour or 41 % of the maximum."""

    number: int
    hidden: bool
    score: float
    label: bool
    centre: int
    lesion: PlantedLesion
    distractors: tuple[PlantedLesion, ...]
    surroundings_hu: float
    region_rule: RegionRule
    contour_scale: float


@dataclass(frozen=True, slots=True)
class Phantom:
    """The images of one subject: SUVbw, HU (int16, its own grid), and the lesion's region on the PET grid."""

    suv: Volume
    ct: Volume
    region: Region


def bayes_auc(settings: CohortSettings) -> float:
    """Area under the curve of the score s itself for the label y, in closed form.

    P(y = 1 | s) rises with s, so s is the best ranking; each class is a mixture of the two Gaussians.
    """
    positive, flip = settings.prevalence, settings.epsilon
    high_given = {
        label: positive * a / (positive * a + (1.0 - positive) * (1.0 - a))
        for label, a in ((True, 1.0 - flip), (False, flip))
    }
    up = float(norm.cdf(settings.delta / math.sqrt(2.0)))  # a high state above a low one
    a, b = high_given[True], high_given[False]
    return a * (1.0 - b) * up + (a * b + (1.0 - a) * (1.0 - b)) * 0.5 + (1.0 - a) * b * (1.0 - up)


def draw(settings: CohortSettings) -> list[Subject]:
    """The subjects of a cohort; each depends on the seed and its number only."""
    return [_subject(settings, number) for number in range(settings.subjects)]


def render(subject: Subject, settings: CohortSettings) -> Phantom:
    """The images of one subject; the same call gives the same voxels."""
    rng = np.random.default_rng([settings.seed, subject.number, 1])
    centre = CENTRES[subject.centre]
    affine, shape = _grid(settings.extent_mm, centre.slice_mm, centre.pet_pixel_mm)
    activity = np.full(shape, BACKGROUND_SUV, np.float32)
    for lesion in (*subject.distractors, subject.lesion):
        paint_uptake(activity, affine, lesion)
    spacing = (centre.slice_mm, centre.pet_pixel_mm, centre.pet_pixel_mm)
    suv = centre.suv_scale * acquire_pet(activity, spacing, centre.psf_fwhm_mm, rng)

    ct_affine, ct_shape = _grid(settings.extent_mm, centre.slice_mm, CT_PIXEL_MM)
    hu = np.full(ct_shape, subject.surroundings_hu, np.float32)
    for lesion in (*subject.distractors, subject.lesion):
        paint_hounsfield(hu, ct_affine, lesion, rng)
    hu += centre.ct_noise_hu * rng.standard_normal(ct_shape, np.float32)
    return Phantom(
        Volume(suv, affine, FRAME_OF_REFERENCE),
        Volume(np.rint(hu).astype(np.int16), ct_affine, FRAME_OF_REFERENCE),
        Region.of(_region(subject, suv, affine)),
    )


def write_truth(file: Path, settings: CohortSettings, subjects: Sequence[Subject]) -> None:
    """The latents of a cohort with its seed and the best AUC that exists for it, as JSON."""
    truth = {
        "settings": asdict(settings),
        "bayes_auc": bayes_auc(settings),
        "centres": [asdict(centre) for centre in CENTRES],
        "subjects": [asdict(subject) for subject in subjects],
    }
    file.write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")


def _subject(settings: CohortSettings, number: int) -> Subject:
    rng = np.random.default_rng([settings.seed, number, 0])
    hidden = bool(rng.random() < settings.prevalence)
    score = float((0.5 if hidden else -0.5) * settings.delta + rng.standard_normal())
    label = hidden ^ bool(rng.random() < settings.epsilon)
    radius_mm = float(rng.uniform(8.0, min(25.0, 0.2 * settings.extent_mm)))
    lesion = lesion_of_score(
        score,
        _triple(rng.uniform(-6.0, 6.0, 3)),
        radius_mm,
        suv=float(np.exp(rng.normal(math.log(8.0), 0.4))),
        hu=float(rng.normal(40.0, 15.0)),
        shape=_triple(np.exp(rng.normal(0.0, 0.12, 3))),
    )
    return Subject(
        number=number,
        hidden=hidden,
        score=score,
        label=label,
        centre=int(rng.integers(len(CENTRES))),
        lesion=lesion,
        distractors=_distractors(lesion, settings.extent_mm, rng),
        surroundings_hu=LUNG_HU if rng.random() < 0.5 else SOFT_TISSUE_HU,
        region_rule="contour" if rng.random() < 0.5 else "isocontour",
        contour_scale=float(rng.uniform(0.9, 1.15)),
    )


def _distractors(lesion: PlantedLesion, extent_mm: float, rng: np.random.Generator) -> tuple[PlantedLesion, ...]:
    """Up to three hot spots that stay clear of the lesion."""
    spots = []
    for _ in range(int(rng.integers(4))):
        radius_mm = float(rng.uniform(4.0, 9.0))
        direction = rng.standard_normal(3)
        clear_mm = max(lesion.semi_axes_mm) + radius_mm + 10.0
        away_mm = rng.uniform(clear_mm, max(clear_mm, 0.6 * extent_mm)) * direction / np.linalg.norm(direction)
        place = _triple(np.asarray(lesion.centre_lps_mm) + away_mm)
        spots.append(PlantedLesion(place, (radius_mm,) * 3, float(rng.uniform(3.0, 10.0)), 0.0))
    return tuple(spots)


def _grid(extent_mm: float, slice_mm: float, pixel_mm: float) -> tuple[Matrix, tuple[int, int, int]]:
    """A grid around the origin: slice → +S, row → +P, column → +L."""
    shape = (round(extent_mm / slice_mm), round(extent_mm / pixel_mm), round(extent_mm / pixel_mm))
    affine = np.eye(4)
    affine[:3, :3] = [[0.0, 0.0, pixel_mm], [0.0, pixel_mm, 0.0], [slice_mm, 0.0, 0.0]]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return affine, shape


def _region(subject: Subject, suv: FloatArray, affine: Matrix) -> BoolArray:
    """What serving would be given: a reader's contour, or the 41 % isocontour joined to the maximum."""
    everywhere = tuple(slice(0, n) for n in suv.shape)
    rho = ellipsoid_radius(subject.lesion, affine, everywhere)
    if subject.region_rule == "contour":
        return np.asarray(rho <= subject.contour_scale)
    near = np.where(rho <= 1.5, suv, 0.0)
    above, _ = ndimage.label(near >= ISOCONTOUR * near.max(), np.ones((3, 3, 3)))
    return np.asarray(above == above[np.unravel_index(near.argmax(), near.shape)])


def _triple(values: npt.NDArray[np.float64]) -> Triple:
    a, b, c = (float(v) for v in values)
    return a, b, c
