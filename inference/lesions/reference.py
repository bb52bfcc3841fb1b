"""Reference organs: liver and blood pool (PERCIST 1.0; Wahl 2009, O, Lodge & Wahl, Radiology 2016).

Both are found by the CT's anatomy and kept only where CT and PET are even there; what is doubtful is not reported.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.facts import BoolArray, FloatArray, ReferenceUptake, Volume
from inference.lesions.body import LUNG_BELOW_HU, Body
from inference.lesions.organs import LIVER_HU, Organs

# A sphere of 3 cm in the right lobe.
LIVER_RADIUS_MM = 15.0
# A cylinder of 1 cm across and 2 cm long in the descending aorta.
AORTA_RADIUS_MM, AORTA_LENGTH_MM = 5.0, 20.0
AORTA_HU = (20.0, 70.0)
# Beside or in front of the vertebral body's front, left of the middle; a round section of such a radius, the left lung
# beside it; it stays in its place for so long in the middle of the chest's height.
AORTA_OFF_X, AORTA_TO_SPINE_Y, AORTA_HEIGHT = (3.0, 50.0), (-28.0, 10.0), (0.2, 0.8)
AORTA_SECTION_MM, AORTA_TO_LUNG_MM, AORTA_STRAIGHT_MM, AORTA_WANDER_MM = (7.0, 18.0), 14.0, 35.0, 6.0
SPINE_HU, SPINE_OFF_X, SPINE_CELLS = 120.0, 15.0, 4
# CT: standard deviation between 4 mm cells; more is a border, a vessel or a metastasis.
EVEN_HU = 22.0
# PET: standard deviation to mean; EANM allows 15 % of noise in the liver, a bad image has more.
EVEN_SUV = 0.25
# Of the places tried the even ones must agree with their median within this.
AGREE = 0.15
LEAST_PLACES, MOST_PLACES = 5, 150
# Neither has more or less in any examination; what has is not what it was taken for.
SUV = {"liver": (0.5, 12.0), "blood pool": (0.3, 6.0)}


def reference_uptake(suv: Volume, body: Body | None, organs: Organs | None) -> tuple[ReferenceUptake, ...]:
    """Liver and blood pool where they are in the field of view and can be told; PET ``suv`` (SUVbw, g/ml).

    ``body``, ``organs``: of ``body_of`` and ``organs_of`` for the CT of the same Frame of Reference; CT numbers are
    taken from the body's cells.
    """
    if body is None or organs is None:
        return ()
    return tuple(r for r in (_liver(suv, body, organs), _blood_pool(suv, body)) if r is not None)


def _liver(suv: Volume, body: Body, organs: Organs) -> ReferenceUptake | None:
    """The evenest of the spheres that agree with each other, deep in the right lobe."""
    if organs.liver_core is None:
        return None
    cells = np.argwhere(organs.liver_core)
    centres = body.volume.to_lps(cells[:: max(1, len(cells) // MOST_PLACES)])
    ball = _ball(suv.spacing_mm, LIVER_RADIUS_MM)
    dense = _ball(body.volume.spacing_mm, LIVER_RADIUS_MM)
    return _evenest(suv, body, centres, ball, dense, "liver", LIVER_HU)


def _blood_pool(suv: Volume, body: Body) -> ReferenceUptake | None:
    """The descending aorta: a round section left in front of the spine that stays in its place over some slices."""
    if body.lungs_mm is None:
        return None
    low, high = body.lungs_mm
    x, y = body.offsets()
    step_mm = body.volume.spacing_mm[0]
    trail: list[FloatArray] = []
    longest: list[FloatArray] = []
    height = (body.z_mm - low) / max(high - low, 1.0)
    for k in np.flatnonzero((height > AORTA_HEIGHT[0]) & (height < AORTA_HEIGHT[1])):
        section = _section(body, int(k), x[k], y[k])
        if section is None or (trail and np.linalg.norm(section[:2] - trail[-1][:2]) > AORTA_WANDER_MM):
            trail = []
        if section is not None:
            trail.append(section)
        longest = max(longest, list(trail), key=len)
    if len(longest) * step_mm < AORTA_STRAIGHT_MM:
        return None
    margin = int(np.ceil(AORTA_LENGTH_MM / 2 / step_mm))
    centres = np.array(longest[margin:-margin])
    if not len(centres):
        return None
    cylinder = _cylinder(suv.spacing_mm, AORTA_RADIUS_MM, AORTA_LENGTH_MM / 2)
    dense = _cylinder(body.volume.spacing_mm, AORTA_RADIUS_MM, AORTA_LENGTH_MM / 2)
    return _evenest(suv, body, centres, cylinder, dense, "blood pool", AORTA_HU)


def _section(body: Body, k: int, x: FloatArray, y: FloatArray) -> FloatArray | None:
    """Middle (LPS) of the round piece of soft tissue at the aorta's place in slice ``k``; ``None`` in doubt.

    ``x``, ``y``: mm from the body's middle, (1, column) and (row, 1).
    """
    plane = body.hu[max(0, k - 1) : k + 2].mean(axis=0)
    spine = (plane > SPINE_HU) & (np.abs(x) < SPINE_OFF_X) & (y > 0.0)
    if spine.sum() < SPINE_CELLS:
        return None
    front = float(np.sort(np.broadcast_to(y, plane.shape)[spine])[SPINE_CELLS - 1])
    soft = (plane > AORTA_HU[0]) & (plane < AORTA_HU[1])
    radius_mm = ndimage.distance_transform_edt(soft, sampling=body.volume.spacing_mm[1:])
    low, high = AORTA_TO_SPINE_Y
    there = (x > AORTA_OFF_X[0]) & (x < AORTA_OFF_X[1]) & (y - front > low) & (y - front < high)
    if not there.any():
        return None
    r, c = np.unravel_index(int(np.argmax(np.where(there, radius_mm, 0.0))), plane.shape)
    widest = float(radius_mm[r, c])
    around = radius_mm[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3]
    lung = (plane[r] < LUNG_BELOW_HU) & (x[0] > x[0, c]) & (x[0] < x[0, c] + widest + AORTA_TO_LUNG_MM)
    if not AORTA_SECTION_MM[0] < widest < AORTA_SECTION_MM[1] or float(around.max()) > widest or not lung.any():
        return None  # too thin or thick, part of something thicker, or not beside the lung
    return body.volume.to_lps([k, int(r), int(c)])


def _evenest(
    suv: Volume,
    body: Body,
    centres: FloatArray,
    offsets: npt.NDArray[np.intp],
    dense: npt.NDArray[np.intp],
    site: str,
    hu_range: tuple[float, float],
) -> ReferenceUptake | None:
    """The volume of interest of least spread among those that are even on CT and PET and agree with their median."""
    found: list[tuple[float, float, FloatArray]] = []
    for centre in centres:
        hu, uptake = _values(body.volume, body.hu, centre, dense), _values(suv, suv.array, centre, offsets)
        if hu is None or uptake is None or not hu_range[0] < hu.mean() < hu_range[1] or hu.std() > EVEN_HU:
            continue
        found.append((float(uptake.mean()), float(uptake.std()), centre))
    if not found:
        return None
    usual = float(np.median([mean for mean, _, _ in found]))
    good = [f for f in found if abs(f[0] - usual) < AGREE * usual and f[1] < EVEN_SUV * f[0]]
    least, most = SUV[site]
    if len(good) < max(LEAST_PLACES, len(found) / 2) or not least < usual < most:
        return None
    mean, sd, centre = min(good, key=lambda f: f[1])
    x, y, z = (float(v) for v in centre)
    volume_ml = len(offsets) * suv.voxel_ml
    return ReferenceUptake("liver" if site == "liver" else "blood pool", mean, sd, volume_ml, (x, y, z))


def _values(
    volume: Volume, array: npt.NDArray[np.floating], centre_mm: FloatArray, offsets: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64] | None:
    """The values round a point; ``None`` where some lie beyond the picture."""
    index = np.rint(volume.to_index(centre_mm)).astype(int) + offsets
    if (index < 0).any() or (index >= array.shape).any():
        return None
    return np.asarray(array[tuple(index.T)], float)


def _ball(spacing_mm: tuple[float, float, float], radius_mm: float) -> npt.NDArray[np.intp]:
    """Voxel offsets (n, 3) whose centres lie within the radius."""
    return _offsets(spacing_mm, (radius_mm,) * 3, lambda k, r, c: k**2 + r**2 + c**2 <= radius_mm**2)


def _cylinder(spacing_mm: tuple[float, float, float], radius_mm: float, half_mm: float) -> npt.NDArray[np.intp]:
    """Voxel offsets (n, 3) within a cylinder along the slices' normal."""

    def inside(k: FloatArray, r: FloatArray, c: FloatArray) -> BoolArray:
        return (r**2 + c**2 <= radius_mm**2) & (k <= half_mm)

    return _offsets(spacing_mm, (half_mm, radius_mm, radius_mm), inside)


def _offsets(
    spacing_mm: tuple[float, float, float],
    reach_mm: tuple[float, float, float],
    inside: Callable[[FloatArray, FloatArray, FloatArray], BoolArray],
) -> npt.NDArray[np.intp]:
    k, r, c = (np.arange(-(n := int(m // s)), n + 1) for s, m in zip(spacing_mm, reach_mm, strict=True))
    grid = np.stack(np.meshgrid(k, r, c, indexing="ij"), axis=-1).reshape(-1, 3)
    dk, dr, dc = (np.abs(grid[:, a]) * spacing_mm[a] for a in range(3))
    return np.asarray(grid[inside(dk, dr, dc)], np.intp)
