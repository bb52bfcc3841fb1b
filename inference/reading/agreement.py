"""What all images of one volume must agree on, by their headers; a series in which they do not is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from inference.facts import FloatArray, Instance, Refused
from inference.reading.header import listed, whole

# Orientation is written with four decimals at worst; 1e-4 turns a slice 500 mm wide by 0.05 mm.
ORIENTATION_TOLERANCE = 1e-4
# Pixel spacing is one number for the whole volume: only the last written digit may differ.
SPACING_RELATIVE_TOLERANCE = 1e-4
# No PET or CT has finer or coarser pixels: a number outside is a slip, and its inverse would overflow.
LEAST_PIXEL_MM, MOST_PIXEL_MM = 0.01, 100.0
# No scanner's coordinates reach farther: so is this a slip.
FARTHEST_MM = 1e5

GEOMETRY = {
    "ImagePositionPatient": ("position-missing", "Image Position (Patient) (0020,0032)"),
    "ImageOrientationPatient": ("orientation-missing", "Image Orientation (Patient) (0020,0037)"),
    "PixelSpacing": ("pixel-spacing-missing", "Pixel Spacing (0028,0030)"),
}
# One reconstruction has one of each.
OF_A_RECONSTRUCTION = {
    "ConvolutionKernel": "Convolution Kernel (0018,1210)",
    "ReconstructionMethod": "Reconstruction Method (0054,1103)",
}
# One moment has one of each; a gated PET has a trigger time for each of its phases (PS3.3 C.8.9.5).
OF_A_MOMENT = {"CT": ("TemporalPositionIdentifier",), "PT": ("TemporalPositionIdentifier", "TriggerTime")}
# These may change from one part of the body to the next (bed positions, spirals), but not to and fro.
OF_A_PART = {
    "AcquisitionNumber": "Acquisition Number (0020,0012)",
    "ImageType": "Image Type (0008,0008)",
    "KVP": "KVP (0018,0060)",
    "StackID": "Stack ID (0020,9056)",
}


def refuse_other_kinds(instances: Sequence[Instance]) -> None:
    """Only single images of a static scan are stacked, all of one reconstruction and one moment.

    Raises ``Refused``: multiframe-unsupported, dynamic-series, reconstructions-mixed.
    """
    for instance in instances:
        if whole(instance, "NumberOfFrames", 1) > 1:
            raise Refused(
                "multiframe-unsupported",
                "An image of a single-frame SOP Class states more than one frame; such an object cannot be read. Send "
                "the series as single-frame images.",
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
    for keyword in OF_A_MOMENT.get(instances[0].modality, ()):
        if len(_values(instances, keyword)) > 1:
            raise Refused(
                "dynamic-series",
                f"The images of the series are of several times or phases ({keyword} differs); a volume is made of one "
                "of them. Send it as a series of its own.",
                keyword=keyword,
            )
    for keyword, name in OF_A_RECONSTRUCTION.items():
        if len(_values(instances, keyword)) > 1:
            raise Refused(
                "reconstructions-mixed",
                f"The images of the series come from several reconstructions: {name} differs. Send each as a series "
                "of its own.",
                keyword=keyword,
            )


def refuse_interleaved(instances: Sequence[Instance]) -> None:
    """``instances`` ascend along the normal: where acquisitions lie between each other they are several volumes."""
    for keyword, name in OF_A_PART.items():
        runs = [value for value, _ in groupby(str(i.get(keyword)) for i in instances)]
        if len(runs) > len(set(runs)):
            raise Refused(
                "acquisitions-mixed",
                f"Images of several acquisitions lie between each other in one series: {name} changes to and fro "
                "along the stack. Send each acquisition as a series of its own.",
                keyword=keyword,
                changes=len(runs) - 1,
            )


def _values(instances: Sequence[Instance], keyword: str) -> set[str]:
    return {str(i.get(keyword)) for i in instances if i.get(keyword) is not None}


def frame_of_reference(instances: Sequence[Instance]) -> str:
    """The one Frame of Reference UID.  Raises ``Refused``: frame-of-reference-missing, frame-of-reference-mixed."""
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


def size(instances: Sequence[Instance]) -> tuple[int, int]:
    """The one (rows, columns).  Raises ``Refused``: image-size-mixed, value-malformed."""
    sizes = Counter((whole(i, "Rows", 0), whole(i, "Columns", 0)) for i in instances)
    if len(sizes) > 1 or min(next(iter(sizes))) <= 0:
        raise Refused(
            "image-size-mixed",
            "Rows and Columns are missing or differ within the series; it is not one volume.",
            found={f"{r} x {c}": n for (r, c), n in sizes.items()},
        )
    return next(iter(sizes))


def numbers(instances: Sequence[Instance], keyword: str, count: int) -> FloatArray:
    """The attribute of all instances as (instances, count) numbers.  Raises ``Refused`` as ``GEOMETRY`` says."""
    code, name = GEOMETRY[keyword]
    values = [listed(i.get(keyword)) for i in instances]
    lacking = sum(len(v) != count for v in values)
    try:
        found = np.array([[float(n) for n in v] for v in values if len(v) == count]).reshape(-1, count)
    except (TypeError, ValueError):
        lacking, found = len(values), np.empty((0, count))
    if lacking or not (np.abs(found) <= FARTHEST_MM).all():  # NaN is not
        raise Refused(
            code,
            f"{name} is missing or is not {count} numbers; without it the images cannot be placed in the patient.",
            instances=lacking,
        )
    return found


def orientation(cosines: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The one orientation of all slices: unit vectors along rows (growing column), columns (growing row), normal.

    Raises ``Refused``: orientation-mixed, orientation-invalid.
    """
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


def pixel_spacing(spacings: FloatArray) -> FloatArray:
    """Distance between rows and between columns, mm, the same for all slices.  Raises: pixel-spacing-mixed."""
    usual = np.median(spacings, axis=0)
    possible = spacings.min() >= LEAST_PIXEL_MM and spacings.max() <= MOST_PIXEL_MM
    if not possible or np.abs(spacings / usual - 1).max() > SPACING_RELATIVE_TOLERANCE:
        raise Refused(
            "pixel-spacing-mixed",
            f"Pixel Spacing is not between {LEAST_PIXEL_MM} and {MOST_PIXEL_MM:g} mm, or differs between the images of "
            "the series; it is not one volume.",
            found_mm=sorted({tuple(s) for s in spacings.tolist()})[:8],
        )
    return usual
