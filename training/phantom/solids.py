"""Simple solids in LPS millimetres, each with a CT number and an uptake, painted slice by slice into a grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

FloatArray = npt.NDArray[np.float32]
Triple = tuple[float, float, float]
Interval = tuple[float, float]
Extent = tuple[Interval, Interval, Interval]
AIR_HU = -1000.0


class Solid(Protocol):
    """Something with a surface."""

    @property
    def extent(self) -> Extent:
        """Smallest and largest x, y, z (mm) that it may reach."""

    def distance(self, x: FloatArray, y: FloatArray, z: float) -> FloatArray:
        """About how far a point of the plane z is outside (mm, negative inside); x (1, column), y (row, 1)."""


def _radial(dx: FloatArray, dy: FloatArray, dz: float, radii: Triple, power: float = 2.0) -> FloatArray:
    """Distance to the surface along the ray from the centre."""
    rx, ry, rz = radii
    terms = np.abs(dx / rx) ** power + np.abs(dy / ry) ** power + abs(dz / rz) ** power
    rho = np.maximum(terms ** (1.0 / power), 1e-3)
    return np.asarray(np.sqrt(dx**2 + dy**2 + dz**2) * (1.0 - 1.0 / rho) - (rho < 2e-3) * min(radii), np.float32)


@dataclass(frozen=True)
class Ellipsoid:
    """Axis-aligned ellipsoid."""

    centre: Triple
    radii: Triple

    @property
    def extent(self) -> Extent:
        """Bounding box."""
        (x0, x1), (y0, y1), (z0, z1) = ((c - r, c + r) for c, r in zip(self.centre, self.radii, strict=True))
        return (x0, x1), (y0, y1), (z0, z1)

    def distance(self, x: FloatArray, y: FloatArray, z: float) -> FloatArray:
        """Along the ray from the centre."""
        cx, cy, cz = self.centre
        return _radial(x - cx, y - cy, z - cz, self.radii)


@dataclass(frozen=True)
class Capsule:
    """All points within ``radius`` of a line segment: a vessel, a bronchus, a long bone."""

    start: Triple
    end: Triple
    radius: float

    @property
    def extent(self) -> Extent:
        """Bounding box."""
        pairs = zip(self.start, self.end, strict=True)
        (x0, x1), (y0, y1), (z0, z1) = ((min(a, b) - self.radius, max(a, b) + self.radius) for a, b in pairs)
        return (x0, x1), (y0, y1), (z0, z1)

    def distance(self, x: FloatArray, y: FloatArray, z: float) -> FloatArray:
        """Exact."""
        (ax, ay, az), (bx, by, bz) = self.start, self.end
        length2 = max((bx - ax) ** 2 + (by - ay) ** 2 + (bz - az) ** 2, 1e-6)
        t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay) + (z - az) * (bz - az)) / length2, 0.0, 1.0)
        gap2 = (x - ax - t * (bx - ax)) ** 2 + (y - ay - t * (by - ay)) ** 2 + (z - az - t * (bz - az)) ** 2
        return np.asarray(np.sqrt(gap2) - self.radius, np.float32)


@dataclass(frozen=True)
class Tube:
    """Elliptical cross-sections along z, smoothly between the knots (z, centre x, centre y, radius x, radius y).

    ``inset``: so many mm inside that surface.  ``power``: of the superellipse.
    """

    knots: tuple[tuple[float, float, float, float, float], ...]
    inset: float = 0.0
    power: float = 2.0

    @cached_property
    def _section(self) -> PchipInterpolator:
        table = np.asarray(self.knots, float)
        return PchipInterpolator(table[:, 0], table[:, 1:])

    @property
    def extent(self) -> Extent:
        """Bounding box of the knots."""
        z, cx, cy, rx, ry = np.asarray(self.knots, float).T
        return (
            (float((cx - rx).min()), float((cx + rx).max())),
            (float((cy - ry).min()), float((cy + ry).max())),
            (float(z.min()), float(z.max())),
        )

    def distance(self, x: FloatArray, y: FloatArray, z: float) -> FloatArray:
        """In the plane, along the ray from the section's centre."""
        cx, cy, rx, ry = (float(value) for value in self._section(z))
        radii = (max(rx - self.inset, 0.5), max(ry - self.inset, 0.5), 1.0)
        return _radial(x - cx, y - cy, 0.0, radii, self.power)


@dataclass(frozen=True)
class Bands:
    """The part of ``solid`` outside ``hollow`` in bands of ``thickness`` every ``period`` along z: ribs, discs.

    ``slant``: mm that a band falls per mm towards the front.
    """

    solid: Tube
    period: float
    thickness: float
    hollow: Tube | None = None
    slant: float = 0.0

    @property
    def extent(self) -> Extent:
        """That of the solid."""
        return self.solid.extent

    def distance(self, x: FloatArray, y: FloatArray, z: float) -> FloatArray:
        """The farthest of the surfaces that bound it."""
        gap = self.solid.distance(x, y, z)
        if self.hollow is not None:
            gap = np.maximum(gap, -self.hollow.distance(x, y, z))
        phase = (z - self.slant * y) % self.period - self.period / 2.0
        return np.asarray(np.maximum(gap, np.abs(phase) - self.thickness / 2.0), np.float32)


@dataclass(frozen=True)
class Organ:
    """A solid with its CT number (HU) and uptake (SUVbw)."""

    name: str
    solid: Solid
    hu: float
    suv: float


@dataclass(frozen=True)
class Grid:
    """An axial grid: x (mm) of the columns, y of the rows, z of the slices, all ascending."""

    x_mm: npt.NDArray[np.float64]
    y_mm: npt.NDArray[np.float64]
    z_mm: npt.NDArray[np.float64]

    @classmethod
    def axial(cls, size: int, spacing_mm: float, z_mm: npt.NDArray[np.float64]) -> Grid:
        """``size`` × ``size`` pixels of ``spacing_mm``, centred on the axis of the scanner (x = y = 0)."""
        axis = np.asarray((np.arange(size) - (size - 1) / 2.0) * spacing_mm, np.float64)
        return cls(axis, axis, z_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slice, row, column)."""
        return len(self.z_mm), len(self.y_mm), len(self.x_mm)

    @property
    def spacing_mm(self) -> Triple:
        """Along slice, row, column."""
        k, r, c = (float(axis[1] - axis[0]) for axis in (self.z_mm, self.y_mm, self.x_mm))
        return k, r, c

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4×4, (slice, row, column, 1) → LPS mm."""
        k, r, c = self.spacing_mm
        x0, y0, z0 = float(self.x_mm[0]), float(self.y_mm[0]), float(self.z_mm[0])
        return np.array([[0, 0, c, x0], [0, r, 0, y0], [k, 0, 0, z0], [0, 0, 0, 1.0]])


def paint(organs: Iterable[Organ], grid: Grid, slice_index: int) -> tuple[FloatArray, FloatArray]:
    """CT numbers (HU) and uptake (SUVbw) of one slice of the grid, both (row, column), without blur and noise.

    Organs are painted in order, a later one over an earlier one, with an edge of one pixel's width.
    """
    z = float(grid.z_mm[slice_index])
    hu = np.full(grid.shape[1:], AIR_HU, np.float32)
    suv = np.zeros(grid.shape[1:], np.float32)
    edge = grid.spacing_mm[2]
    for organ in organs:
        (x0, x1), (y0, y1), (z0, z1) = organ.solid.extent
        if not z0 <= z <= z1:
            continue
        columns = slice(*np.searchsorted(grid.x_mm, (x0 - edge, x1 + edge)))
        rows = slice(*np.searchsorted(grid.y_mm, (y0 - edge, y1 + edge)))
        x = grid.x_mm[None, columns].astype(np.float32)
        y = grid.y_mm[rows, None].astype(np.float32)
        share = np.clip(0.5 - organ.solid.distance(x, y, z) / edge, 0.0, 1.0)
        hu[rows, columns] += share * (organ.hu - hu[rows, columns])
        suv[rows, columns] += share * (organ.suv - suv[rows, columns])
    return hu, suv
