"""The one resampler: any volume onto any grid, in LPS millimetres, through SimpleITK on the box that is needed."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from inference.facts import FloatArray, Volume

# Voxels kept round the box, so that cropping changes no value: linear interpolation needs one, rounding another.
MARGIN = 2


def resample(
    volume: Volume, onto_affine: FloatArray, shape: tuple[int, ...], order: Literal[0, 1] = 1, fill: float = 0.0
) -> npt.NDArray[Any]:
    """Sample ``volume`` at the voxel centres of another grid of the same Frame of Reference.

    ``onto_affine``: 4×4, (slice, row, column, 1) → LPS mm; ``shape``: (slices, rows, columns) of the result.
    ``order`` 1: trilinear, float32.  ``order`` 0: nearest voxel, in the volume's own type (bool stays bool).  Points
    outside the volume (farther than half a voxel from the outermost centres) get ``fill``.
    """
    import SimpleITK as sitk  # noqa: N813 - the name the field uses

    kind = np.dtype(np.float32) if order == 1 else volume.array.dtype
    box = box_needed(volume, onto_affine, shape)
    if any(s.stop <= s.start for s in box):
        return np.full(shape, fill, kind)
    cropped = np.ascontiguousarray(volume.array[box])
    moving = sitk.GetImageFromArray(cropped.astype(np.uint8 if kind == np.bool_ else kind, copy=False))
    corner = volume.to_lps([s.start for s in box])
    _place(moving, volume.affine, corner)

    onto = sitk.ResampleImageFilter()
    onto.SetInterpolator(sitk.sitkLinear if order == 1 else sitk.sitkNearestNeighbor)
    onto.SetDefaultPixelValue(float(fill))
    onto.SetSize([int(n) for n in reversed(shape)])
    origin, spacing, direction = _itk_geometry(onto_affine, onto_affine[:3, 3])
    onto.SetOutputOrigin(origin)
    onto.SetOutputSpacing(spacing)
    onto.SetOutputDirection(direction)
    sampled: npt.NDArray[Any] = sitk.GetArrayFromImage(onto.Execute(moving)).astype(kind, copy=False)
    return sampled


def box_needed(
    volume: Volume, onto_affine: FloatArray, shape: tuple[int, ...], margin: int = MARGIN
) -> tuple[slice, slice, slice]:
    """The part of the volume that the new grid can touch, and ``margin`` voxels round it.

    A grid's image under an affine lies within that of its corners.
    """
    corners = np.array([[k, r, c] for k in (0, shape[0] - 1) for r in (0, shape[1] - 1) for c in (0, shape[2] - 1)])
    index = volume.to_index(corners @ onto_affine[:3, :3].T + onto_affine[:3, 3])
    bounds = zip(index.min(axis=0), index.max(axis=0), volume.array.shape, strict=True)
    k, r, c = (slice(max(0, math.floor(low) - margin), min(n, math.ceil(high) + margin + 1)) for low, high, n in bounds)
    return k, r, c


def _place(image: Any, affine: FloatArray, corner_lps_mm: FloatArray) -> None:
    """Give a SimpleITK image the geometry of ``affine``, its first voxel at ``corner_lps_mm``."""
    origin, spacing, direction = _itk_geometry(affine, corner_lps_mm)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)


def _itk_geometry(affine: FloatArray, origin: FloatArray) -> tuple[list[float], list[float], list[float]]:
    """Origin, spacing and direction as ITK wants them: axes in the order column, row, slice, also LPS mm."""
    steps = affine[:3, [2, 1, 0]]
    spacing = np.linalg.norm(steps, axis=0)
    return [float(v) for v in origin], [float(v) for v in spacing], [float(v) for v in (steps / spacing).ravel()]
