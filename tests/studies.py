"""Small PET/CT studies made in memory: what assembly sees, without a file behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from inference.facts import Instance
from tests.images import CT_IMAGE, EXPLICIT_LITTLE_ENDIAN, FRAME, PET_IMAGE, pet_header

RTSTRUCT, SEG = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.66.4"
STUDY = "1.2.826.1"
MODALITIES = {CT_IMAGE: "CT", PET_IMAGE: "PT", RTSTRUCT: "RTSTRUCT", SEG: "SEG"}
PATIENT = {"PatientID": "P1", "PatientName": "Doe^Jane", "PatientBirthDate": "19600101", "PatientSex": "F"}


def one(sop_class_uid: str, series: int, number: int, /, **attributes: Any) -> Instance:
    """An instance whose UIDs follow from series and number; an attribute given as ``...`` is left out."""
    header = {k: v for k, v in {**PATIENT, "SeriesNumber": series, **attributes}.items() if v is not ...}
    uid = f"{STUDY}.{series}.{number}"
    sha256 = hashlib.sha256(f"{uid} {sorted(header.items(), key=str)}".encode()).hexdigest()
    return Instance(
        f"{uid}.dcm", sha256, sop_class_uid, uid, STUDY, f"{STUDY}.{series}", EXPLICIT_LITTLE_ENDIAN,
        MODALITIES.get(sop_class_uid, "OT"), 0, 0, header,
    )  # fmt: skip


def plane(height_mm: float, number: int, rows: int = 8, spacing_mm: float = 4.0) -> dict[str, Any]:
    """The header of an axial slice at a height, centred on the patient's axis."""
    edge = -spacing_mm * (rows - 1) / 2
    return {
        "Rows": rows,
        "Columns": rows,
        "PixelSpacing": [spacing_mm, spacing_mm],
        "ImagePositionPatient": [edge, edge, height_mm],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "FrameOfReferenceUID": FRAME,
        "InstanceNumber": number,
        "BitsAllocated": 16,
    }


def pet(slices: int = 8, series: int = 1, start_mm: float = 0.0, **attributes: Any) -> list[Instance]:
    """An attenuation-corrected, static PET in Bq/ml, 3 mm apart, that states how many slices it has."""
    common = {**pet_header(), "ImageType": ["ORIGINAL", "PRIMARY"], "NumberOfSlices": slices, **attributes}
    return [one(PET_IMAGE, series, n, **{**plane(start_mm + 3.0 * n, n + 1), **common}) for n in range(slices)]


def ct(slices: int = 8, series: int = 2, start_mm: float = 0.0, **attributes: Any) -> list[Instance]:
    """An original axial CT, 3 mm apart, 2 mm pixels."""
    common = {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], **attributes}
    return [one(CT_IMAGE, series, n, **{**plane(start_mm + 3.0 * n, n + 1, 16, 2.0), **common}) for n in range(slices)]


def rtstruct(series: int = 3, algorithm: str = "MANUAL", frame: str = FRAME, **attributes: Any) -> Instance:
    """A structure set with one region."""
    header: Mapping[str, Any] = {
        "StructureSetROISequence": [{"ROIName": "GTV", "ROIGenerationAlgorithm": algorithm}],
        "ReferencedFrameOfReferenceSequence": [{"FrameOfReferenceUID": frame}],
        "StructureSetDate": "20260102",
        **attributes,
    }
    return one(RTSTRUCT, series, 0, **header)


def seg(series: int = 4, algorithm: str = "MANUAL", frame: str = FRAME, **attributes: Any) -> Instance:
    """A segmentation with one segment."""
    header: Mapping[str, Any] = {
        "SegmentSequence": [{"SegmentLabel": "GTV", "SegmentAlgorithmType": algorithm}],
        "FrameOfReferenceUID": frame,
        "ContentDate": "20260103",
        **attributes,
    }
    return one(SEG, series, 0, **header)
