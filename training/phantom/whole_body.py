"""A whole-body phantom as arrays, without DICOM: many patients in little time, to try the finder of lesions on.

Grid: 4.5 mm pixels, 5 mm slices, thigh to vertex, the same for PET and CT (the finder looks at CT in cells of about
that size).  Anatomy, blur and noise are those of ``training.phantom.study``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference.facts import BoolArray, Volume
from training.phantom.body import Uptake, organs
from training.phantom.lesion import acquire_pet, correlated_noise, ellipsoid_radius, paint_hounsfield, paint_uptake
from training.phantom.physiology import Physiology
from training.phantom.sites import Planted, plant
from training.phantom.solids import Grid, paint

PIXEL_MM, SLICE_MM, PIXELS, SLICES = 4.5, 5.0, 120, 197
PSF_FWHM_MM = (5.0, 8.0)
PET_NOISE = (0.08, 0.2)  # standard deviation at SUV 1
CT_NOISE_HU = 14.0


@dataclass(frozen=True, slots=True)
class WholeBody:
    """One patient.  ``suv``: SUVbw (g/ml), ``ct``: HU, on one grid, LPS.  ``uptake``: what the organs were given."""

    seed: int
    suv: Volume
    ct: Volume
    uptake: Uptake
    physiology: Physiology
    lesions: tuple[Planted, ...]

    def inside(self, planted: Planted) -> BoolArray:
        """The lesion's voxels: those whose centre lies in its ellipsoid, (slice, row, column)."""
        whole = tuple(slice(0, n) for n in self.suv.array.shape)
        return np.asarray(ellipsoid_radius(planted.lesion, np.asarray(self.suv.affine, np.float64), whole) <= 1.0)


def whole_body(seed: int, *, healthy: bool = False) -> WholeBody:
    """The patient of this seed; the same seed gives the same arrays.  ``healthy``: without a lesion."""
    rng = np.random.default_rng([seed, SLICES])
    physiology = Physiology.draw(rng)
    uptake = Uptake.draw_widely(physiology, rng)
    width = float(np.sqrt(np.clip(rng.normal(75.0, 12.0), 50.0, 105.0) / 75.0))
    body = organs(uptake, rng, physiology)
    scale = (width, width, physiology.height)
    lesions = () if healthy else plant(float(rng.normal()), scale, uptake.liver, rng)
    grid = Grid.axial(PIXELS, PIXEL_MM, SLICE_MM * np.arange(SLICES, dtype=np.float64))
    figure = Grid(grid.x_mm / width, grid.y_mm / width, grid.z_mm / physiology.height)
    hu, activity = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.float32)
    for index in range(grid.shape[0]):
        hu[index], activity[index] = paint(body, figure, index)
    for planted in lesions:
        paint_hounsfield(hu, grid.affine, planted.lesion, rng)
        paint_uptake(activity, grid.affine, planted.lesion)
    suv = acquire_pet(
        activity, grid.spacing_mm, float(rng.uniform(*PSF_FWHM_MM)), rng, noise=float(rng.uniform(*PET_NOISE))
    )
    hu += CT_NOISE_HU * correlated_noise(hu.shape, np.full(3, 0.5), rng)
    ct = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return WholeBody(
        seed, Volume(suv, grid.affine, ""), Volume(ct, grid.affine, ""), uptake, physiology, tuple(lesions)
    )
