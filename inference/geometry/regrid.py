"""CT slices that do not lie on a regular, upright grid, interpolated onto one from their true positions.

The grid keeps the slices' orientation and pixels.  Slices stacked off their normal (gantry tilt) are moved within their
own planes, so along the normal nothing is interpolated; slices that lie unevenly are interpolated along it as well.
All interpolation is linear.  PET is never interpolated: that would invent activity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.facts import Caution, FloatArray, Refused

# On the grid, but beside every slice: one below air, which is the least that a measured voxel can be.
NOT_MEASURED_HU = -1025
# Gantries tilt by 30 degrees at most.
MOST_TILT_DEG = 35.0
# Between two slices 10 mm apart no sphere of 1 ml (12.4 mm, that of SUVpeak) can hide, and conventional CT was never
# taken with wider intervals.
WIDEST_GAP_MM = 10.0
# Where a whole slice more would fit in, one is missing, and the series is not merely uneven.
WIDEST_GAP_SLICES = 2.0
# A slice that lies farther off the line through the first and the last belongs to another reconstruction.
OFF_LINE_MM = 1.0


@dataclass(frozen=True, slots=True)
class Regrid:
    """How the slices come onto the grid.

    ``spacing_mm``: between its planes.  ``shape``: (planes, rows, columns).  ``start``: the (row, column) of the first
    slice at which the grid begins, whole numbers.  ``shifts``: (slices, 2), where on the grid the first pixel of each
    slice lies (row, column).  ``lower``, ``weights``: (planes,), the slice below each plane and how much of the one
    above it counts, 0 to 1.
    """

    spacing_mm: float
    shape: tuple[int, int, int]
    start: tuple[int, int]
    shifts: FloatArray
    lower: npt.NDArray[np.intp]
    weights: FloatArray
    cautions: tuple[Caution, ...]


def regrid(heights: FloatArray, in_plane: FloatArray, size: tuple[int, int], tolerance_mm: float) -> Regrid:
    """Plan the grid of slices at ``heights`` along their normal (mm, ascending), which do not lie on one already.

    The planes are the slices' own where these are even, else the usual (median) distance apart from the first to the
    last.  ``in_plane``: (slices, 2), how far each is moved along growing row and column against the first, in pixels of
    ``size`` (rows, columns).  ``tolerance_mm``: closer than that to their place they count as even.
    """
    count = len(heights)
    step = (heights[-1] - heights[0]) / (count - 1)
    lower, weights = np.arange(count), np.zeros(count)
    cautions = []
    if in_plane.any():
        cautions.append(_tilted())
    if not in_plane.any() or np.abs(heights - heights[0] - step * np.arange(count)).max() > tolerance_mm:
        distances = np.diff(heights)
        usual = float(np.sort(distances)[(len(distances) - 1) // 2])
        planes = round((heights[-1] - heights[0]) / usual) + 1
        step = (heights[-1] - heights[0]) / (planes - 1)
        at = heights[0] + step * np.arange(planes)
        lower = np.searchsorted(heights, at[:-1], side="right") - 1
        lower = np.append(lower, count - 1)
        above = np.minimum(lower + 1, count - 1)
        weights = (at - heights[lower]) / np.where(above > lower, heights[above] - heights[lower], 1.0)
        weights = weights.clip(0, 1)
        weights[-1] = 0.0
        cautions.append(_uneven(distances, step))
    in_plane = in_plane.round(4)
    first = np.floor(in_plane.min(axis=0))
    shifts = in_plane - first
    rows, columns = (int(n + m) for n, m in zip(size, np.floor(shifts.max(axis=0)), strict=True))
    start = (int(first[0]), int(first[1]))
    return Regrid(float(step), (len(lower), rows, columns), start, shifts, lower, weights, tuple(cautions))


def check_line(tilt_deg: float, off_line_mm: float) -> None:
    """Refuse slices that no gantry can have taken.  Raises ``Refused``: sheared-stack, irregular-spacing."""
    if tilt_deg > MOST_TILT_DEG:
        raise Refused(
            "sheared-stack",
            f"The slices are stacked {tilt_deg:.0f} degrees off their normal; no gantry tilts by more than "
            f"{MOST_TILT_DEG:.0f}. Send a reformatted, untilted series.",
            tilt_deg=round(tilt_deg, 2),
        )
    if off_line_mm > OFF_LINE_MM:
        raise Refused(
            "irregular-spacing",
            f"The slices do not lie on one line: one is {off_line_mm:.1f} mm beside it (at most {OFF_LINE_MM:g} mm is "
            "allowed). Send one reconstruction.",
            off_line_mm=round(off_line_mm, 3),
        )


def check_gaps(distances: FloatArray, usual: float) -> None:
    """Refuse gaps too wide to be interpolated over.  Raises ``Refused``: irregular-spacing."""
    most = min(WIDEST_GAP_MM, WIDEST_GAP_SLICES * usual)
    if distances.max() > most:
        raise Refused(
            "irregular-spacing",
            f"The slices are not evenly spaced: they usually lie {usual:.2f} mm apart, but two lie "
            f"{distances.max():.2f} mm apart; at most {most:.2f} mm are interpolated over. Send the whole series.",
            distances_mm=sorted({round(float(d), 3) for d in distances})[:16],
        )


def resample_slices(slices: Iterable[npt.NDArray[np.int16]], plan: Regrid, out: npt.NDArray[np.int16]) -> None:
    """Fill ``out`` (``plan.shape``, HU) from the slices in their order; two of them are in memory at a time.

    Where a plane has no slice on both its sides it becomes ``NOT_MEASURED_HU``.
    """
    placed: dict[int, npt.NDArray[np.float32]] = {}
    coming = enumerate(slices)
    for plane, (below, weight) in enumerate(zip(plan.lower.tolist(), plan.weights.tolist(), strict=True)):
        needed = below + (weight > 0)
        while needed not in placed:
            number, hu = next(coming)
            placed = {k: v for k, v in placed.items() if k >= below}
            placed[number] = _placed(hu, plan.shifts[number], plan.shape[1:])
        values = placed[below]
        if weight > 0:
            other = placed[needed]
            unmeasured = (values <= NOT_MEASURED_HU) | (other <= NOT_MEASURED_HU)
            values = values * np.float32(1 - weight) + other * np.float32(weight)
            values[unmeasured] = NOT_MEASURED_HU
        out[plane] = np.rint(values)


def _placed(hu: npt.NDArray[np.int16], shift: FloatArray, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """One slice on the grid, moved by ``shift`` pixels (row, column), of which the broken part is interpolated."""
    begin = np.floor(shift).astype(int)
    broken = shift - begin
    values: npt.NDArray[Any] = hu.astype(np.float32)
    if broken.max() > 1e-3:
        values = ndimage.shift(values, broken, order=1, mode="constant", cval=NOT_MEASURED_HU, prefilter=False)
    out = np.full(shape, NOT_MEASURED_HU, np.float32)
    out[begin[0] : begin[0] + hu.shape[0], begin[1] : begin[1] + hu.shape[1]] = values
    return out


def _tilted() -> Caution:
    return Caution(
        "gantry-tilt-regridded",
        "The CT's slices are stacked off their normal (gantry tilt): they were moved to their true places on an "
        "upright grid, by linear interpolation within each slice.",
    )


def _uneven(distances: FloatArray, step: float) -> Caution:
    return Caution(
        "irregular-spacing-interpolated",
        f"The CT's slices lie {distances.min():.2f} to {distances.max():.2f} mm apart: HU were interpolated linearly "
        f"from their true positions to {step:.2f} mm.",
    )
