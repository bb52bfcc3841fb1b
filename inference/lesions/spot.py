"""One uptake as the rules for organs see it: where it lies in the body, how large and how dense it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.facts import BoolArray, FloatArray, Volume
from inference.lesions.body import Body
from inference.lesions.uptake import Core


@dataclass(frozen=True, slots=True)
class Spot:
    """One core.

    ``points``: LPS of its voxels.  ``off_mm``: x, y from the body's middle.  ``size_mm``: extent along z and across.
    """

    core: Core
    points: FloatArray
    peak_mm: FloatArray
    off_mm: FloatArray
    ml: float
    mean_hu: float
    size_mm: tuple[float, float]


def spot_of(core: Core, suv: Volume, body: Body) -> Spot:
    """What the rules want to know of a core."""
    points = np.asarray(core.points(suv))
    peak_mm = np.asarray(suv.to_lps(core.peak))
    shape = np.multiply(core.region.mask.shape, suv.spacing_mm)
    hu = body.at(body.hu, points, outside=np.nan)
    return Spot(
        core,
        points,
        peak_mm,
        body.off_middle(peak_mm[None])[0],
        len(points) * suv.voxel_ml,
        float(np.nanmean(hu)) if np.isfinite(hu).any() else float("nan"),
        (float(shape[0]), float(max(shape[1:]))),
    )


def gap_mm(s: Spot, others: Sequence[FloatArray]) -> float:
    """From the peak to the nearest of the voxels."""
    return min((float(np.linalg.norm(o - s.peak_mm, axis=1).min()) for o in others), default=np.inf)


def union(cores: Sequence[Core]) -> tuple[BoolArray, FloatArray]:
    """The cores' voxels in their common box, and the index where that begins."""
    regions = [core.region for core in cores]
    low = np.min([r.start for r in regions], axis=0)
    box = np.zeros(tuple(np.max([np.add(r.start, r.mask.shape) for r in regions], axis=0) - low), bool)
    for r in regions:
        box[tuple(slice(s.start - a, s.stop - a) for s, a in zip(r.slices, low, strict=True))] |= r.mask
    return box, low
