"""Closed contours to voxels: the even-odd rule at voxel centres, in planes and between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.facts import BoolArray, FloatArray, Refused, Region, Volume

# Contours whose points leave their plane by more than this part of a slice were drawn on an image tilted to ours.
OUT_OF_PLANE = 0.1
# Contours closer together than this part of a slice lie in one plane, and so does a slice with them.
SAME_PLANE = 0.05
# The same two for contours placed by their own plane, mm: what rounding to the 16 characters of a DS may do, and more.
OUT_OF_PLANE_MM, SAME_PLANE_MM = 0.5, 0.1
# Planes of one body of contours lie at most so far apart (the thickest slices in use); beyond, they are two bodies.
MOST_SPACING_MM = 10.0
# Two planes farther apart than this many spacings have a plane between them that nobody drew.
NEIGHBOURS = 1.5
# Work on so many pairs of points and edges at once.
CHUNK = 1 << 20
# Pairs of points and edges in one slice; an outline of a thousand points needs a thousandth of it.
MOST_PAIRS = 1 << 30

Polygons = tuple[FloatArray, ...]


@dataclass(frozen=True, slots=True)
class Planes:
    """Contours gathered by plane.

    ``heights``: ascending; ``polygons``: of each plane, (points, 2); ``spacing``: between planes as they were drawn,
    and ``same``: how near is in the plane; all in the unit of the heights.
    """

    heights: FloatArray
    polygons: tuple[Polygons, ...]
    spacing: float
    same: float

    @classmethod
    def of(cls, contours: Sequence[FloatArray], same: float, most: float, alone: float) -> Planes:
        """``contours``: (points, 3) as (height, two coordinates in the plane).

        ``most``: largest spacing; ``alone``: the spacing where there is one plane only.  The spacing is the commonest
        distance between neighbours, the smallest of several: neither a gap nor one contour in between changes it.
        """
        heights: list[float] = []
        polygons: list[list[FloatArray]] = []
        for points in sorted(contours, key=lambda points: float(points[:, 0].mean())):
            height = float(points[:, 0].mean())
            if not heights or height - heights[-1] >= same:
                heights.append(height)
                polygons.append([])
            polygons[-1].append(points[:, 1:])
        distances = np.diff(heights)
        spacing = alone
        if distances.size:
            _, kind, counts = np.unique(np.rint(distances / same), return_inverse=True, return_counts=True)
            spacing = float(np.median(distances[kind == counts.argmax()]))
        return cls(np.array(heights), tuple(map(tuple, polygons)), min(spacing, most), same)

    def around(self, heights: FloatArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
        """For each height the planes below and above it (indices) and the share of the upper one.

        On a plane, and up to half a spacing beyond the outermost of a body, both are that plane; farther out -1.
        """
        upper = np.searchsorted(self.heights, heights).clip(min(1, self.heights.size - 1), self.heights.size - 1)
        lower = (upper - 1).clip(0)
        below, gap = heights - self.heights[lower], self.heights[upper] - self.heights[lower]
        nearest = np.where(np.abs(below) <= np.abs(self.heights[upper] - heights), lower, upper)
        distance = np.abs(heights - self.heights[nearest])
        between = (below > self.same) & (gap - below > self.same) & (gap <= NEIGHBOURS * self.spacing)
        alone = np.where(distance <= self.spacing / 2 + 1e-6, nearest, -1)
        share = np.where(between, below / np.where(between, gap, 1.0), 0.0)
        return np.where(between, lower, alone), np.where(between, upper, alone), share

    def skipped(self) -> bool:
        """Whether one or two planes are missing between contours that lie over each other."""
        gaps = np.diff(self.heights) / self.spacing
        holes = np.flatnonzero((gaps > NEIGHBOURS) & (gaps <= 2 * NEIGHBOURS + 0.5))
        return any(_overlap(self.polygons[n], self.polygons[n + 1]) for n in holes)


def voxels_inside(contours: Sequence[FloatArray], grid: Volume) -> Region:
    """The voxels of ``grid`` whose centre lies inside ``contours``.

    ``contours``: at least one, closed, planar and parallel to each other, each (points, 3) in LPS mm.  In a plane:
    inside an odd number of them.  Between two neighbouring planes: by shape-based interpolation (Raya and Udupa 1990),
    inside where the signed distances to both outlines, weighted by the distances to the planes, sum to zero or more.
    Beyond the outermost plane: as in that plane, up to half the distance between planes.
    Raises ``Refused`` where contours are not planar, or not parallel to each other.
    """
    planes, frame = _planes(contours, grid)
    if frame is None:
        return _by_slices(planes, np.concatenate([grid.to_index(points) for points in contours]), grid)
    return _by_points(planes, frame, np.concatenate(contours), grid)


def planes_skipped(contours: Sequence[FloatArray], grid: Volume) -> bool:
    """Whether a plane or two between contours that lie over each other have no contour.  Raises as voxels_inside."""
    return _planes(contours, grid)[0].skipped()


def _planes(contours: Sequence[FloatArray], grid: Volume) -> tuple[Planes, FloatArray | None]:
    """In voxel indices where the contours are parallel to the slices; else in mm, with the axes of their own frame."""
    indexed = [grid.to_index(points) for points in contours]
    if all(np.ptp(points[:, 0]) <= OUT_OF_PLANE for points in indexed):
        return Planes.of(indexed, SAME_PLANE, MOST_SPACING_MM / grid.spacing_mm[0], 1.0), None
    frame = _own_frame(contours)
    turned = [points @ frame.T for points in contours]
    if any(np.ptp(points[:, 0]) > OUT_OF_PLANE_MM for points in turned):
        raise Refused(
            "contours-not-in-plane",
            "The contours of a region are not planar, or not parallel to each other. Export the region again.",
        )
    return Planes.of(turned, SAME_PLANE_MM, MOST_SPACING_MM, grid.spacing_mm[0]), frame


def filled(polygons: Sequence[FloatArray], shape: tuple[int, ...]) -> BoolArray:
    """Pixels (row, column) of ``shape`` whose centre lies inside an odd number of the polygons.

    A line through each row's centres crosses the edges; every crossing toggles all pixels beyond it.  An edge owns its
    lower end and not its upper one, so that a shared corner counts once.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), np.int32)
    at_once = max(1, CHUNK // max(rows, 1))
    for polygon in polygons:
        ends = np.roll(polygon, -1, axis=0)
        for first in range(0, len(polygon), at_once):
            start, end = polygon[first : first + at_once], ends[first : first + at_once]
            low = np.ceil(np.minimum(start[:, 0], end[:, 0])).clip(0, rows).astype(int)
            high = np.ceil(np.maximum(start[:, 0], end[:, 0])).clip(0, rows).astype(int)
            counts = high - low
            edge = np.repeat(np.arange(len(start)), counts)
            row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + low[edge]
            share = (row - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
            crossing = start[edge, 1] + share * (end[edge, 1] - start[edge, 1])
            np.add.at(toggles, (row, np.ceil(crossing).clip(0, columns).astype(int)), 1)
    inside: BoolArray = np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1
    return inside


def box(
    points: FloatArray, reach: Sequence[float] | float, grid: Volume
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """First index and shape of the part of ``grid`` that holds the index ``points`` and what lies within ``reach``."""
    size = grid.array.shape
    low = np.ceil(points.min(axis=0) - reach).clip(0, size).astype(int)
    high = (np.floor(points.max(axis=0) + reach) + 1).clip(low, size).astype(int)
    (k, r, c), (slices, rows, columns) = low.tolist(), (high - low).tolist()
    return (k, r, c), (slices, rows, columns)


def _by_slices(planes: Planes, points: FloatArray, grid: Volume) -> Region:
    """Contours parallel to the slices; heights in slices, polygons as (row, column)."""
    start, shape = box(points, (planes.spacing / 2 + 1e-6, 0.0, 0.0), grid)
    inside = np.zeros(shape, bool)
    pixel_mm = np.array(grid.spacing_mm[1:])
    lower, upper, share = planes.around(np.arange(start[0], start[0] + shape[0], dtype=float))
    for k in np.flatnonzero(lower >= 0):
        below, above = planes.polygons[lower[k]], planes.polygons[upper[k]]
        inside[k] = filled([polygon - start[1:] for polygon in below], shape[1:])
        if lower[k] == upper[k]:
            continue
        other = filled([polygon - start[1:] for polygon in above], shape[1:])
        undecided = np.argwhere(inside[k] ^ other)
        below_mm, above_mm = ([polygon * pixel_mm for polygon in plane] for plane in (below, above))
        centres_mm = (undecided + start[1:]) * pixel_mm
        in_lower = inside[k][tuple(undecided.T)]
        taken = _between(centres_mm, in_lower, below_mm, above_mm, np.full(len(undecided), share[k]))
        inside[k][tuple(undecided.T)] = taken
    return Region.of(inside).moved(start)


def _by_points(planes: Planes, frame: FloatArray, points_lps_mm: FloatArray, grid: Volume) -> Region:
    """Contours oblique to the slices; heights and polygons in mm along the axes of ``frame`` (3, 3)."""
    ends = [points_lps_mm + side * (planes.spacing / 2) * frame[0] for side in (-1.0, 1.0)]
    start, shape = box(grid.to_index(np.concatenate(ends)), 1e-6, grid)
    inside = np.zeros(shape, bool)
    pixels = np.stack(np.meshgrid(*(np.arange(n) for n in shape[1:]), indexing="ij"), axis=-1).reshape(-1, 2)
    for k in range(shape[0]):
        index = np.column_stack([np.full(len(pixels), k), pixels]) + start
        centres = grid.to_lps(index) @ frame.T
        inside[k] = _inside_planes(planes, centres).reshape(shape[1:])
    return Region.of(inside).moved(start)


def _inside_planes(planes: Planes, centres: FloatArray) -> BoolArray:
    """Which points (n, 3), as (height, two coordinates in the plane), lie inside."""
    inside = np.zeros(len(centres), bool)
    lower, upper, share = planes.around(centres[:, 0])
    near = lower >= 0
    for low, high in np.unique(np.column_stack([lower[near], upper[near]]), axis=0):
        here = np.flatnonzero((lower == low) & (upper == high))
        points = centres[here, 1:]
        below, above = planes.polygons[low], planes.polygons[high]
        found = _holding(below, points)
        if low != high:
            undecided = found ^ _holding(above, points)
            weights = share[here][undecided]
            found[undecided] = _between(points[undecided], found[undecided], below, above, weights)
        inside[here] = found
    return inside


def _holding(polygons: Polygons, points: FloatArray) -> BoolArray:
    """Which points (n, 2) lie inside an odd number of the polygons."""
    from matplotlib.path import Path

    inside = np.zeros(len(points), bool)
    for polygon in polygons:
        near = ((points >= polygon.min(axis=0)) & (points <= polygon.max(axis=0))).all(axis=1)
        inside[near] ^= Path(polygon).contains_points(points[near])
    return inside


def _between(
    points: FloatArray, in_lower: BoolArray, below: Sequence[FloatArray], above: Sequence[FloatArray], share: FloatArray
) -> BoolArray:
    """Whether points (n, 2) that lie inside one of two neighbouring outlines lie inside the outline between them.

    ``share``: of the upper plane, 0 to 1.
    """
    sign = np.where(in_lower, 1.0, -1.0)
    distance = (1.0 - share) * sign * _distance(points, below) - share * sign * _distance(points, above)
    inside: BoolArray = distance >= 0
    return inside


def _distance(points: FloatArray, polygons: Sequence[FloatArray]) -> FloatArray:
    """Distance of each point (n, 2) to the nearest edge of the outline."""
    edges = _outline(polygons)
    if len(points) * len(edges) > MOST_PAIRS:
        text = f"A contour plane of a region has {len(edges)} edges; so many are not read. Export it simplified."
        raise Refused("region-too-large", text, edges=len(edges))
    out = np.full(len(points), np.inf)
    for part in _parts(len(points), len(edges)):
        start, along = edges[None, :, :2], edges[None, :, 2:] - edges[None, :, :2]
        towards = points[part][:, None] - start
        length = (along**2).sum(axis=-1)
        share = ((towards * along).sum(axis=-1) / np.where(length > 0, length, 1.0)).clip(0.0, 1.0)
        out[part] = np.sqrt(((towards - share[..., None] * along) ** 2).sum(axis=-1).min(axis=1))
    return out


def _parts(points: int, edges: int) -> Iterator[slice]:
    step = max(1, CHUNK // max(edges, 1))
    return (slice(first, first + step) for first in range(0, points if edges else 0, step))


def _outline(polygons: Sequence[FloatArray]) -> FloatArray:
    """Edges (n, 4) that part inside from outside: those run through twice, as a keyhole's channel is, do not."""
    edges = np.concatenate([np.hstack([polygon, np.roll(polygon, -1, axis=0)]) for polygon in polygons])
    turned = np.hstack([edges[:, 2:], edges[:, :2]])
    backwards = (edges[:, 0] > edges[:, 2]) | ((edges[:, 0] == edges[:, 2]) & (edges[:, 1] > edges[:, 3]))
    single, counts = np.unique(np.where(backwards[:, None], turned, edges), axis=0, return_counts=True)
    odd: FloatArray = single[counts % 2 == 1]
    return odd


def _own_frame(contours: Sequence[FloatArray]) -> FloatArray:
    """Axes (3, 3) of the plane of the largest contour, its normal (Newell's method) first."""
    normals = np.array([_twice_area(points) for points in contours])
    areas = np.linalg.norm(normals, axis=1)
    largest = int(areas.argmax())
    if not areas[largest] > 0:
        raise Refused("contour-malformed", "The contours of a region enclose nothing. Export the region again.")
    normal = normals[largest] / areas[largest]
    across = np.cross(normal, np.eye(3)[int(np.abs(normal).argmin())])
    across /= np.linalg.norm(across)
    return np.stack([normal, across, np.cross(normal, across)])


def _twice_area(points: FloatArray) -> FloatArray:
    centred = points - points.mean(axis=0)
    area: FloatArray = np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0)
    return area


def _overlap(one: Polygons, other: Polygons) -> bool:
    (low, high), (start, end) = (_extent(polygons) for polygons in (one, other))
    return bool((low < end).all() and (start < high).all())


def _extent(polygons: Polygons) -> tuple[Any, Any]:
    points = np.concatenate(polygons)
    return points.min(axis=0), points.max(axis=0)
