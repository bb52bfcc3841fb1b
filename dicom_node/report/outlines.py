"""Outlines of voxel masks as closed polygons, holes joined to their border by keyholes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import contourpy
import numpy as np

from inference.facts import BoolArray, FloatArray


def outlines(mask: BoolArray) -> list[FloatArray]:
    """The parts of a 2D mask (row, column) as polygons (points, 2) of (row, column), pixel centres at whole numbers.

    They run through the mid-points between the centres of a pixel inside and its neighbour outside, and so pass no
    centre nearer than 0.35 of a pixel: the even-odd rule at the centres gives the mask back, whatever rounding does.
    They enclose half a pixel less than the pixels' area (four corners cut), half a pixel more for each hole.
    A hole is joined to the border by a keyhole (PS3.3 C.8.8.6.3) and run through backwards: so it is outside by the
    even-odd rule, by winding, and where polygons are united.  The last point is not the first one again.
    """
    padded = np.pad(mask, 1).astype(float)
    generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    found = []
    for points, offsets in zip(*generator.filled(0.5, np.inf), strict=True):
        ends = np.asarray(offsets, int)
        rings = [np.asarray(points)[a : b - 1, ::-1] - 1.0 for a, b in pairwise(ends)]
        found.append(_corners(_keyholed(rings[0], rings[1:])))
    return found


def _keyholed(border: FloatArray, holes: Sequence[FloatArray]) -> FloatArray:
    """One polygon, each hole cut in by a channel from its top up the diagonal to the next mid-point of the border.

    The diagonal passes between the centres.  Taken from the top down, what it meets first is in the border already.
    """
    for hole in sorted(holes, key=lambda hole: float(hole[:, 0].min())):
        turned = np.roll(hole, -int(hole[:, 0].argmin()), axis=0)
        rows_up, columns_left = (turned[0] - border).T
        on_diagonal = (rows_up == columns_left) & (rows_up > 0)
        at = int(np.where(on_diagonal, rows_up, np.inf).argmin())
        border = np.concatenate([border[: at + 1], turned, turned[:1], border[at:]])
    return border


def _corners(polygon: FloatArray) -> FloatArray:
    """Without the points on a straight line between their neighbours, but for the ends of channels."""
    before, after = polygon - np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0) - polygon
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    _, where, times = np.unique(polygon, axis=0, return_inverse=True, return_counts=True)
    kept: FloatArray = polygon[turns | (times[where.reshape(-1)] > 1)]
    return kept
