"""Reference organs: liver and blood pool (PERCIST 1.0; Wahl 2009, O, Lodge & Wahl, Radiology 2016).

Both are found by the CT's anatomy and kept only where CT and PET are even there; what is doubtful is not reported.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.body import Body
from inference.facts import BoolArray, FloatArray, ReferenceUptake, Volume

# A sphere of 3 cm in the right lobe.
LIVER_RADIUS_MM = 15.0
# It stays so far from the liver's border, for breathing and PET's blur; a thick liver has this much volume inside that.
LIVER_DEPTH_MM, LIVER_CORE_ML = 22.0, 40.0
# From fatty without contrast agent to portal venous phase.
LIVER_HU = (15.0, 160.0)
LIVER_OFF_X, LIVER_BELOW_BASE = (-150.0, -20.0), (-90.0, 130.0)
# A cylinder of 1 cm across and 2 cm long in the descending aorta.
AORTA_RADIUS_MM, AORTA_LENGTH_MM = 5.0, 20.0
AORTA_HU = (20.0, 70.0)
# Behind and left of the middle, in the middle of the chest's height; there it is round, and straight for some way.
AORTA_OFF_X, AORTA_OFF_Y, AORTA_HEIGHT = (-5.0, 50.0), (0.0, 75.0), (0.2, 0.75)
AORTA_AREA_MM2, AORTA_STRAIGHT_MM, AORTA_WANDER_MM = (220.0, 1300.0), 40.0, 7.0
# CT: standard deviation between 4 mm cells; more is a border, a vessel or a metastasis.
EVEN_HU = 22.0
# PET: standard deviation to mean; EANM allows 15 % of noise in the liver, a bad image has more.
EVEN_SUV = 0.25
# Of the places tried the even ones must agree with their median within this.
AGREE = 0.15
LEAST_PLACES = 5
# Neither has more or less in any examination; what has is not what it was taken for.
SUV = {"liver": (0.5, 12.0), "blood pool": (0.3, 6.0)}


def reference_uptake(suv: Volume, body: Body | None) -> tuple[ReferenceUptake, ...]:
    """Liver and blood pool where they are in the field of view and can be told; PET ``suv`` (SUVbw, g/ml).

    ``body``: of ``body_of`` for the CT of the same Frame of Reference; CT numbers are taken from its cells.
    """
    if body is None or body.lungs_mm is None:
        return ()
    return tuple(r for r in (_liver(suv, body), _blood_pool(suv, body)) if r is not None)


def _liver(suv: Volume, body: Body) -> ReferenceUptake | None:
    """The evenest of the spheres that agree with each other, deep in thick soft tissue under the right lung."""
    base = body.base_mm
    if base is None:
        return None
    x, _, z = body.offsets()
    slices = np.flatnonzero((body.z_mm < base - LIVER_BELOW_BASE[0]) & (body.z_mm > base - LIVER_BELOW_BASE[1]))
    if not len(slices):
        return None
    box = slice(int(slices[0]), int(slices[-1]) + 1)
    smooth = ndimage.uniform_filter(body.hu[box], 3, mode="nearest")
    tissue = (smooth > LIVER_HU[0]) & (smooth < LIVER_HU[1]) & body.volume.array[box]
    depth = ndimage.distance_transform_edt(tissue, sampling=body.volume.spacing_mm)
    right = (x[box] > LIVER_OFF_X[0]) & (x[box] < LIVER_OFF_X[1])
    core = _largest((depth > LIVER_DEPTH_MM) & right)
    if core.sum() * body.cell_ml < LIVER_CORE_ML:
        return None
    centres = body.volume.to_lps(np.argwhere(core)[:: max(1, int(core.sum()) // 150)] + [box.start, 0, 0])
    ball = _ball(suv.spacing_mm, LIVER_RADIUS_MM)
    dense = _ball(body.volume.spacing_mm, LIVER_RADIUS_MM)
    return _evenest(suv, body, centres, ball, dense, "liver", LIVER_HU)


def _blood_pool(suv: Volume, body: Body) -> ReferenceUptake | None:
    """The descending aorta: a round section left in front of the spine that stays in its place over some slices."""
    if body.lungs_mm is None:
        return None
    low, high = body.lungs_mm
    x, y, _ = body.offsets()
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
    """Middle (LPS) of the one round piece of soft tissue at the aorta's place in slice ``k``; ``None`` for any doubt."""
    plane = body.hu[k]
    soft = (plane > AORTA_HU[0]) & (plane < AORTA_HU[1])
    soft = ndimage.binary_opening(soft, ndimage.generate_binary_structure(2, 1))
    labels, count = ndimage.label(soft)
    if not count:
        return None
    cell_mm2 = float(np.prod(body.volume.spacing_mm[1:]))
    there = (x > AORTA_OFF_X[0]) & (x < AORTA_OFF_X[1]) & (y > AORTA_OFF_Y[0]) & (y < AORTA_OFF_Y[1])
    found = []
    for n in np.unique(labels[there & soft]):
        piece = labels == n
        area = float(piece.sum()) * cell_mm2
        if not AORTA_AREA_MM2[0] < area < AORTA_AREA_MM2[1]:
            continue
        middle = np.argwhere(piece).mean(axis=0)
        reach = np.linalg.norm((np.argwhere(piece) - middle) * body.volume.spacing_mm[1:], axis=1).max()
        round_mm = np.sqrt(area / np.pi)
        at = tuple(np.rint(middle).astype(int))
        if reach < 1.5 * round_mm + 2.0 and there[at]:
            found.append(body.volume.to_lps([k, *middle]))
    return np.asarray(found[0]) if len(found) == 1 else None


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


def _largest(mask: BoolArray) -> BoolArray:
    import cc3d

    return np.asarray(cc3d.largest_k(mask, k=1, connectivity=6) > 0) if mask.any() else mask
