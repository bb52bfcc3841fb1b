"""Which uptake is an organ's own: brain, bladder, kidneys, heart; told by place, size and CT, roughly.

Every rule asks for several things at once, so that what is doubtful stays a proposed lesion; what is set aside is
named to the reader.  Positions are relative to the lungs, so nothing is known where no lungs are in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from inference.body import Body
from inference.facts import FloatArray, Region, Volume

# Heights in mm above (+) or below (-) the lungs of an adult; volumes in ml; distances in mm from the body's middle.
BRAIN_ABOVE_LUNGS, BRAIN_LEAST_ML, BRAIN_SHARE_OF_BODY = 60.0, 100.0, 0.2
BLADDER_BELOW_LUNGS, BLADDER_OFF_MIDDLE, BLADDER_ML, URINE_HU = 200.0, 35.0, (5.0, 800.0), (-20.0, 25.0)
KIDNEY_BELOW_LUNGS, KIDNEY_OFF_MIDDLE, KIDNEY_ML, KIDNEYS_APART = (-40.0, 220.0), (25.0, 110.0), (0.5, 400.0), 60.0
HEART_LEFT, HEART_ML, HEART_HEIGHT = (5.0, 100.0), (20.0, 400.0), (-0.15, 0.6)


@dataclass(frozen=True, slots=True)
class Uptake:
    """One connected uptake, as the rules see it.

    ``centre_mm``: LPS.  ``off_mm``: x and y from the middle of the body in its slice (+: patient's left, back).
    ``above_lungs``, ``below_lungs``: mm from the chest's end, negative inside.  ``height``: 0 at the lungs' lowest
    slice, 1 at the highest.  ``share_of_body``: median over slices of its filled area to the body's.  ``hollow``: its
    centre of mass is not part of it.
    """

    volume_ml: float
    centre_mm: FloatArray
    off_mm: FloatArray
    above_lungs: float
    below_lungs: float
    height: float
    share_of_body: float
    mean_hu: float
    hollow: bool


def organs_among(regions: Sequence[Region], suv: Volume, ct: Volume, body: Body | None) -> list[str]:
    """For each region the organ whose own uptake it looks like, or "" """
    if body is None or body.lungs_mm is None:
        return [""] * len(regions)
    uptakes = [_describe(r, suv, ct, body, body.lungs_mm) for r in regions]
    brains = [r for r, u in zip(regions, uptakes, strict=True) if _organ(u) == "brain"]
    names = []
    for region, uptake in zip(regions, uptakes, strict=True):
        name = _organ(uptake) or ("kidney" if _is_kidney(uptake, uptakes) else "")
        names.append("brain" if any(_lies_in_box(region, brain) for brain in brains) else name)
    return names


def _lies_in_box(region: Region, other: Region) -> bool:
    """Whether the region's box lies within that of the other."""
    return all(b.start <= a.start and a.stop <= b.stop for a, b in zip(region.slices, other.slices, strict=True))


def _organ(u: Uptake) -> str:
    if u.above_lungs > BRAIN_ABOVE_LUNGS and u.volume_ml > BRAIN_LEAST_ML and u.share_of_body > BRAIN_SHARE_OF_BODY:
        return "brain"
    low, high = BLADDER_ML
    near_middle = abs(u.off_mm[0]) < BLADDER_OFF_MIDDLE
    urine = URINE_HU[0] < u.mean_hu < URINE_HU[1]
    if u.below_lungs > BLADDER_BELOW_LUNGS and near_middle and urine and low < u.volume_ml < high:
        return "bladder"
    left = HEART_LEFT[0] < u.off_mm[0] < HEART_LEFT[1] and u.off_mm[1] < 10.0
    in_chest = HEART_HEIGHT[0] < u.height < HEART_HEIGHT[1]
    if left and in_chest and u.hollow and HEART_ML[0] < u.volume_ml < HEART_ML[1]:
        return "heart"
    return ""


def _is_kidney(u: Uptake, others: Sequence[Uptake]) -> bool:
    """Kidneys come in pairs: one at the mirrored place is needed."""
    return _at_kidney(u) and any(
        _at_kidney(o)
        and u.off_mm[0] * o.off_mm[0] < 0
        and abs(u.off_mm[0] + o.off_mm[0]) < KIDNEYS_APART
        and abs(u.centre_mm[2] - o.centre_mm[2]) < KIDNEYS_APART
        for o in others
    )


def _at_kidney(u: Uptake) -> bool:
    return bool(
        KIDNEY_BELOW_LUNGS[0] < u.below_lungs < KIDNEY_BELOW_LUNGS[1]
        and KIDNEY_OFF_MIDDLE[0] < abs(u.off_mm[0]) < KIDNEY_OFF_MIDDLE[1]
        and u.off_mm[1] > 0
        and KIDNEY_ML[0] < u.volume_ml < KIDNEY_ML[1]
    )


def _describe(region: Region, suv: Volume, ct: Volume, body: Body, lungs_mm: tuple[float, float]) -> Uptake:
    voxels = np.argwhere(region.mask)
    lps = suv.to_lps(voxels + region.start)
    centre = lps.mean(axis=0)
    k = body.slice_at(float(centre[2]))
    low, high = lungs_mm
    nearest = tuple(np.rint(voxels.mean(axis=0)).astype(int))
    return Uptake(
        volume_ml=len(voxels) * suv.voxel_ml,
        centre_mm=centre,
        off_mm=centre[:2] - [body.middle_x_mm[k], body.middle_y_mm[k]],
        above_lungs=float(centre[2]) - high,
        below_lungs=low - float(centre[2]),
        height=(float(centre[2]) - low) / max(high - low, 1.0),
        share_of_body=_share_of_body(region, suv, body),
        mean_hu=_mean_hu(lps, ct),
        hollow=not region.mask[nearest],
    )


def _share_of_body(region: Region, suv: Volume, body: Body) -> float:
    pixel_mm2 = float(np.prod(suv.spacing_mm[1:]))
    shares = []
    for k, plane in enumerate(region.mask):
        z_mm = float(suv.to_lps([region.start[0] + k, *region.start[1:]])[2])
        area = float(body.area_mm2[body.slice_at(z_mm)])
        if plane.any() and area:
            shares.append(float(ndimage.binary_fill_holes(plane).sum()) * pixel_mm2 / area)
    return float(np.median(shares)) if shares else 0.0


def _mean_hu(lps_mm: FloatArray, ct: Volume) -> float:
    """Mean of the CT voxels nearest to the points; NaN where none lies in the CT."""
    index = np.rint(ct.to_index(lps_mm)).astype(int)
    index = index[((index >= 0) & (index < ct.array.shape)).all(axis=1)]
    return float(ct.array[tuple(index.T)].mean()) if len(index) else float("nan")
