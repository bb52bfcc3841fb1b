"""The patient on a coarse grid of the CT: where the body is, its midline, where the lungs are, how dense it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.facts import BoolArray, FloatArray, Volume

# Along (slice, row, column): coarse enough to be cheap, fine enough for the skull and the bladder's wall.
CELL_MM = (6.0, 4.0, 4.0)
# Between the couch's shell and fat (-100 HU).
TISSUE_ABOVE_HU = -200
LUNG_BELOW_HU = -500
# Share of a slice's body that is lung where the chest is; bowel gas stays below it.
CHEST_LUNG_SHARE = 0.10
# The chest ends inside the picture when so much of the body lies beyond its last slice.
BEYOND_CHEST_MM = 12.0
# The front and back of the trunk are taken this near its middle, away from the arms.
NEAR_MIDDLE_MM = 60.0
# Slices within 25 degrees of axial, rows and columns within 5 of left and front: only there do these belong to the
# grid's axes.
AXIAL, TURNED = 0.9, 0.09


@dataclass(frozen=True, slots=True)
class Body:
    """The body in cells of about 6 by 4 by 4 mm, axial slices.

    ``volume.array``: Boolean, lungs and cavities filled.  ``hu``: mean CT number of each cell, of the same shape.
    ``z_mm``, ``middle_x_mm``, ``middle_y_mm``, ``area_mm2``: per slice, in slice order (LPS); NaN where a slice is
    empty.  ``lungs_mm``: z of the lowest and the highest slice of the chest, ``None`` where no lungs are seen;
    ``base_seen``, ``apex_seen``: that this end is the chest's own and not that of the picture.
    """

    volume: Volume
    hu: FloatArray
    z_mm: FloatArray
    middle_x_mm: FloatArray
    middle_y_mm: FloatArray
    area_mm2: FloatArray
    lungs_mm: tuple[float, float] | None
    base_seen: bool = False
    apex_seen: bool = False

    @property
    def cell_ml(self) -> float:
        """Volume of one cell."""
        return self.volume.voxel_ml

    @property
    def base_mm(self) -> float | None:
        """z of the lungs' lowest slice, where it is in the picture."""
        return self.lungs_mm[0] if self.lungs_mm and self.base_seen else None

    @property
    def apex_mm(self) -> float | None:
        """z of the lungs' highest slice, where it is in the picture."""
        return self.lungs_mm[1] if self.lungs_mm and self.apex_seen else None

    def share_inside(self, lps_mm: FloatArray) -> float:
        """Share of the points (n, 3) that lie in the body."""
        return float(self.at(self.volume.array, lps_mm, outside=False).sum()) / max(1, len(lps_mm))

    def at(self, cells: npt.NDArray[Any], lps_mm: FloatArray, outside: float) -> npt.NDArray[Any]:
        """The values of ``cells`` (an array of the coarse grid) at points (n, 3), ``outside`` beyond the grid."""
        index = np.rint(self.volume.to_index(lps_mm)).astype(int)
        within = ((index >= 0) & (index < cells.shape)).all(axis=1)
        values = np.full(len(index), outside, cells.dtype)
        values[within] = cells[tuple(index[within].T)]
        return values

    def off_middle(self, lps_mm: FloatArray) -> FloatArray:
        """x and y (mm) of points (n, 3) from the body's middle in their slices; +: patient's left, back."""
        slices = np.abs(self.z_mm[:, None] - lps_mm[None, :, 2]).argmin(axis=0)
        middle = np.column_stack([self.middle_x_mm[slices], self.middle_y_mm[slices]])
        return np.asarray(lps_mm[:, :2] - middle)

    def slice_at(self, z_mm: float) -> int:
        """The slice nearest to ``z_mm``."""
        return int(np.argmin(np.abs(self.z_mm - z_mm)))

    def offsets(self) -> tuple[FloatArray, FloatArray]:
        """x and y (mm) of every cell from the body's middle, as arrays that broadcast to the grid's shape.

        Slices within 25 degrees of axial are taken as axial.
        """
        _, r, c = self.volume.array.shape
        x = self.volume.affine[0, 3] + self.volume.affine[0, 2] * np.arange(c)
        y = self.volume.affine[1, 3] + self.volume.affine[1, 1] * np.arange(r)
        return x[None, None, :] - self.middle_x_mm[:, None, None], y[None, :, None] - self.middle_y_mm[:, None, None]


def body_of(ct: Volume) -> Body | None:
    """Outline the patient in ``ct`` (HU); ``None`` where the slices are not axial, or turned, or hold no body."""
    ct = _upright(ct)
    slice_mm, row_mm, column_mm = ct.spacing_mm
    turned = abs(ct.affine[0, 1]) > TURNED * row_mm or abs(ct.affine[1, 2]) > TURNED * column_mm
    if abs(ct.affine[2, 0]) < AXIAL * slice_mm or turned:
        return None
    hu, affine = _coarse(ct)
    body = _largest_part(hu > TISSUE_ABOVE_HU)
    if not body.any():
        return None
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    volume = Volume(filled, affine, ct.frame_of_reference_uid)
    z_mm = volume.to_lps([[k, 0, 0] for k in range(len(filled))])[:, 2]
    counts = filled.sum(axis=(1, 2))
    cell_mm2 = float(np.prod(volume.spacing_mm[1:]))
    lung_share = (filled & (hu < LUNG_BELOW_HU)).sum(axis=(1, 2)) / np.maximum(counts, 1)
    middles = np.array([_middle(volume, k) for k in range(len(filled))])
    lungs_mm = _chest(z_mm, lung_share)
    low, high = lungs_mm or (0.0, 0.0)
    seen = z_mm[counts > 0]
    return Body(
        volume,
        hu,
        z_mm,
        middles[:, 0],
        middles[:, 1],
        counts * cell_mm2,
        lungs_mm,
        base_seen=lungs_mm is not None and float(seen.min()) < low - BEYOND_CHEST_MM,
        apex_seen=lungs_mm is not None and float(seen.max()) > high + BEYOND_CHEST_MM,
    )


def _upright(ct: Volume) -> Volume:
    """With rows from front to back and columns from side to side: of a patient lying on a side they are exchanged."""
    if abs(ct.affine[0, 1]) <= abs(ct.affine[0, 2]):
        return ct
    return Volume(ct.array.swapaxes(1, 2), ct.affine[:, [0, 2, 1, 3]], ct.frame_of_reference_uid)


def _coarse(ct: Volume) -> tuple[FloatArray, FloatArray]:
    """Mean CT number in blocks of a slice, of every so many slices, and the affine of the blocks' centres."""
    steps = [max(1, round(cell / s)) for cell, s in zip(CELL_MM, ct.spacing_mm, strict=True)]
    k, r, c = steps
    kept = ct.array[::k, : ct.array.shape[1] // r * r, : ct.array.shape[2] // c * c]
    total = sum(kept[:, i::r, j::c].astype(np.int32) for i in range(r) for j in range(c))
    affine = ct.part_affine([0.0, (r - 1) / 2, (c - 1) / 2])
    affine[:3, :3] = affine[:3, :3] * steps
    return np.asarray(total, np.float32) / np.float32(r * c), affine


def _largest_part(mask: BoolArray) -> BoolArray:
    """The largest part of ``mask`` that hangs together over faces: the patient without couch and blankets."""
    import cc3d

    return np.asarray(cc3d.largest_k(mask, k=1, connectivity=6) > 0) if mask.any() else mask


def _middle(volume: Volume, k: int) -> npt.NDArray[np.float64]:
    """x: centre of mass; y: halfway between front and back of the trunk (LPS) in slice ``k``."""
    index = np.argwhere(volume.array[k])
    if not len(index):
        return np.full(2, np.nan)
    lps = volume.to_lps(np.column_stack([np.full(len(index), k), index]))[:, :2]
    x = float(lps[:, 0].mean())
    trunk = lps[np.abs(lps[:, 0] - x) < NEAR_MIDDLE_MM]
    y = trunk[:, 1] if len(trunk) else lps[:, 1]
    return np.array([x, (y.min() + y.max()) / 2])


def _chest(z_mm: FloatArray, lung_share: FloatArray) -> tuple[float, float] | None:
    """The longest run of slices with lung."""
    labels, runs = ndimage.label(lung_share >= CHEST_LUNG_SHARE)
    if not runs:
        return None
    longest = 1 + int(np.argmax(np.bincount(labels)[1:]))
    inside = z_mm[labels == longest]
    return float(inside.min()), float(inside.max())
