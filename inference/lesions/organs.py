"""Where organs with uptake of their own lie on the CT: cranial cavity, bladder, heart; on the body's coarse grid.

Each is a place (Boolean cells) or ``None`` where the picture does not show what it takes to be sure of it.  Numbers are
those of adults lying on their back: volumes in ml, distances in mm, CT numbers without or with contrast agent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.facts import BoolArray, FloatArray, Region
from inference.lesions.body import Body

BONE_ABOVE_HU, AIR_BELOW_HU = 200.0, -20.0
# An adult's cranial cavity holds 1100 to 1700 ml; a part of it will do.  The head's section with arms beside it.
CRANIUM_ML, HEAD_MM2 = (250.0, 2200.0), 60_000.0
# Urine is water, seen through noise and partial volume; the bladder lies in the middle of the pelvis.
URINE_HU, BLADDER_ML = (-15.0, 28.0), (8.0, 1500.0)
BLADDER_OFF_MIDDLE, BLADDER_BELOW_BASE = 40.0, 180.0
URINE_CORE_MM = 7.0  # thinner layers of 0 HU are borders between fat and muscle
# The pelvis shows bone on both sides, this far from the middle, at least so much in a slice (both hips).
HIP_OFF_MIDDLE, HIP_MM2, PELVIS_MM2 = 50.0, 600.0, 30_000.0
# The heart's and the great vessels' shadow: what remains when all that is thinner than this is taken from it.
HEART_CORE_MM, HEART_ABOVE_HU = 22.0, -150.0
HEART_OFF_X, HEART_OFF_Y, HEART_HEIGHT = (-5.0, 100.0), 40.0, (-0.2, 0.6)
# What is thicker than a node of 26 mm, beside the spine: kidneys, and the psoas below them.
KIDNEY_CORE_MM, KIDNEY_HU = 13.0, (-20.0, 260.0)
KIDNEY_BELOW_BASE, KIDNEY_OFF_X, KIDNEY_BEHIND = (-40.0, 220.0), (25.0, 110.0), 12.0
# The thickest soft tissue right below the right lung, fatty without contrast agent to portal venous phase.
LIVER_HU, LIVER_CORE_MM, LIVER_CORE_ML = (15.0, 160.0), 22.0, 40.0
LIVER_OFF_X, LIVER_BELOW_BASE = (-150.0, -20.0), (-90.0, 130.0)
# Round a place so much is looked at too, or the picture would end there; and no limit to a side.
RIM_MM, ANYWHERE = 30.0, (-np.inf, np.inf)
HEART_MARGIN_MM = 4.0


@dataclass(frozen=True, slots=True)
class Organs:
    """Places of organs as cells of ``Body.volume``; ``None``: not in the picture, or not to be told.

    Cranium, bladder and liver are the organs as the CT shows them, ``liver_core`` what lies 22 mm and more inside the
    right lobe; heart and kidneys are where theirs may be.
    """

    cranium: BoolArray | None
    bladder: BoolArray | None
    heart: BoolArray | None
    kidneys: BoolArray | None
    liver: BoolArray | None
    liver_core: BoolArray | None


def organs_of(body: Body) -> Organs:
    """Find the organs in the body."""
    core = _liver_core(body)
    liver = None if core is None else within(core, body, LIVER_CORE_MM)
    return Organs(_cranium(body), _bladder(body), _heart(body), _kidneys(body), liver, core)


def _cranium(body: Body) -> BoolArray | None:
    """Soft tissue that bone encloses slice by slice, in slices of a head's size above the lungs."""
    head = (body.area_mm2 > 0) & (body.area_mm2 < HEAD_MM2)
    if body.lungs_mm is not None:
        head &= body.z_mm > body.lungs_mm[1]
    if not head.any():
        return None
    box = _box(body, head, ANYWHERE, ANYWHERE)
    hu, inside = body.hu[box], body.volume.array[box]
    bone = hu > BONE_ABOVE_HU
    enclosed = np.stack([ndimage.binary_fill_holes(_closed(plane)) for plane in bone])
    smooth = ndimage.uniform_filter(hu, 3, mode="nearest")
    soft = enclosed & inside & ~bone & (smooth > AIR_BELOW_HU)
    cavity = _largest(ndimage.binary_opening(soft, iterations=2), body, CRANIUM_ML)
    return None if cavity is None else _in(body, box, cavity)


def _closed(plane: BoolArray) -> BoolArray:
    """The plane's bone with its gaps closed, at the border of the plane too."""
    disc = ndimage.generate_binary_structure(2, 1)
    return np.asarray(ndimage.binary_closing(np.pad(plane, 3), disc, 2)[3:-3, 3:-3])


def _bladder(body: Body) -> BoolArray | None:
    """A pool of urine in the middle of the pelvis, which is known by the lungs far above or by both hips beside it."""
    x, _ = body.offsets()
    if body.base_mm is not None:
        pelvis = body.z_mm < body.base_mm - BLADDER_BELOW_BASE
    elif body.lungs_mm is None:
        cell_mm2 = float(np.prod(body.volume.spacing_mm[1:]))
        bone = (body.hu > BONE_ABOVE_HU) & body.volume.array
        hips = [(bone & (side * x > HIP_OFF_MIDDLE)).sum(axis=(1, 2)) * cell_mm2 > HIP_MM2 for side in (-1.0, 1.0)]
        pelvis = _spanned(hips[0] & hips[1] & (body.area_mm2 > PELVIS_MM2)) & ~_cut(body)
    else:
        return None
    if not pelvis.any():
        return None
    box = _box(body, pelvis, (-2 * BLADDER_OFF_MIDDLE, 2 * BLADDER_OFF_MIDDLE), ANYWHERE)
    hu = ndimage.uniform_filter(body.hu[box], 3, mode="nearest")
    near = np.abs(x[box[0], :, box[2]]) < 2 * BLADDER_OFF_MIDDLE
    water = (hu > URINE_HU[0]) & (hu < URINE_HU[1]) & body.volume.array[box] & near
    core = _depth(water, body) > URINE_CORE_MM
    labels, count = ndimage.label(core)
    best: BoolArray | None = None
    for n in range(1, count + 1):
        pool = labels == n
        ml = float(pool.sum()) * body.cell_ml
        middle = abs(float((x[box[0], :, box[2]] * pool).sum()) / float(pool.sum()))
        fits = BLADDER_ML[0] / 4 < ml < BLADDER_ML[1] and middle < BLADDER_OFF_MIDDLE
        if fits and (best is None or pool.sum() > best.sum()):
            best = pool
    return None if best is None else _in(body, box, within(best, body, URINE_CORE_MM))


def _heart(body: Body) -> BoolArray | None:
    """The thick part of what is not lung, left and in front in the lower chest."""
    if body.lungs_mm is None or not body.base_seen:
        return None
    low, high = body.lungs_mm
    height = (body.z_mm - low) / max(high - low, 1.0)
    slices = (height > HEART_HEIGHT[0]) & (height < HEART_HEIGHT[1])
    box = _box(body, slices, HEART_OFF_X, (-np.inf, HEART_OFF_Y))
    x, y = _in_box(body, box)
    dense = (body.hu[box] > HEART_ABOVE_HU) & body.volume.array[box]
    thick = within(_depth(dense, body) > HEART_CORE_MM, body, HEART_CORE_MM + HEART_MARGIN_MM)
    there = (x > HEART_OFF_X[0]) & (x < HEART_OFF_X[1]) & (y < HEART_OFF_Y)
    return _in(body, box, thick & there)


def _kidneys(body: Body) -> BoolArray | None:
    """Thick soft tissue on both sides of the spine below the lungs."""
    if body.base_mm is None:
        return None
    low, high = KIDNEY_BELOW_BASE
    slices = (body.z_mm < body.base_mm - low) & (body.z_mm > body.base_mm - high)
    if not slices.any():
        return None
    box = _box(body, slices, (-KIDNEY_OFF_X[1], KIDNEY_OFF_X[1]), (KIDNEY_BEHIND, np.inf))
    x, y = _in_box(body, box)
    hu = ndimage.uniform_filter(body.hu[box], 3, mode="nearest")
    soft = (hu > KIDNEY_HU[0]) & (hu < KIDNEY_HU[1]) & body.volume.array[box]
    thick = within(_depth(soft, body) > KIDNEY_CORE_MM, body, KIDNEY_CORE_MM)
    off = np.abs(x)
    return _in(body, box, thick & (off > KIDNEY_OFF_X[0]) & (off < KIDNEY_OFF_X[1]) & (y > KIDNEY_BEHIND))


def _liver_core(body: Body) -> BoolArray | None:
    """The inside of the right lobe."""
    if body.base_mm is None:
        return None
    low, high = LIVER_BELOW_BASE
    slices = (body.z_mm < body.base_mm - low) & (body.z_mm > body.base_mm - high)
    if not slices.any():
        return None
    box = _box(body, slices, LIVER_OFF_X, ANYWHERE)
    x, _ = _in_box(body, box)
    hu = ndimage.uniform_filter(body.hu[box], 3, mode="nearest")
    tissue = (hu > LIVER_HU[0]) & (hu < LIVER_HU[1]) & body.volume.array[box]
    right = (x > LIVER_OFF_X[0]) & (x < LIVER_OFF_X[1])
    core = _largest((_depth(tissue, body) > LIVER_CORE_MM) & right, body, (LIVER_CORE_ML, np.inf))
    return None if core is None else _in(body, box, core)


def _box(
    body: Body, slices: npt.NDArray[np.bool_], off_x: tuple[float, float], off_y: tuple[float, float]
) -> tuple[slice, slice, slice]:
    """The longest run of these slices; the rows and columns within ``off_x``, ``off_y`` of the middle, and a rim."""
    labels, _ = ndimage.label(slices)
    longest = 1 + int(np.argmax(np.bincount(labels)[1:]))
    at = np.flatnonzero(labels == longest)
    k = slice(int(at[0]), int(at[-1]) + 1)
    inside = Region.of(body.volume.array[k])
    x, y = body.offsets()
    columns = ((x[k] > off_x[0] - RIM_MM) & (x[k] < off_x[1] + RIM_MM)).any(axis=(0, 1))
    rows = ((y[k] > off_y[0] - RIM_MM) & (y[k] < off_y[1] + RIM_MM)).any(axis=(0, 2))
    return k, _span(rows, inside.slices[1]), _span(columns, inside.slices[2])


def _span(wanted: npt.ArrayLike, body: slice) -> slice:
    """From the first to the last that is wanted, within the body and one cell round it."""
    at = np.flatnonzero(wanted)
    if not len(at):
        return slice(0, 0)
    return slice(max(int(at[0]), body.start - 1, 0), min(int(at[-1]) + 1, body.stop + 1))


def _in_box(body: Body, box: tuple[slice, slice, slice]) -> tuple[FloatArray, FloatArray]:
    """x and y of the box's cells from the body's middle."""
    x, y = body.offsets()
    return x[box[0], :, box[2]], y[box[0], box[1]]


def _spanned(slices: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """All slices from the first to the last of these."""
    return np.asarray(np.logical_or.accumulate(slices) & np.logical_or.accumulate(slices[::-1])[::-1])


def _cut(body: Body) -> npt.NDArray[np.bool_]:
    """Slices whose body reaches the picture's edge in front, at the back or on both sides: its middle is unknown."""
    array = body.volume.array
    rows, columns = (array[:, [0, -1]].mean(axis=2) > 0.1, array[:, :, [0, -1]].mean(axis=1) > 0.1)
    return np.asarray(rows.any(axis=1) | columns.any(axis=1))


def _largest(mask: BoolArray, body: Body, ml: tuple[float, float]) -> BoolArray | None:
    labels, count = ndimage.label(mask)
    if not count:
        return None
    sizes = np.bincount(labels.reshape(-1))[1:]
    largest = 1 + int(np.argmax(sizes))
    return labels == largest if ml[0] < sizes[largest - 1] * body.cell_ml < ml[1] else None


def within(mask: BoolArray, body: Body, mm: float) -> BoolArray:
    """The cells within ``mm`` of ``mask``."""
    if not mask.any():
        return mask
    near = Region.of(mask)
    reach = [int(np.ceil(mm / s)) for s in body.volume.spacing_mm]
    start = [max(0, a - n) for a, n in zip(near.start, reach, strict=True)]
    stop = [a + m + n for a, m, n in zip(near.start, near.mask.shape, reach, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    out = np.zeros(mask.shape, bool)
    out[box] = ndimage.distance_transform_edt(~mask[box], sampling=body.volume.spacing_mm) <= mm
    return out


def _depth(mask: BoolArray, body: Body) -> npt.NDArray[np.floating]:
    """Distance (mm) of each cell of ``mask`` from what is not of it."""
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=body.volume.spacing_mm))


def _in(body: Body, box: tuple[slice, slice, slice], part: BoolArray) -> BoolArray:
    out = np.zeros(body.volume.array.shape, bool)
    out[box] = part
    return out
