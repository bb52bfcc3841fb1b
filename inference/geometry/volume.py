"""One regular stack out of the instances of a series, from positions and orientations alone.

Nothing here trusts Instance Number, Slice Location or Slice Thickness; order and spacing come from Image Position
(Patient) and Image Orientation (Patient), DICOM PS3.3 C.7.6.2.  Pixels are read only where two instances share a place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from inference.facts import Caution, FloatArray, Instance, Refused
from inference.geometry.regrid import Regrid, check_gaps, check_line, regrid
from inference.reading import agreement
from inference.reading.frames import single_frames
from inference.reading.header import number
from inference.reading.pixels import MOST_VOXELS, all_same

# Scanners round positions to a tenth of a millimetre at worst; a slice farther off its place is not on the grid.
POSITION_TOLERANCE_MM = 0.1
# In-plane drift per millimetre along the normal (0.06 degrees); a real gantry tilt is tens of times larger.
SHEAR_TOLERANCE = 1e-3
# A distance that is a whole number of usual ones within this part of one has slices missing; any other is irregular.
GAP_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Stack:
    """The slices of one regular volume.

    ``instances``: the images, ascending along the slice normal (row cosines × column cosines).  ``affine``: 4×4,
    (slice, row, column, 1) → LPS mm at voxel centres.  ``shape``: (slices, rows, columns).  ``spacing_mm`` in the same
    order.  ``regrid``: None where image k is slice k of the volume; else how the volume comes from the images (CT).
    """

    instances: tuple[Instance, ...]
    affine: FloatArray
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    frame_of_reference_uid: str
    cautions: tuple[Caution, ...] = ()
    regrid: Regrid | None = None


@dataclass(frozen=True, slots=True)
class _Plane:
    """The orientation of the slices (unit vectors in LPS), their pixels (mm) and their size (rows, columns)."""

    row: FloatArray
    column: FloatArray
    normal: FloatArray
    pixel_mm: FloatArray
    size: tuple[int, int]

    def pixels(self, vectors_mm: FloatArray) -> FloatArray:
        """Vectors (n, 3) as steps along growing (row, column)."""
        steps: FloatArray = vectors_mm @ np.column_stack([self.column, self.row]) / self.pixel_mm
        return steps


def stack(instances: Sequence[Instance], *, may_regrid: bool = True) -> Stack:
    """Order the images of one series, or the frames of its objects, in any order of arrival, into a regular stack.

    CT slices that are sheared or unevenly spaced, within the limits of ``inference.geometry.regrid``, get a grid of
    their own, unless ``may_regrid`` is false: where results lie on the images themselves.
    Raises ``Refused`` where they are not one complete volume of one time: the code says which.
    """
    unique, cautions = _without_repeats(single_frames(instances))
    agreement.refuse_other_kinds(unique)
    frame_of_reference_uid = agreement.frame_of_reference(unique)
    size = agreement.size(unique)
    positions = agreement.numbers(unique, "ImagePositionPatient", 3)
    row, column, normal = agreement.orientation(agreement.numbers(unique, "ImageOrientationPatient", 6))
    pixel_mm = agreement.pixel_spacing(agreement.numbers(unique, "PixelSpacing", 2))
    plane = _Plane(row, column, normal, pixel_mm, size)

    along = positions @ normal
    kept, duplicates = _one_per_position(unique, along)
    if len(kept) < 2:
        raise Refused(
            "single-slice",
            "There is one slice only; a volume needs at least two. Send the whole series.",
            slices=len(kept),
        )
    chosen = tuple(unique[i] for i in kept)
    agreement.refuse_interleaved(chosen)
    step, plan = _slice_step(positions[kept], plane, may_regrid=may_regrid and chosen[0].modality == "CT")
    shape = plan.shape if plan else (len(chosen), *size)
    _check_size(shape)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([step, column * pixel_mm[0], row * pixel_mm[1]])
    affine[:3, 3] = positions[kept[0]]
    if plan:
        affine[:3, 3] += affine[:3, 1:3] @ plan.start
    return Stack(
        instances=chosen,
        affine=affine,
        spacing_mm=(float(np.linalg.norm(step)), float(pixel_mm[0]), float(pixel_mm[1])),
        shape=shape,
        frame_of_reference_uid=frame_of_reference_uid,
        cautions=(*cautions, *duplicates, *_geometry_cautions(chosen, plan), *_lossy(chosen)),
        regrid=plan,
    )


def _without_repeats(instances: Sequence[Instance]) -> tuple[list[Instance], tuple[Caution, ...]]:
    """Each SOP instance or frame once, in the order of UIDs, so that the order of arrival decides nothing."""
    if not instances:
        raise Refused("no-images", "The series has no images.")
    by_uid: dict[tuple[str, int], Instance] = {}
    for instance in sorted(instances, key=lambda i: (i.sop_instance_uid, i.frame, i.path)):
        first = by_uid.setdefault((instance.sop_instance_uid, instance.frame), instance)
        if first.sha256 != instance.sha256:
            raise Refused(
                "instance-uid-reused",
                "Two files carry the same SOP Instance UID but differ in content; which of them is meant cannot be "
                "known. Send the series again from its source.",
                sop_instance_uid=instance.sop_instance_uid,
            )
    repeated = len(instances) - len(by_uid)
    caution = Caution("instance-repeated", f"{repeated} instance(s) were there twice with the same content; kept once.")
    return list(by_uid.values()), (caution,) if repeated else ()


def _one_per_position(instances: Sequence[Instance], along: FloatArray) -> tuple[list[int], tuple[Caution, ...]]:
    """Indices in ascending position, one per place; copies with the same pixels are left out with a caution."""
    order = np.argsort(along, kind="stable")
    places = np.concatenate([[0], np.cumsum(np.diff(along[order]) > POSITION_TOLERANCE_MM)])
    at: dict[int, list[int]] = defaultdict(list)
    for place, index in zip(places.tolist(), order.tolist(), strict=True):
        at[place].append(index)
    for same in at.values():
        same.sort(key=lambda i: (instances[i].sop_instance_uid, instances[i].frame))
    kept = [same[0] for same in at.values()]
    if len(kept) == len(instances):
        return kept, ()
    crowds = {len(same) for same in at.values()}
    if crowds.isdisjoint({1}):
        raise Refused(
            "dynamic-series",
            f"{min(crowds)} or more images lie at every position: several time frames or reconstructions in one "
            "series. Send one of them as a series of its own.",
            positions=len(at),
            images=len(instances),
        )
    crowded = [same for same in at.values() if len(same) > 1]
    for same, alike in zip(crowded, all_same([instances[i] for i in same] for same in crowded), strict=True):
        if not alike:
            raise Refused(
                "duplicate-position",
                "Two images of the series lie at the same position with different pixels; which of them is meant "
                "cannot be known.",
                position_mm=round(float(along[same[0]]), 3),
            )
    left_out = len(instances) - len(kept)
    return kept, (
        Caution("duplicate-position", f"{left_out} image(s) repeat the position and pixels of another; left out."),
    )


def _slice_step(positions: FloatArray, plane: _Plane, *, may_regrid: bool) -> tuple[FloatArray, Regrid | None]:
    """The vector from one slice to the next, mm, and how the slices come onto the grid where they do not lie on it."""
    normal = plane.normal
    along = positions @ normal
    distances = np.diff(along)
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    _refuse_missing(along, distances, usual)
    step: FloatArray = (positions[-1] - positions[0]) / (len(positions) - 1)
    drift_mm = float(np.linalg.norm(step - normal * (step @ normal))) * len(distances)
    sheared = drift_mm > max(SHEAR_TOLERANCE * float(along[-1] - along[0]), POSITION_TOLERANCE_MM)
    if sheared and not may_regrid:
        raise Refused(
            "sheared-stack",
            "The slices are not stacked along their normal, as with a tilted gantry; only CT is brought onto an "
            "upright grid, PET is never interpolated. Send a reformatted, untilted series.",
            step_mm=step.round(4).tolist(),
            normal=normal.round(6).tolist(),
        )
    off_grid = positions - (positions[0] + np.arange(len(positions))[:, None] * step)
    worst = float(np.linalg.norm(off_grid, axis=1).max())
    if not sheared and worst <= POSITION_TOLERANCE_MM:
        return step, None
    if not may_regrid:
        raise Refused(
            "irregular-spacing",
            f"The slices are not evenly spaced: one lies {worst:.2f} mm off its place (at most "
            f"{POSITION_TOLERANCE_MM} mm is allowed; PET is never interpolated).",
            distances_mm=sorted({round(float(d), 3) for d in distances})[:16],
        )
    plan = _regrid(positions, plane, usual)
    return normal * plan.spacing_mm, plan


def _regrid(positions: FloatArray, plane: _Plane, usual: float) -> Regrid:
    along = positions @ plane.normal
    line = (positions[-1] - positions[0]) / (along[-1] - along[0])  # per mm along the normal
    off_line = positions - positions[0] - np.outer(along - along[0], line)
    tilt_deg = float(np.degrees(np.arccos(1.0 / max(1.0, float(np.linalg.norm(line))))))
    check_line(tilt_deg, float(np.linalg.norm(off_line, axis=1).max()))
    check_gaps(np.diff(along), usual)
    moved = positions - positions[0] - np.outer(along - along[0], plane.normal)
    in_plane = plane.pixels(moved if np.linalg.norm(moved, axis=1).max() > POSITION_TOLERANCE_MM else 0 * moved)
    return regrid(along, in_plane, plane.size, POSITION_TOLERANCE_MM)


def _refuse_missing(along: FloatArray, distances: FloatArray, usual: float) -> None:
    """A gap where whole slices would fit in: one of the usual steps, or all distances are of one finer step."""
    for unit in (usual, float(distances.min())):
        steps = np.rint(distances / unit)
        whole = np.abs(distances - steps * unit) <= GAP_TOLERANCE * unit
        gaps = np.flatnonzero((steps > 1) & whole)
        if not gaps.size or not (unit == usual or whole.all()):
            continue
        count = int(steps[gaps].sum()) - len(gaps)
        missing = [float(along[g] + unit * n) for g in gaps for n in range(1, min(int(steps[g]), 65))]
        raise Refused(
            "missing-slices",
            f"The slices lie {unit:.2f} mm apart, but there is a gap where {count} more should be. "
            "Send the whole series.",
            missing_along_normal_mm=[round(m, 3) for m in missing[:64]],
            spacing_mm=round(unit, 4),
        )


def _check_size(shape: tuple[int, int, int]) -> None:
    if prod(shape) > MOST_VOXELS:
        raise Refused("too-large", f"The volume has {prod(shape)} voxels; at most {MOST_VOXELS} are read.", shape=shape)


def _geometry_cautions(instances: Sequence[Instance], plan: Regrid | None) -> tuple[Caution, ...]:
    if plan is not None:
        return plan.cautions
    most = max(abs(number(i.attributes, "GantryDetectorTilt") or 0.0) for i in instances)
    text = (
        f"Gantry/Detector Tilt (0018,1120) is {most:g} degrees, but the slices are stacked along their normal: "
        "taken as reformatted, with positions and orientation as they are stated."
    )
    contradicted = instances[0].modality == "CT" and most >= 0.5
    return (Caution("gantry-tilt-not-in-positions", text),) if contradicted else ()


ALWAYS_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51))  # JPEG Baseline and Extended
PERHAPS_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (81, 91, 203))  # JPEG-LS, JPEG 2000, HTJ2K


def _lossy(instances: Sequence[Instance]) -> tuple[Caution, ...]:
    count = sum(map(may_be_lossy, instances))
    text = (
        f"{count} {instances[0].modality} image(s) were lossily compressed, or do not say that they were not: their "
        "values may not be the measured ones."
    )
    return (Caution("lossy-compression", text),) if count else ()


def may_be_lossy(instance: Instance) -> bool:
    """Lossy once is lossy for ever (PS3.3 C.7.6.1.1.5); silent images are judged by their transfer syntax."""
    stated, syntax = str(instance.get("LossyImageCompression", "")), instance.transfer_syntax_uid
    return stated == "01" or syntax in ALWAYS_LOSSY or (syntax in PERHAPS_LOSSY and stated != "00")
