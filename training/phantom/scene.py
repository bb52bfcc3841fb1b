"""What is in the picture apart from the label: a lesion's place, size and uptake, other hot spots, centre, region rule.

None of it carries label information; ``training.phantom.cohort`` and ``subjects`` put the hidden scores in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

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
class Scene:
    """``lesion``: with no core and the smallest texture.  ``centre``: index in ``CENTRES``.

    ``region_rule``: how the region is drawn, a contour or 41 % of the maximum; ``contour_scale``: of the former.
    """

    lesion: PlantedLesion
    centre: int
    distractors: tuple[PlantedLesion, ...]
    surroundings_hu: float
    region_rule: RegionRule
    contour_scale: float


def draw_scene(extent_mm: float, rng: np.random.Generator) -> Scene:
    """A scene in a cube of ``extent_mm``."""
    radius_mm = float(rng.uniform(8.0, min(25.0, 0.2 * extent_mm)))
    lesion = lesion_of_score(
        -math.inf,
        _triple(rng.uniform(-6.0, 6.0, 3)),
        radius_mm,
        suv=float(np.exp(rng.normal(math.log(8.0), 0.4))),
        hu=float(rng.normal(40.0, 15.0)),
        shape=_triple(np.exp(rng.normal(0.0, 0.12, 3))),
    )
    return Scene(
        lesion=lesion,
        centre=int(rng.integers(len(CENTRES))),
        distractors=_distractors(lesion, extent_mm, rng),
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


def image_pet(
    lesions: tuple[PlantedLesion, ...],
    centre: Centre,
    extent_mm: float,
    rng: np.random.Generator,
    background_suv: float = BACKGROUND_SUV,
) -> Volume:
    """SUVbw (float32) of a cube of ``extent_mm`` round the origin as the centre's scanner sees it."""
    affine, shape = grid(extent_mm, centre.slice_mm, centre.pet_pixel_mm)
    activity = np.full(shape, background_suv, np.float32)
    for lesion in lesions:
        paint_uptake(activity, affine, lesion)
    spacing = (centre.slice_mm, centre.pet_pixel_mm, centre.pet_pixel_mm)
    suv = centre.suv_scale * acquire_pet(activity, spacing, centre.psf_fwhm_mm, rng)
    return Volume(suv, affine, FRAME_OF_REFERENCE)


def image_ct(
    lesions: tuple[PlantedLesion, ...],
    surroundings_hu: float,
    centre: Centre,
    extent_mm: float,
    rng: np.random.Generator,
) -> Volume:
    """HU (int16) of a cube of ``extent_mm`` round the origin."""
    affine, shape = grid(extent_mm, centre.slice_mm, CT_PIXEL_MM)
    hu = np.full(shape, surroundings_hu, np.float32)
    for lesion in lesions:
        paint_hounsfield(hu, affine, lesion, rng)
    hu += centre.ct_noise_hu * rng.standard_normal(shape, np.float32)
    return Volume(np.rint(hu).astype(np.int16), affine, FRAME_OF_REFERENCE)


def grid(extent_mm: float, slice_mm: float, pixel_mm: float) -> tuple[Matrix, tuple[int, int, int]]:
    """A grid around the origin: slice → +S, row → +P, column → +L."""
    shape = (round(extent_mm / slice_mm), round(extent_mm / pixel_mm), round(extent_mm / pixel_mm))
    affine = np.eye(4)
    affine[:3, :3] = [[0.0, 0.0, pixel_mm], [0.0, pixel_mm, 0.0], [slice_mm, 0.0, 0.0]]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return affine, shape


def contour_region(lesion: PlantedLesion, scale: float, volume: Volume) -> Region:
    """What a reader draws: the lesion's surface, ``scale`` times as large."""
    return Region.of(np.asarray(_rho(lesion, volume) <= scale))


def isocontour_region(lesion: PlantedLesion, suv: Volume) -> Region:
    """What a threshold gives: the voxels at 41 % of the maximum that hang together with it."""
    near: FloatArray = np.where(_rho(lesion, suv) <= 1.5, suv.array, 0.0)
    above, _ = ndimage.label(near >= ISOCONTOUR * near.max(), np.ones((3, 3, 3)))
    joined: BoolArray = np.asarray(above == above[np.unravel_index(near.argmax(), near.shape)])
    return Region.of(joined)


def _rho(lesion: PlantedLesion, volume: Volume) -> FloatArray:
    everywhere = tuple(slice(0, n) for n in volume.array.shape)
    return ellipsoid_radius(lesion, np.asarray(volume.affine, np.float64), everywhere)


def _triple(values: npt.NDArray[np.float64]) -> Triple:
    a, b, c = (float(v) for v in values)
    return a, b, c
