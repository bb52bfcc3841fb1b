"""Polygons to voxels: the even-odd rule at voxel centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.facts import BoolArray, FloatArray

# Contours closer together than this part of a slice lie in one plane.
SAME_PLANE = 0.05


def planes_of(contours: Sequence[FloatArray]) -> tuple[dict[float, list[FloatArray]], float]:
    """Contours (points, 3) as fractional (slice, row, column), gathered by plane, and the distance between planes.

    Keys are slice indices, ascending; values the polygons (points, 2) as (row, column).  The distance is the smallest
    between neighbouring planes, in slices; 1 where there is one plane only.
    """
    planes: dict[float, list[FloatArray]] = {}
    for points in sorted(contours, key=lambda points: float(points[:, 0].mean())):
        height = float(points[:, 0].mean())
        last = next(reversed(planes), None)
        key = last if last is not None and height - last < SAME_PLANE else height
        planes.setdefault(key, []).append(points[:, 1:])
    distances = np.diff(list(planes))
    return planes, float(distances.min()) if distances.size else 1.0


def filled(polygons: Sequence[FloatArray], shape: tuple[int, ...]) -> BoolArray:
    """Pixels (row, column) of ``shape`` whose centre lies inside an odd number of the polygons.

    A line through each row's centres crosses the edges; every crossing toggles all pixels beyond it.  An edge owns its
    lower end and not its upper one, so that a shared corner counts once.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), np.int32)
    for polygon in polygons:
        start, end = polygon, np.roll(polygon, -1, axis=0)
        low = np.ceil(np.minimum(start[:, 0], end[:, 0])).clip(0, rows).astype(int)
        high = np.ceil(np.maximum(start[:, 0], end[:, 0])).clip(0, rows).astype(int)
        counts = high - low
        edge = np.repeat(np.arange(len(polygon)), counts)
        row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + low[edge]
        share = (row - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
        crossing = start[edge, 1] + share * (end[edge, 1] - start[edge, 1])
        np.add.at(toggles, (row, np.ceil(crossing).clip(0, columns).astype(int)), 1)
    inside: BoolArray = np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1
    return inside
