"""A trunk on SSTR PET/CT with metastases, coarse (methods A5).

How the scores can be read: all metastases of a subject have one uptake, which tells the PET score (``uptake``), and
one CT number, which tells the CT score (``density``).  Their number, places and sizes, and the organs, tell nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from inference.facts import Region, Volume
from training.phantom.body import ABDOMEN, LEFT_LUNG, RIGHT_LUNG, SPINE, TRUNK
from training.phantom.lesion import (
    FloatArray,
    PlantedLesion,
    acquire_pet,
    correlated_noise,
    paint_hounsfield,
    paint_uptake,
)
from training.phantom.scene import FRAME_OF_REFERENCE, Centre
from training.phantom.solids import AIR_HU, Ellipsoid, Grid, Organ, Triple, Tube, paint

WIDTH = 0.8  # of the figure of ``body`` across; the patient must fit into 320 mm with its skin
FIRST_Z_MM, LENGTH_MM, ACROSS_MM = 120.0, 512.0, 320.0
TEXTURE_HU = 6.0
# Where metastases lie (LPS mm in the figure, before WIDTH), far enough apart for the largest.
PLACES: tuple[Triple, ...] = (
    (-90.0, -10.0, 450.0), (-90.0, -10.0, 385.0), (-35.0, -30.0, 415.0), (20.0, -46.0, 440.0),
    (-40.0, -10.0, 290.0), (40.0, -10.0, 250.0), (0.0, -20.0, 200.0), (0.0, 0.0, 530.0),
)  # fmt: skip
# The trunk and the organs that take DOTATOC up, painted in this order.  SUV differs by a fifth between subjects.
ORGANS = (
    Organ("fat", Tube(TRUNK), -98.0, 0.3),
    Organ("muscle", Tube(TRUNK, 15.0), 52.0, 0.8),
    Organ("visceral fat", Tube(ABDOMEN), -92.0, 0.6),
    Organ("lung", Tube(RIGHT_LUNG), -840.0, 0.4),
    Organ("lung", Tube(LEFT_LUNG), -840.0, 0.4),
    Organ("liver", Ellipsoid((-60, -2, 418), (80, 76, 88)), 58.0, 6.0),
    Organ("spleen", Ellipsoid((106, 42, 432), (30, 42, 54)), 48.0, 18.0),
    Organ("kidney", Ellipsoid((-62, 42, 344), (25, 23, 54)), 34.0, 14.0),
    Organ("kidney", Ellipsoid((62, 42, 356), (25, 23, 54)), 34.0, 14.0),
    Organ("bladder", Ellipsoid((0, -22, 150), (34, 30, 26)), 8.0, 20.0),
    Organ("vertebrae", Tube(SPINE), 190.0, 1.2),
)


def uptake(score: float) -> float:
    """SUVbw of the metastases for the PET score (standard deviation about 3.2): 2 … 28, 15 at 0."""
    return 15.0 + 13.0 * math.tanh(score / 6.0)


def density(score: float) -> float:
    """CT number of the metastases (HU) for the CT score (standard deviation 3): −140 … 220, 40 at 0."""
    return 40.0 + 180.0 * math.tanh(score / 6.0)


def draw_metastases(pet: float, ct: float, rng: np.random.Generator) -> tuple[PlantedLesion, ...]:
    """Three to five, of 14 to 20 mm radius."""
    chosen = rng.permutation(len(PLACES))[: int(rng.integers(3, 6))]
    found = []
    for index in chosen:
        x, y, z = (float(v) for v in np.add(PLACES[int(index)], rng.uniform(-6.0, 6.0, 3)))
        a, b, c = (float(v) for v in rng.uniform(14.0, 20.0) * np.exp(rng.normal(0.0, 0.06, 3)))
        found.append(PlantedLesion((x * WIDTH, y * WIDTH, z), (a, b, c), uptake(pet), 0.0, density(ct), TEXTURE_HU))
    return tuple(found)


@lru_cache(maxsize=2)
def _shares(voxel_mm: float) -> tuple[tuple[Organ, tuple[slice, ...], FloatArray], ...]:
    """Each organ with its box, and the share of every voxel of it that it fills: painted once, for all subjects."""
    where = grid(voxel_mm)
    figure = Grid(where.x_mm / WIDTH, where.y_mm / WIDTH, where.z_mm)
    found = []
    for organ in ORGANS:
        only = (replace(organ, suv=1.0),)
        share = np.stack([paint(only, figure, index)[1] for index in range(where.shape[0])])
        box = Region.of(share > 0.0).slices
        found.append((organ, box, share[box]))
    return tuple(found)


def grid(voxel_mm: float) -> Grid:
    """Pixels and slices of ``voxel_mm``, the same for PET and CT."""
    z_mm = FIRST_Z_MM + voxel_mm * (np.arange(round(LENGTH_MM / voxel_mm), dtype=np.float64) + 0.5)
    return Grid.axial(round(ACROSS_MM / voxel_mm), voxel_mm, z_mm)


def image(
    metastases: tuple[PlantedLesion, ...],
    centre: Centre,
    voxel_mm: float,
    rng: np.random.Generator,
    *,
    shift_mm: Triple = (0.0, 0.0, 0.0),
) -> tuple[Volume, Volume]:
    """SUVbw (float32) and HU (int16) of one subject.  ``shift_mm``: how far metastases lie from their place on CT."""
    where = grid(voxel_mm)
    hu, activity = np.full(where.shape, AIR_HU, np.float32), np.zeros(where.shape, np.float32)
    for organ, box, share in _shares(voxel_mm):
        hu[box] += share * (organ.hu - hu[box])
        activity[box] += share * (organ.suv * np.float32(rng.uniform(0.8, 1.2)) - activity[box])
    for lesion in metastases:
        paint_uptake(activity, where.affine, lesion)
        x, y, z = (float(a + b) for a, b in zip(lesion.centre_lps_mm, shift_mm, strict=True))
        paint_hounsfield(hu, where.affine, replace(lesion, centre_lps_mm=(x, y, z)), rng)
    suv = centre.suv_scale * acquire_pet(activity, where.spacing_mm, centre.psf_fwhm_mm, rng)
    hu += centre.ct_noise_hu * correlated_noise(hu.shape, np.full(3, 0.5), rng)
    ct = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return Volume(suv, where.affine, FRAME_OF_REFERENCE), Volume(ct, where.affine, FRAME_OF_REFERENCE)
