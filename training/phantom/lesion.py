"""One planted lesion: painted into any PET and CT grid before the scanner's blur and noise.

The hidden score ``s`` of a subject shows in two places (methods A0): a central photopenia of the uptake and the
texture of the soft tissue on CT.  Everything else about a lesion (size, uptake, place) carries no label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

FloatArray = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Triple = tuple[float, float, float]

CORE_WIDTH = 0.65  # of the radius; the core's depth falls to 1/e there
EDGE_MM = 1.0  # half width of the soft edge, below any PET resolution
TEXTURE_LENGTH_MM = 3.0  # distance at which the texture's correlation has fallen to 1/e
PET_NOISE = 0.15  # standard deviation at SUV 1, after reconstruction; grows with the square root of activity
_FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
_UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def core_fraction(s: float) -> float:
    """Depth of the central photopenia for the hidden score ``s``: 0 (none) … 0.75."""
    return 0.75 * (0.5 + 0.5 * math.tanh(s / 2.0))


def texture_sd_hu(s: float) -> float:
    """Standard deviation of the CT texture inside the lesion for the hidden score ``s``: 8 … 28 HU."""
    return 8.0 + 20.0 * (0.5 + 0.5 * math.tanh(s / 2.0))


@dataclass(frozen=True, slots=True)
class PlantedLesion:
    """A soft-edged ellipsoid.

    ``centre_lps_mm``: LPS.  ``semi_axes_mm``: along the unit vectors that are the rows of ``directions`` (LPS).
    ``suv``: uptake without the core, before blur.  ``core_fraction``: 0..1 of it missing at the centre.
    ``hu``: mean on CT.  ``texture_sd_hu``: standard deviation of its texture, without the scanner's noise.
    """

    centre_lps_mm: Triple
    semi_axes_mm: Triple
    suv: float
    core_fraction: float
    hu: float = 40.0
    texture_sd_hu: float = 8.0
    directions: tuple[Triple, Triple, Triple] = _UPRIGHT

    @property
    def radius_mm(self) -> float:
        """Radius of the sphere of equal volume."""
        return float(np.prod(self.semi_axes_mm) ** (1.0 / 3.0))

    @property
    def volume_ml(self) -> float:
        """Volume of the ellipsoid."""
        return 4.0 / 3.0 * math.pi * self.radius_mm**3 / 1000.0


def lesion_of_score(
    s: float, centre_lps_mm: Triple, radius_mm: float, suv: float, *, hu: float = 40.0, shape: Triple = (1.0, 1.0, 1.0)
) -> PlantedLesion:
    """The lesion that a subject with hidden score ``s`` carries; ``shape``: relative semi-axes, any scale."""
    scale = radius_mm / float(np.prod(shape) ** (1.0 / 3.0))
    a, b, c = (float(scale * axis) for axis in shape)
    return PlantedLesion(centre_lps_mm, (a, b, c), suv, core_fraction(s), hu, texture_sd_hu(s))


def ellipsoid_radius(lesion: PlantedLesion, affine: Matrix, box: tuple[slice, ...]) -> FloatArray:
    """ρ of every voxel centre of ``box``: 0 at the lesion's centre, 1 on its surface; shape of the box.

    ``affine``: 4×4, (slice, row, column, 1) → LPS mm.
    """
    to_unit = np.asarray(lesion.directions) / np.asarray(lesion.semi_axes_mm)[:, None]
    linear = to_unit @ affine[:3, :3]
    offset = to_unit @ (affine[:3, 3] - np.asarray(lesion.centre_lps_mm))
    k, r, c = np.ogrid[box]
    squared = sum((row[0] * k + row[1] * r + row[2] * c + o) ** 2 for row, o in zip(linear, offset, strict=True))
    return np.asarray(np.sqrt(squared), np.float32)


def lesion_box(lesion: PlantedLesion, affine: Matrix, shape: Sequence[int], margin_mm: float) -> tuple[slice, ...]:
    """The voxels of a grid of ``shape`` within the lesion's largest semi-axis plus ``margin_mm``; may be empty."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    centre = np.linalg.inv(affine) @ np.array([*lesion.centre_lps_mm, 1.0])
    reach = (max(lesion.semi_axes_mm) + margin_mm) / spacing
    low = np.clip(np.floor(centre[:3] - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(centre[:3] + reach) + 1, 0, shape).astype(int)
    return tuple(slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))


def paint_uptake(suv: FloatArray, affine: Matrix, lesion: PlantedLesion) -> None:
    """Blend the lesion's uptake into ``suv`` (slice, row, column), in place, before blur and noise."""
    box = lesion_box(lesion, affine, suv.shape, 4.0 * EDGE_MM)
    if suv[box].size == 0:
        return
    rho = ellipsoid_radius(lesion, affine, box)
    inside = _soft_inside(rho, lesion)
    uptake = lesion.suv * (1.0 - lesion.core_fraction * np.exp(-((rho / CORE_WIDTH) ** 2)))
    suv[box] += inside * (uptake - suv[box])


def paint_hounsfield(hu: FloatArray, affine: Matrix, lesion: PlantedLesion, rng: np.random.Generator) -> None:
    """Blend the lesion's tissue and texture into ``hu`` (slice, row, column, float), in place, before scanner noise."""
    box = lesion_box(lesion, affine, hu.shape, 4.0 * EDGE_MM)
    if hu[box].size == 0:
        return
    inside = _soft_inside(ellipsoid_radius(lesion, affine, box), lesion)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    texture = correlated_noise(inside.shape, (TEXTURE_LENGTH_MM / 2.0) / spacing, rng)
    hu[box] += inside * (lesion.hu + lesion.texture_sd_hu * texture - hu[box])


def acquire_pet(
    activity: FloatArray,
    spacing_mm: Sequence[float],
    psf_fwhm_mm: float,
    rng: np.random.Generator,
    noise: float = PET_NOISE,
) -> FloatArray:
    """What the scanner makes of ``activity``: blurred by its point spread, with noise of the blur's own grain.

    ``activity``: SUV (slice, row, column).  Noise has standard deviation ``noise × √SUV``.  Never negative.
    """
    sigma = psf_fwhm_mm / _FWHM_PER_SIGMA / np.asarray(spacing_mm, float)
    blurred = ndimage.gaussian_filter(activity, sigma, mode="nearest", truncate=3.0)
    grain = correlated_noise(activity.shape, sigma, rng)
    return np.asarray(np.maximum(blurred + noise * np.sqrt(np.maximum(blurred, 0.0)) * grain, 0.0), np.float32)


def correlated_noise(
    shape: Sequence[int], sigma_voxels: npt.NDArray[np.float64], rng: np.random.Generator
) -> FloatArray:
    """Gaussian noise of mean 0 and standard deviation 1, smoothed by ``sigma_voxels`` per axis."""
    noise = ndimage.gaussian_filter(
        rng.standard_normal(tuple(shape), np.float32), sigma_voxels, mode="wrap", truncate=3.0
    )
    return np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)


def _soft_inside(rho: FloatArray, lesion: PlantedLesion) -> FloatArray:
    """1 inside the ellipsoid, 0 outside, with a soft edge of EDGE_MM."""
    return np.asarray(0.5 - 0.5 * np.tanh((rho - 1.0) * lesion.radius_mm / EDGE_MM), np.float32)
