"""Where the network was sensitive: Grad-CAM (Selvaraju et al. 2017) of the last stage, on the grid of the region.

It shows where the network looked, not where the label is.  Nothing finer than one cell may be read from it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from inference.facts import Caution, FloatArray, Saliency, Volume
from inference.geometry.resample import resample
from inference.model.seen import NetworkInput

if TYPE_CHECKING:
    from torch import Tensor

    from inference.model.trunk import Network

COARSE_CELL_MM = 16.0


def class_activation(network: Network, features: Tensor, label: int, values: Tensor | None = None) -> Tensor:
    """Grad-CAM of one member: ReLU(Σ α_k A_k), α_k the spatial mean of ∂ logit / ∂ A_k.

    ``features``: (1, width, slice, row, column) of the last stage, computed without gradient; the gradient goes through
    the head only, so no second forward is needed.  ``values``: (1, n), where the network takes any.  Gives
    (slice, row, column), not scaled.
    """
    import torch

    leaf = features.detach().requires_grad_()
    with torch.enable_grad():
        logit = network.head(leaf, values)[0, label]
        (gradient,) = torch.autograd.grad(logit, leaf)
    alpha = gradient.mean(dim=(2, 3, 4), keepdim=True)
    return (alpha * features).sum(dim=1).relu()[0]


def saliency_on_grid(cells: npt.NDArray[np.float32], seen: NetworkInput, cell_voxels: int, image: Volume) -> Saliency:
    """The map of the last stage, trilinear on the image's voxels in the network's box, scaled to its maximum.

    ``cells``: (slice, row, column); cell i is centred on input voxel i × ``cell_voxels`` (so its paddings say).
    Where the network looked at single slices, each shows its own map, and those between them none.  ``image``: that on
    whose grid the region lies: SUV; the CT or iodine map where there is no PET.
    """
    start, shape = _box(seen, image)
    box = image.part_affine(start)
    if seen.planes_mm:
        placed = _of_planes(cells, seen, cell_voxels, image, box, shape)
    else:
        to_lps = seen.grid @ np.diag([cell_voxels, cell_voxels, cell_voxels, 1.0])
        placed = np.asarray(resample(Volume(cells, to_lps, image.frame_of_reference_uid), box, shape, 1, 0.0))
    raw_max = float(placed.max(initial=0.0))
    array = np.asarray(placed / raw_max if raw_max > 0.0 else np.zeros_like(placed), np.float32)
    return Saliency(start, array, cell_edge_mm(seen.grid, cell_voxels), raw_max)


def _of_planes(
    cells: npt.NDArray[np.float32],
    seen: NetworkInput,
    cell_voxels: int,
    image: Volume,
    box: FloatArray,
    shape: tuple[int, int, int],
) -> npt.NDArray[np.float32]:
    """Each plane's cells on the box of the image, bilinear in the plane; a plane is as thick as its slice."""
    placed = np.zeros(shape, np.float32)
    to_lps = seen.grid @ np.diag([1.0, cell_voxels, cell_voxels, 1.0])
    for plane, height_mm in zip(cells, seen.planes_mm, strict=True):
        to_lps[2, 3] = height_mm
        one = resample(Volume(plane[None], to_lps, image.frame_of_reference_uid), box, shape, 1, 0.0)
        placed = np.maximum(placed, one)
    return placed


def cell_edge_mm(grid: FloatArray, cell_voxels: int) -> float:
    """Edge of one cell: input voxel × stride."""
    return float(np.linalg.norm(grid[:3, 2]) * cell_voxels)


def saliency_cautions(saliency: Saliency) -> tuple[Caution, ...]:
    """A map whose cells are wider than 16 mm (methods D6) is shown, and says so."""
    if saliency.cell_mm <= COARSE_CELL_MM:
        return ()
    text = f"One cell of the heatmap is {saliency.cell_mm:.0f} mm wide; nothing smaller can be read from it."
    return (Caution("saliency-coarse", text),)


def _box(seen: NetworkInput, image: Volume) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Start and shape of the image's voxels that the network's box can touch."""
    slices, rows, columns = seen.array.shape[1:]
    ends = np.array(
        [[k, r, c] for k in (-0.5, slices - 0.5) for r in (-0.5, rows - 0.5) for c in (-0.5, columns - 0.5)]
    )
    corners_mm = ends @ seen.grid[:3, :3].T + seen.grid[:3, 3]
    if seen.planes_mm:
        half_mm = abs(seen.grid[2, 0]) / 2.0
        corners_mm[:, 2] = np.where(ends[:, 0] < 0, min(seen.planes_mm) - half_mm, max(seen.planes_mm) + half_mm)
    index = image.to_index(corners_mm)
    low = [max(0, math.ceil(v)) for v in index.min(axis=0)]
    high = [min(n, math.floor(v) + 1) for v, n in zip(index.max(axis=0), image.array.shape, strict=True)]
    k, r, c = low
    return (k, r, c), (max(high[0] - k, 1), max(high[1] - r, 1), max(high[2] - c, 1))
