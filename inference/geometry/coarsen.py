"""A volume brought near a coarser grid by means of whole blocks, so that nothing small falls between its points."""

from __future__ import annotations

import numpy as np

from inference.facts import FloatArray, Volume
from inference.geometry.resample import box_needed


def coarsened(volume: Volume, onto_affine: FloatArray, shape: tuple[int, ...]) -> Volume:
    """Means of blocks of voxels, float32, of the part of ``volume`` that the grid can touch.

    ``onto_affine``: 4×4, (slice, row, column, 1) → LPS mm; ``shape``: (slices, rows, columns).  A block is as many
    voxels along each axis as fit into the grid's smallest spacing; where that is one everywhere, the volume is given
    back as it is.  At the border of the image a last block may be of fewer voxels; its mean stands in the middle of a
    whole one, so less than half of the grid's spacing too far out.
    """
    spacing_mm = float(np.linalg.norm(onto_affine[:3, :3], axis=0).min())
    edges = [max(1, int(spacing_mm / own + 1e-3)) for own in volume.spacing_mm]
    if edges == [1, 1, 1]:
        return volume
    box = box_needed(volume, onto_affine, shape, 2 * max(edges))
    if any(side.stop <= side.start for side in box):
        return volume
    means = volume.array[box]
    for axis in (2, 1, 0):  # the axis that lies together in memory first: what follows is smaller
        means = _means(means, axis, edges[axis])
    affine = volume.affine @ np.diag([*edges, 1.0])
    first = [side.start + (edge - 1) / 2.0 for side, edge in zip(box, edges, strict=True)]
    affine[:3, 3] = volume.to_lps(first)
    return Volume(means, affine, volume.frame_of_reference_uid)


def _means(array: FloatArray, axis: int, edge: int) -> FloatArray:
    """Of ``edge`` neighbours along an axis; the last may be of fewer."""
    count = array.shape[axis]
    starts = np.arange(0, count, edge)
    sums = np.add.reduceat(array, starts, axis=axis, dtype=np.float32)
    sizes = np.minimum(edge, count - starts).astype(np.float32)
    return np.asarray(sums / sizes.reshape([-1 if a == axis else 1 for a in range(3)]), np.float32)
