"""Regions that a human drew (RTSTRUCT, SEG) as voxels of an image grid, placed by position and Frame of Reference.

References to image UIDs are not used for placing: in the field they often point to instances that do not exist.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from inference.contour import filled, planes_of
from inference.facts import Caution, FloatArray, Instance, Refused, Region, Volume
from inference.resample import resample

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
# Contours whose points leave their plane by more than this part of a slice were drawn on an image tilted to ours.
OUT_OF_PLANE = 0.1
TUMOUR = re.compile(r"gtv|tumou?r|neoplasm|lesion|mass|primary|metasta|node|cancer|carcinoma|sarcoma|lymphoma", re.I)
# Names that planning systems give to margins and outlines, whatever else stands in them ("PTV tumour").
PLANNING_AID = re.compile(r"^[\W_]*((ptv|ctv|itv|prv|oar)(?![a-z])|(external|body|skin|couch|bolus)\W*$)", re.I)
# RT ROI Interpreted Types (PS3.3 C.8.8.8.1) that are no tumour: organs, margins, aids of planning.
NOT_A_TUMOUR = frozenset(
    [
        "EXTERNAL",
        "PTV",
        "CTV",
        "TREATED_VOLUME",
        "IRRAD_VOLUME",
        "BOLUS",
        "AVOIDANCE",
        "ORGAN",
        "MARKER",
        "REGISTRATION",
        "ISOCENTER",
        "CONTRAST_AGENT",
        "CAVITY",
        "BRACHY_CHANNEL",
        "BRACHY_ACCESSORY",
        "BRACHY_SRC_APP",
        "BRACHY_CHNL_SHLD",
        "SUPPORT",
        "FIXATION",
        "DOSE_REGION",
        "DOSE_MEASUREMENT",
        "CONTROL",
    ]
)


@dataclass(frozen=True, slots=True)
class GivenRegion:
    """A named region of the sender's.  ``source``: "RTSTRUCT" or "SEG".

    ``on_ct``: the same on the grid of the CT, None where that was not asked for or cannot be had.
    ``kind``: RT ROI Interpreted Type (3006,00A4), or the meaning of the Segmented Property Type; "" where not stated.
    """

    name: str
    region: Region
    source: str
    kind: str = ""
    cautions: tuple[Caution, ...] = ()
    on_ct: Region | None = None


def given_regions(
    instance: Instance, grid: Volume, present: Collection[str] = (), ct: Volume | None = None
) -> tuple[GivenRegion, ...]:
    """The regions of an RTSTRUCT or a binary SEG on ``grid``, in the object's order, those without a voxel left out.

    With ``ct`` on the CT's grid too, so that HU are of what was drawn and not of the PET voxels that stand for it.

    A voxel belongs to a region when its centre lies inside (even-odd rule over all contours of a plane; nearest voxel
    of a SEG).  ``present``: SOP Instance UIDs of the pair's images; an RTSTRUCT that refers to others gets a caution.
    Raises ``Refused`` where the object is neither, has another Frame of Reference, was made by an algorithm, or holds
    nothing on the grid.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    if instance.sop_class_uid not in (RTSTRUCT, SEG):
        raise Refused("region-unsupported", "A region must be an RT Structure Set or a Segmentation object.")
    try:
        dataset = pydicom.dcmread(instance.path)
        structures = instance.sop_class_uid == RTSTRUCT
        regions = _from_structures(dataset, grid, present, ct) if structures else _from_segmentation(dataset, grid, ct)
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RuntimeError,
        OSError,
        EOFError,
        InvalidDicomError,
    ) as fault:
        raise Refused(
            "region-unreadable",
            f"The region's object is malformed ({type(fault).__name__}) and cannot be placed in the PET. "
            "Export it again, or leave it out.",
            sop_instance_uid=instance.sop_instance_uid,
        ) from None
    found = tuple(r for r in regions if r.region.mask.any())
    if not found:
        raise Refused(
            "region-outside-image",
            "The RTSTRUCT or SEG of this study marks no voxel of the PET: it is empty or lies elsewhere.",
            regions=len(regions),
        )
    return found


def lesions_among(given: Sequence[GivenRegion]) -> tuple[tuple[GivenRegion, ...], tuple[Caution, ...]]:
    """The given regions that are tumours, in their order; what is plainly something else is left out, and said.

    A region is a tumour by its name or type (GTV, tumour, lesion, …), or by being the only one that is not an organ or
    a planning aid.  Raises ``Refused`` where several are left and none says that it is a tumour.
    """
    possible = [g for g in given if g.kind.upper() not in NOT_A_TUMOUR and not PLANNING_AID.match(g.name)]
    named = [g for g in possible if TUMOUR.search(g.name) or TUMOUR.search(g.kind)]
    chosen = tuple(named or possible)
    if not chosen or (len(chosen) > 1 and not named):
        raise Refused(
            "region-ambiguous",
            f"The study's region object has {len(given)} regions and none is named as a tumour (GTV, tumour, lesion); "
            "which one is meant cannot be known. Name it so, or send only that one.",
            regions=len(given),
        )
    cautions = []
    if left_out := len(given) - len(chosen):
        text = f"{left_out} region(s) of the RTSTRUCT or SEG are not named as a tumour and were not measured."
        cautions.append(Caution("regions-set-aside", text))
    if not named:
        text = "The region taken is named neither as a tumour nor as anything else; that it is the lesion is assumed."
        cautions.append(Caution("region-not-named-tumour", text))
    return chosen, tuple(cautions)


def _from_structures(dataset: Any, grid: Volume, present: Collection[str], ct: Volume | None) -> list[GivenRegion]:
    names = {int(s.ROINumber): s for s in dataset.get("StructureSetROISequence", [])}
    kinds = {
        int(o.ReferencedROINumber): str(o.get("RTROIInterpretedType", ""))
        for o in dataset.get("RTROIObservationsSequence", [])
    }
    regions = []
    for roi in dataset.get("ROIContourSequence", []):
        number = int(roi.ReferencedROINumber)
        contours = _closed_contours(roi)
        if number not in names or not contours:
            continue
        frame = str(names[number].get("ReferencedFrameOfReferenceUID", ""))
        _check_frame_of_reference(frame, grid)
        region = _voxels_inside(contours, grid)
        if region is None:
            raise Refused(
                "contours-not-in-plane",
                "The contours are not parallel to the slices of the PET; this version does not read them.",
            )
        on_ct = _voxels_inside(contours, ct) if ct is not None else None
        name = str(names[number].get("ROIName", "")) or f"ROI {number}"
        cautions = (*_dangling(roi, present), *_beyond(np.concatenate(contours), grid))
        regions.append(GivenRegion(name, region, "RTSTRUCT", kinds.get(number, ""), cautions, on_ct))
    return regions


def _dangling(roi: Any, present: Collection[str]) -> tuple[Caution, ...]:
    """A caution where contours name images that are not among those ``present``."""
    named = {
        str(image.ReferencedSOPInstanceUID)
        for contour in roi.ContourSequence
        for image in contour.get("ContourImageSequence", [])
    }
    absent = len(named - set(present)) if present else 0
    text = (
        f"The RTSTRUCT refers to {absent} image(s) that are not among those analysed; its contours were placed by "
        "position and Frame of Reference."
    )
    return (Caution("region-references-absent", text),) if absent else ()


def _beyond(points_lps_mm: FloatArray, grid: Volume) -> tuple[Caution, ...]:
    """A caution where points (n, 3) of a region lie outside the voxels of ``grid``: only a part of it is measured."""
    index = grid.to_index(points_lps_mm)
    text = "The given region reaches beyond the PET: only its part inside the PET was measured."
    outside = (index < -0.5 - 1e-6).any() or (index > np.array(grid.array.shape) - 0.5 + 1e-6).any()
    return (Caution("region-beyond-pet", text),) if outside else ()


def _closed_contours(roi: Any) -> list[FloatArray]:
    """The closed planar contours of a ROI, each (points, 3) in LPS mm."""
    contours = []
    for contour in roi.get("ContourSequence", []):
        if str(contour.get("ContourGeometricType", "")) not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
            continue
        flat = np.array(contour.get("ContourData") or [], float)
        if flat.size % 3 or not np.isfinite(flat).all():
            raise Refused("contour-malformed", "Contour Data (3006,0050) is not triplets of numbers.")
        if flat.size >= 9:
            contours.append(flat.reshape(-1, 3))
    return contours


def _voxels_inside(contours: Sequence[FloatArray], grid: Volume) -> Region | None:
    """Each slice takes the contours of the nearest contour plane, no farther than half the distance between planes.

    None where the contours are not parallel to the slices of ``grid``.
    """
    indexed = [grid.to_index(points) for points in contours]
    if any(np.ptp(points[:, 0]) > OUT_OF_PLANE for points in indexed):
        return None
    planes, spacing = planes_of(indexed)
    reach = spacing / 2 + 1e-6
    start, shape = _box(np.concatenate(indexed), (reach, 0.0, 0.0), grid)
    inside = np.zeros(shape, bool)
    for k in range(shape[0]):
        nearest = min(planes, key=lambda plane: (abs(plane - start[0] - k), plane))
        if abs(nearest - start[0] - k) <= reach:
            inside[k] = filled([polygon - start[1:] for polygon in planes[nearest]], shape[1:])
    return Region.of(inside).moved(start)


def _box(
    points: FloatArray, reach: tuple[float, float, float], grid: Volume
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """First index and shape of the part of ``grid`` that holds the index ``points`` and what lies within ``reach``."""
    size = grid.array.shape
    low = np.ceil(points.min(axis=0) - reach).clip(0, size).astype(int)
    high = (np.floor(points.max(axis=0) + reach) + 1).clip(low, size).astype(int)
    (k, r, c), (slices, rows, columns) = low.tolist(), (high - low).tolist()
    return (k, r, c), (slices, rows, columns)


def _from_segmentation(dataset: Any, grid: Volume, ct: Volume | None) -> list[GivenRegion]:
    import highdicom

    if str(dataset.get("SegmentationType", "")) != "BINARY":
        raise Refused("segmentation-not-binary", "Only binary segmentations are read as a region.")
    if any(str(s.get("SegmentAlgorithmType", "")) == "AUTOMATIC" for s in dataset.SegmentSequence):
        raise Refused(
            "segmentation-automatic",
            "The segmentation was made by an algorithm (Segment Algorithm Type AUTOMATIC); it is not a human's region.",
        )
    _check_frame_of_reference(str(dataset.get("FrameOfReferenceUID", "")), grid)
    segmentation = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
    return [_segment(segmentation, int(s.SegmentNumber), grid, ct) for s in dataset.SegmentSequence]


def _segment(segmentation: Any, number: int, grid: Volume, ct: Volume | None) -> GivenRegion:
    """One segment by its own geometry; highdicom's affines are also of (slice, row, column) to LPS mm."""
    described = segmentation.get_segment_description(number)
    volume = segmentation.get_volume(segment_numbers=[number], combine_segments=True, allow_missing_positions=True)
    own = Volume(np.asarray(volume.array) > 0, np.asarray(volume.affine, float), grid.frame_of_reference_uid)
    name, kind = str(described.segment_label), str(described.segmented_property_type.meaning)
    on_ct = _nearest_voxels(own, ct) if ct is not None else None
    cautions = _beyond(own.to_lps(np.argwhere(own.array)), grid)
    return GivenRegion(name, _nearest_voxels(own, grid), "SEG", kind, cautions, on_ct)


def _nearest_voxels(own: Volume, grid: Volume) -> Region:
    """The voxels of ``grid`` whose centre lies in a voxel of the mask ``own``."""
    corners = list(product(*((-0.5, n - 0.5) for n in own.array.shape)))
    start, shape = _box(grid.to_index(own.to_lps(corners)), (1.0, 1.0, 1.0), grid)
    if 0 in shape:
        return Region.of(np.zeros(shape, bool))
    return Region.of(resample(own, grid.part_affine(start), shape, order=0).astype(bool)).moved(start)


def _check_frame_of_reference(found: str, grid: Volume) -> None:
    if found != grid.frame_of_reference_uid:
        raise Refused(
            "region-frame-of-reference-differs",
            "The region's Frame of Reference is not that of the PET; where it lies in the PET is unknown.",
            expected=grid.frame_of_reference_uid,
            found=found,
        )
