"""What the network sees: an array on a grid of its own, and how much of the subject lies on that grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.facts import Caution, FloatArray

CT_AIR_HU = -1024.0


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """What the network sees, and how much of what it should see that is.

    ``array``: float32 (channel, slice, row, column).  ``grid``: its affine, (slice, row, column, 1) → LPS mm.
    ``region_ml``: volume of the region, closed cavities included; of the whole body for a model that looks at all of
    it.  ``lost_fraction`` and ``without_ct_fraction``: share of the region (the body) that lies outside the grid, and
    outside the CT.  ``suv_max``: of the region on the PET grid (of the body: on the network's), None without PET.
    ``inside``: float32 (slice, row, column), 0..1, the region on the grid, where the preset brings it there.
    ``planes_mm``: height (LPS z) of each slice where they need not be neighbours; ``grid`` then is the first one's.
    ``region_mean``: mean of the image (HU, mg/ml) in the region, where there is no PET.  ``of_body``: it looks at the
    whole body, and what is said of the region is the body's.
    """

    array: npt.NDArray[np.float32]
    grid: FloatArray
    region_ml: float
    lost_fraction: float
    without_ct_fraction: float
    suv_max: float | None
    cautions: tuple[Caution, ...] = ()
    inside: npt.NDArray[np.float32] | None = None
    planes_mm: tuple[float, ...] = ()
    region_mean: float | None = None
    of_body: bool = False


def upright_grid(centre_lps_mm: FloatArray, spacing_mm: float, shape: tuple[int, int, int]) -> FloatArray:
    """Affine of a grid centred on ``centre_lps_mm``: slice → +S, row → +P, column → +L."""
    affine = np.eye(4)
    affine[:3, :3] = spacing_mm * np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    affine[:3, 3] = centre_lps_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return affine


def inside_fraction(points_mm: FloatArray, affine: FloatArray, shape: tuple[int, ...]) -> float:
    """Share of the points (n, 3) that lie in a voxel of the grid."""
    inverse = np.linalg.inv(affine)
    index = points_mm @ inverse[:3, :3].T + inverse[:3, 3]
    return float(((index >= -0.5) & (index <= np.array(shape) - 0.5)).all(axis=1).mean())
