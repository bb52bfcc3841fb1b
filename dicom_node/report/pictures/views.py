"""Cuts through volumes in the patient's own directions, whatever the direction of the stacks they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.facts import Analysis, BoolArray, FloatArray, Region, Saliency, Volume

LEAST_SHARE = 0.34  # cosine of 70 degrees


@dataclass(frozen=True, slots=True)
class Plane:
    """A grid of points in the patient: ``size`` (rows, columns), ``step_mm`` apart, around ``centre`` (LPS mm).

    ``right`` and ``down`` are unit LPS vectors; ``letters`` name what lies left, right, at the top and at the bottom.
    """

    centre: tuple[float, float, float]
    right: tuple[int, int, int]
    down: tuple[int, int, int]
    size: tuple[int, int]
    step_mm: float
    letters: tuple[str, str, str, str]

    @property
    def points(self) -> FloatArray:
        """LPS mm of every point, (rows, columns, 3)."""
        rows, columns = ((np.arange(n) - (n - 1) / 2) * self.step_mm for n in self.size)
        across, along = np.asarray(self.right, float), np.asarray(self.down, float)
        grid: FloatArray = np.asarray(self.centre) + rows[:, None, None] * along + columns[None, :, None] * across
        return grid

    def pixel(self, lps_mm: tuple[float, float, float]) -> tuple[float, float]:
        """Row and column (fractional) of the point of the plane nearest to an LPS point."""
        away = np.asarray(lps_mm) - np.asarray(self.centre)
        row, column = (float(away @ np.asarray(axis, float)) / self.step_mm for axis in (self.down, self.right))
        return row + (self.size[0] - 1) / 2, column + (self.size[1] - 1) / 2


def axial(centre: tuple[float, float, float], size: tuple[int, int], step_mm: float) -> Plane:
    """Seen from the feet: the patient's right is on the left."""
    return Plane(centre, (1, 0, 0), (0, 1, 0), size, step_mm, ("R", "L", "A", "P"))


def coronal(centre: tuple[float, float, float], size: tuple[int, int], step_mm: float) -> Plane:
    """Seen from the front."""
    return Plane(centre, (1, 0, 0), (0, 0, -1), size, step_mm, ("R", "L", "H", "F"))


def sagittal(centre: tuple[float, float, float], size: tuple[int, int], step_mm: float) -> Plane:
    """Seen from the patient's left."""
    return Plane(centre, (0, 1, 0), (0, 0, -1), size, step_mm, ("A", "P", "H", "F"))


def sample(volume: Volume, plane: Plane, outside: float) -> FloatArray:
    """Values of ``volume`` on ``plane`` (rows, columns), linear between voxel centres; ``outside`` beyond them."""
    index = np.moveaxis(volume.to_index(plane.points), -1, 0)
    values: FloatArray = ndimage.map_coordinates(
        volume.array, index, output=np.float32, order=1, mode="grid-constant", cval=outside, prefilter=False
    )
    return values


def in_region(region: Region, index: npt.NDArray[Any]) -> BoolArray:
    """Which voxel indices (..., 3), whole or fractional, lie in a voxel of ``region``."""
    if region.mask.size == 0:
        return np.zeros(index.shape[:-1], bool)
    nearest = index if np.issubdtype(index.dtype, np.integer) else np.round(index).astype(np.int32)
    found = np.ones(index.shape[:-1], bool)
    for axis, box in enumerate(region.slices):
        found &= (nearest[..., axis] >= box.start) & (nearest[..., axis] < box.stop)
    k, r, c = np.moveaxis(nearest[found] - region.start, -1, 0)
    found[found] = region.mask[k, r, c]
    return found


def letters_of(direction: Sequence[float] | FloatArray) -> str:
    """Where an LPS direction points, as Patient Orientation says it (PS3.3 C.7.6.1.1.1): "L", "LP", "HA" …

    The letter of the axis nearest to it first; axes that it is more than 70 degrees off are left out.
    """
    length = float(np.linalg.norm(direction)) or 1.0
    named = [(abs(d) / length, pair[int(d < 0)]) for d, pair in zip(direction, ("LR", "PA", "HF"), strict=True)]
    return "".join(letter for share, letter in sorted(named, reverse=True) if share > LEAST_SHARE)


def saliency_volume(saliency: Saliency, grid: Volume) -> Volume:
    """The saliency's box as a volume of its own, in the grid of ``grid``."""
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_lps(saliency.start)
    return replace(grid, array=saliency.array, affine=affine)


def extent(volume: Volume) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest LPS coordinates of the voxel centres (the box around an oblique stack)."""
    last = np.asarray(volume.array.shape) - 1
    corners = volume.to_lps([(k, r, c) for k in (0, last[0]) for r in (0, last[1]) for c in (0, last[2])])
    return corners.min(axis=0), corners.max(axis=0)


def key_slice(analysis: Analysis) -> int:
    """Slice of the reference grid that pictures of the index lesion go through; without a lesion the middle one."""
    slices = int(analysis.grid.array.shape[0])
    if not analysis.lesions:
        return slices // 2
    k = round(float(analysis.grid.to_index(analysis.lesions[0].shown_lps_mm)[0]))
    return min(max(k, 0), slices - 1)


def image_number(analysis: Analysis, k: int) -> str:
    """The number by which a viewer shows slice ``k`` of the reference: its Instance Number, where it has one."""
    number = analysis.pair.reference.instances[k].get("InstanceNumber")
    return str(k + 1 if number is None else number)


@dataclass(frozen=True, slots=True)
class FrontView:
    """How a grid is projected from front to back: along its axis nearest to that direction.

    An oblique stack is thus seen from slightly aside, which a projection can bear and a cut could not.
    """

    axis: int
    transpose: bool
    flips: tuple[bool, bool]
    step_mm: tuple[float, float]

    @classmethod
    def of(cls, volume: Volume) -> FrontView:
        directions = volume.affine[:3, :3] / np.asarray(volume.spacing_mm)
        axis = int(np.abs(directions[1]).argmax())
        first, second = (a for a in range(3) if a != axis)
        transpose = abs(directions[2, second]) > abs(directions[2, first])
        down, right = (second, first) if transpose else (first, second)
        flips = (
            bool(directions[2, down] > 0),
            bool(directions[0, right] < 0),
        )  # down is to the feet, right to the left
        return cls(axis, transpose, flips, (volume.spacing_mm[down], volume.spacing_mm[right]))

    def slant_mm(self, volume: Volume) -> float:
        """How far, in x, a point of an oblique stack may be seen beside its place in the middle of the projection."""
        low, high = extent(volume)
        return max(0.0, (float(high[0] - low[0]) - (self._wide(volume) - 1) * self.step_mm[1]) / 2)

    def columns(self, volume: Volume, across_mm: tuple[float, float]) -> slice:
        """The columns of the projection that lie between two values of x (LPS mm), as in its middle."""
        count = self._wide(volume)
        middle_mm = float(np.mean(extent(volume), axis=0)[0])
        first, last = (round((x - middle_mm) / self.step_mm[1] + (count - 1) / 2) for x in across_mm)
        return slice(min(max(0, first), count - 1), max(1, min(last, count - 1) + 1))

    def _wide(self, volume: Volume) -> int:
        rows, columns = (n for a, n in enumerate(volume.array.shape) if a != self.axis)
        return int(rows if self.transpose else columns)

    def project(self, volume: Volume) -> FloatArray:
        """Maximum from front to back (rows, columns), head up and the patient's right on the left."""
        return self._upright(volume.array.max(axis=self.axis))

    def project_region(self, region: Region, volume: Volume) -> BoolArray:
        """Where ``region`` lies in ``project`` of its grid."""
        flat = np.zeros([n for a, n in enumerate(volume.array.shape) if a != self.axis], bool)
        flat[tuple(box for a, box in enumerate(region.slices) if a != self.axis)] = region.mask.any(axis=self.axis)
        return self._upright(flat)

    def _upright(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        flat = flat.T if self.transpose else flat
        return flat[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]


def rim(mask: BoolArray, width: int = 1) -> BoolArray:
    """The pixels of a 2D mask within ``width`` of its border."""
    core = np.pad(mask, width)
    inner = core.copy()
    for _ in range(width):
        inner = inner & np.roll(inner, 1, 0) & np.roll(inner, -1, 0) & np.roll(inner, 1, 1) & np.roll(inner, -1, 1)
    border: BoolArray = (core & ~inner)[width:-width, width:-width]
    return border
