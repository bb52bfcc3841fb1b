"""The patient's outline on a coarse grid of the CT: where the body is, its midline, and where the lungs are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.facts import BoolArray, FloatArray, Volume

# Coarse enough to be free, fine enough that lungs and kidneys are many cells.
CELL_MM = 8.0
# Between the couch's shell and fat (-100 HU).
TISSUE_ABOVE_HU = -200
LUNG_BELOW_HU = -500
# Share of a slice's body that is lung where the chest is; bowel gas stays below it.
CHEST_LUNG_SHARE = 0.10
# Slices within 25 degrees of axial: only there do left, front and up belong to the grid's axes.
AXIAL = 0.9


@dataclass(frozen=True, slots=True)
class Body:
    """The body in cells of about 8 mm, axial slices.  ``volume.array``: Boolean, lungs and cavities filled.

    ``z_mm``, ``middle_x_mm``, ``middle_y_mm``, ``area_mm2``: per slice, in slice order (LPS); NaN where a slice is
    empty.  ``lungs_mm``: z of the lowest and the highest slice of the chest, ``None`` where no lungs are seen.
    """

    volume: Volume
    z_mm: FloatArray
    middle_x_mm: FloatArray
    middle_y_mm: FloatArray
    area_mm2: FloatArray
    lungs_mm: tuple[float, float] | None

    def share_inside(self, lps_mm: FloatArray) -> float:
        """Share of the points (n, 3) that lie in the body."""
        index = np.rint(self.volume.to_index(lps_mm)).astype(int)
        within = ((index >= 0) & (index < self.volume.array.shape)).all(axis=1)
        hits = self.volume.array[tuple(index[within].T)].sum()
        return float(hits) / max(1, len(index))

    def slice_at(self, z_mm: float) -> int:
        """The slice nearest to ``z_mm``."""
        return int(np.argmin(np.abs(self.z_mm - z_mm)))


def body_of(ct: Volume) -> Body | None:
    """Outline the patient in ``ct`` (HU); ``None`` where the slices are not axial or hold no body."""
    if abs(ct.affine[2, 0]) < AXIAL * ct.spacing_mm[0]:
        return None
    steps = [max(1, round(CELL_MM / s)) for s in ct.spacing_mm]
    hu = ct.array[:: steps[0], :: steps[1], :: steps[2]]
    affine = ct.affine.copy()
    affine[:3, :3] = affine[:3, :3] * steps
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
    return Body(volume, z_mm, middles[:, 0], middles[:, 1], counts * cell_mm2, _chest(z_mm, lung_share))


def _largest_part(mask: BoolArray) -> BoolArray:
    """The largest part of ``mask`` that hangs together over faces: the patient without couch and blankets."""
    import cc3d

    return np.asarray(cc3d.largest_k(mask, k=1, connectivity=6) > 0) if mask.any() else mask


def _middle(volume: Volume, k: int) -> npt.NDArray[np.float64]:
    """Centre (LPS x, y) of the body's extent in slice ``k``."""
    index = np.argwhere(volume.array[k])
    if not len(index):
        return np.full(2, np.nan)
    lps = volume.to_lps(np.column_stack([np.full(len(index), k), index]))[:, :2]
    return np.asarray((lps.min(axis=0) + lps.max(axis=0)) / 2)


def _chest(z_mm: FloatArray, lung_share: FloatArray) -> tuple[float, float] | None:
    """The longest run of slices with lung."""
    labels, runs = ndimage.label(lung_share >= CHEST_LUNG_SHARE)
    if not runs:
        return None
    longest = 1 + int(np.argmax(np.bincount(labels)[1:]))
    inside = z_mm[labels == longest]
    return float(inside.min()), float(inside.max())
