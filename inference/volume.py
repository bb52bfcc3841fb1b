"""One regular stack out of the instances of a series, from positions and orientations alone.

Nothing here trusts Instance Number, Slice Location or Slice Thickness; order and spacing come from Image Position
(Patient) and Image Orientation (Patient), DICOM PS3.3 C.7.6.2.  Pixels are read only where two instances share a place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.facts import Caution, FloatArray, Instance, Refused
from inference.header import listed, whole

# Scanners round positions to a tenth of a millimetre at worst; a slice farther off its place is not on the grid.
POSITION_TOLERANCE_MM = 0.1
# Orientation is written with four decimals at worst; 1e-4 turns a slice 500 mm wide by 0.05 mm.
ORIENTATION_TOLERANCE = 1e-4
# In-plane drift per millimetre along the normal (0.06 degrees); a real gantry tilt is tens of times larger.
SHEAR_TOLERANCE = 1e-3
# Pixel spacing is one number for the whole volume: only the last written digit may differ.
SPACING_RELATIVE_TOLERANCE = 1e-4
# A distance that is a whole number of usual ones within this part of one has slices missing; any other is irregular.
GAP_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Stack:
    """The slices of one regular volume.

    ``instances``: ascending along the slice normal (row cosines × column cosines).  ``affine``: 4×4, (slice, row,
    column, 1) → LPS mm at voxel centres.  ``shape``: (slices, rows, columns).  ``spacing_mm`` in the same order.
    """

    instances: tuple[Instance, ...]
    affine: FloatArray
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    frame_of_reference_uid: str
    cautions: tuple[Caution, ...] = ()


def stack(instances: Sequence[Instance]) -> Stack:
    """Order single-frame instances of one series, in any order of arrival, into a regular stack.

    Raises ``Refused`` where they are not one regular, unsheared, complete volume of one time: the code says which.
    """
    unique, cautions = _without_repeats(instances)
    _refuse_unreadable_kinds(unique)
    frame_of_reference_uid = _frame_of_reference(unique)
    rows, columns = _size(unique)
    positions = _numbers(unique, "ImagePositionPatient", 3)
    row_cosines, column_cosines, normal = _orientation(_numbers(unique, "ImageOrientationPatient", 6))
    pixel_spacing_mm = _pixel_spacing(_numbers(unique, "PixelSpacing", 2))

    along = positions @ normal
    kept, duplicates = _one_per_position(unique, along)
    if len(kept) < 2:
        raise Refused(
            "single-slice",
            "There is one slice only; a volume needs at least two. Send the whole series.",
            slices=len(kept),
        )
    step = _slice_step(positions[kept], along[kept], normal)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([step, column_cosines * pixel_spacing_mm[0], row_cosines * pixel_spacing_mm[1]])
    affine[:3, 3] = positions[kept[0]]
    chosen = tuple(unique[i] for i in kept)
    return Stack(
        instances=chosen,
        affine=affine,
        spacing_mm=(float(np.linalg.norm(step)), float(pixel_spacing_mm[0]), float(pixel_spacing_mm[1])),
        shape=(len(chosen), rows, columns),
        frame_of_reference_uid=frame_of_reference_uid,
        cautions=(*cautions, *duplicates, *_lossy(chosen)),
    )


def _without_repeats(instances: Sequence[Instance]) -> tuple[list[Instance], tuple[Caution, ...]]:
    """Each SOP Instance UID once, in the order of UIDs, so that the order of arrival decides nothing."""
    if not instances:
        raise Refused("no-images", "The series has no images.")
    by_uid: dict[str, Instance] = {}
    for instance in sorted(instances, key=lambda i: (i.sop_instance_uid, i.path)):
        first = by_uid.setdefault(instance.sop_instance_uid, instance)
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


def _refuse_unreadable_kinds(instances: Sequence[Instance]) -> None:
    for instance in instances:
        if whole(instance, "NumberOfFrames", 1) > 1 or instance.sop_class_uid in MULTIFRAME_CLASSES:
            from pydicom.uid import UID

            raise Refused(
                "multiframe-unsupported",
                f"{UID(instance.sop_class_uid).name} is a multi-frame object, which this version does not read. "
                "Send the series as single-frame images.",
                sop_class_uid=instance.sop_class_uid,
            )
        kind = str((listed(instance.get("SeriesType")) or [""])[0]).upper()
        if kind in ("DYNAMIC", "GATED") or whole(instance, "NumberOfTimeSlices", 1) > 1:
            raise Refused(
                "dynamic-series",
                "The PET series is dynamic or gated; an SUV volume is made from a static or whole-body series only.",
                series_type=kind,
                time_slices=instance.get("NumberOfTimeSlices", 1),
            )


# Enhanced CT, Legacy Converted Enhanced CT, Enhanced PET, Legacy Converted Enhanced PET.
MULTIFRAME_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2.1",
        "1.2.840.10008.5.1.4.1.1.2.2",
        "1.2.840.10008.5.1.4.1.1.130",
        "1.2.840.10008.5.1.4.1.1.128.1",
    }
)


def _frame_of_reference(instances: Sequence[Instance]) -> str:
    found = {str(i.get("FrameOfReferenceUID", "")) for i in instances}
    if "" in found:
        raise Refused(
            "frame-of-reference-missing",
            "Frame of Reference UID (0020,0052) is missing; the place of the images relative to others is unknown.",
        )
    if len(found) > 1:
        raise Refused(
            "frame-of-reference-mixed",
            "The images of one series name different Frames of Reference; they are not one volume.",
            found=sorted(found),
        )
    return found.pop()


def _size(instances: Sequence[Instance]) -> tuple[int, int]:
    sizes = Counter((whole(i, "Rows", 0), whole(i, "Columns", 0)) for i in instances)
    if len(sizes) > 1 or min(next(iter(sizes))) <= 0:
        raise Refused(
            "image-size-mixed",
            "Rows and Columns are missing or differ within the series; it is not one volume.",
            found={f"{r} x {c}": n for (r, c), n in sizes.items()},
        )
    return next(iter(sizes))


GEOMETRY = {
    "ImagePositionPatient": ("position-missing", "Image Position (Patient) (0020,0032)"),
    "ImageOrientationPatient": ("orientation-missing", "Image Orientation (Patient) (0020,0037)"),
    "PixelSpacing": ("pixel-spacing-missing", "Pixel Spacing (0028,0030)"),
}


def _numbers(instances: Sequence[Instance], keyword: str, count: int) -> FloatArray:
    """The attribute of all instances as (instances, count) numbers."""
    code, name = GEOMETRY[keyword]
    values = [listed(i.get(keyword)) for i in instances]
    lacking = sum(len(v) != count for v in values)
    try:
        numbers = np.array([[float(n) for n in v] for v in values if len(v) == count]).reshape(-1, count)
    except (TypeError, ValueError):
        lacking, numbers = len(values), np.empty((0, count))
    if lacking or not np.isfinite(numbers).all():
        raise Refused(
            code,
            f"{name} is missing or is not {count} numbers; without it the images cannot be placed in the patient.",
            instances=lacking,
        )
    return numbers


def _orientation(cosines: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The one orientation of all slices: unit vectors along rows (growing column), columns (growing row), normal."""
    usual = np.median(cosines, axis=0)
    strayed = int((np.abs(cosines - usual).max(axis=1) > ORIENTATION_TOLERANCE).sum())
    if strayed:
        raise Refused(
            "orientation-mixed",
            "The images of the series do not all have one orientation (a localizer, or a reformat?); it is not one "
            "volume. Send the volume as a series of its own.",
            different=strayed,
            of=len(cosines),
        )
    row, column = usual[:3], usual[3:]
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or abs(row @ column) > 1e-3:
        raise Refused(
            "orientation-invalid",
            "Image Orientation (Patient) is not two perpendicular unit vectors.",
            found=usual.tolist(),
        )
    row = row / lengths[0]
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return row, np.cross(normal, row), normal


def _pixel_spacing(spacings: FloatArray) -> FloatArray:
    """Distance between rows and between columns, mm, the same for all slices."""
    usual = np.median(spacings, axis=0)
    if (spacings <= 0).any() or np.abs(spacings / usual - 1).max() > SPACING_RELATIVE_TOLERANCE:
        raise Refused(
            "pixel-spacing-mixed",
            "Pixel Spacing is not positive or differs between the images of the series; it is not one volume.",
            found_mm=sorted({tuple(s) for s in spacings.tolist()})[:8],
        )
    return usual


def _one_per_position(instances: Sequence[Instance], along: FloatArray) -> tuple[list[int], tuple[Caution, ...]]:
    """Indices in ascending position, one per place; copies with the same pixels are left out with a caution."""
    order = np.argsort(along, kind="stable")
    places = np.concatenate([[0], np.cumsum(np.diff(along[order]) > POSITION_TOLERANCE_MM)])
    at: dict[int, list[int]] = defaultdict(list)
    for place, index in zip(places.tolist(), order.tolist(), strict=True):
        at[place].append(index)
    kept = [min(same, key=lambda i: instances[i].sop_instance_uid) for same in at.values()]
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
    from inference.pixels import same_values

    for keep, same in zip(kept, at.values(), strict=True):
        if not all(same_values(instances[keep], instances[i]) for i in same if i != keep):
            raise Refused(
                "duplicate-position",
                "Two images of the series lie at the same position with different pixels; which of them is meant "
                "cannot be known.",
                position_mm=round(float(along[keep]), 3),
            )
    left_out = len(instances) - len(kept)
    return kept, (
        Caution("duplicate-position", f"{left_out} image(s) repeat the position and pixels of another; left out."),
    )


def _slice_step(positions: FloatArray, along: FloatArray, normal: FloatArray) -> FloatArray:
    """The vector from one slice to the next, mm, the same between all slices; ``positions`` ascend along ``normal``."""
    distances = np.diff(along)
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    steps = np.rint(distances / usual)
    gaps = np.flatnonzero((steps > 1) & (np.abs(distances - steps * usual) <= GAP_TOLERANCE * usual))
    step: FloatArray = (positions[-1] - positions[0]) / (len(positions) - 1)
    if gaps.size:
        missing = [round(float(along[g] + usual * n), 3) for g in gaps for n in range(1, int(steps[g]))]
        raise Refused(
            "missing-slices",
            f"The slices lie {usual:.2f} mm apart, but there is a gap where {len(missing)} more should be. "
            "Send the whole series.",
            missing_along_normal_mm=missing[:64],
            spacing_mm=round(usual, 4),
        )
    if np.linalg.norm(step - normal * (step @ normal)) > SHEAR_TOLERANCE * (step @ normal):
        raise Refused(
            "sheared-stack",
            "The slices are not stacked along their normal (gantry tilt); this version does not read sheared volumes. "
            "Send a reformatted, untilted series.",
            step_mm=step.round(4).tolist(),
            normal=normal.round(6).tolist(),
        )
    off_grid = positions - (positions[0] + np.arange(len(positions))[:, None] * step)
    worst = float(np.linalg.norm(off_grid, axis=1).max())
    if worst > POSITION_TOLERANCE_MM:
        raise Refused(
            "irregular-spacing",
            f"The slices are not evenly spaced: one lies {worst:.2f} mm off its place (at most "
            f"{POSITION_TOLERANCE_MM} mm is allowed).",
            distances_mm=sorted({round(float(d), 3) for d in distances})[:16],
        )
    return step


ALWAYS_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51))  # JPEG Baseline and Extended
PERHAPS_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (81, 91, 203))  # JPEG-LS, JPEG 2000, HTJ2K


def _lossy(instances: Sequence[Instance]) -> tuple[Caution, ...]:
    count = sum(map(_may_be_lossy, instances))
    text = (
        f"{count} {instances[0].modality} image(s) were lossily compressed, or do not say that they were not: their "
        "values may not be the measured ones."
    )
    return (Caution("lossy-compression", text),) if count else ()


def _may_be_lossy(instance: Instance) -> bool:
    """Lossy once is lossy for ever (PS3.3 C.7.6.1.1.5); silent images are judged by their transfer syntax."""
    stated, syntax = str(instance.get("LossyImageCompression", "")), instance.transfer_syntax_uid
    return stated == "01" or syntax in ALWAYS_LOSSY or (syntax in PERHAPS_LOSSY and stated != "00")
