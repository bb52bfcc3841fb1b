"""Image instances made in memory or on disk, with just the header that geometry, SUV and pixels need."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from inference.facts import Instance, Volume
from inference.reading.instance import read_instance
from inference.regions.structures import RTSTRUCT

CT_IMAGE, PET_IMAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
FRAME = "1.2.3.4"
UID = "1.2.826.0.1.3680043.8.498."
WEIGHT_KG, DOSE_BQ, HALF_LIFE_S = 70.0, 350e6, 6586.2


def image(number: int, position: Sequence[float], modality: str = "CT", **attributes: Any) -> Instance:
    """One axial 4 × 5 image of 2 mm pixels without pixel data; ``attributes`` replace or, with ``None``, empty."""
    header: dict[str, Any] = {
        "Rows": 4,
        "Columns": 5,
        "SamplesPerPixel": 1,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "FrameOfReferenceUID": FRAME,
        "ImagePositionPatient": [float(p) for p in position],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "PixelSpacing": [2.0, 2.0],
        "RescaleSlope": 1.0,
        "RescaleIntercept": 0.0,
    }
    if modality == "PT":
        header |= pet_header()
    header |= attributes
    uid = f"1.2.3.{number}"
    kind = CT_IMAGE if modality == "CT" else PET_IMAGE
    sha256 = hashlib.sha256(f"{uid} {header}".encode()).hexdigest()
    return Instance("", sha256, kind, uid, "1.2.3", "1.2.4", EXPLICIT_LITTLE_ENDIAN, modality, 0, 0, header)


def pet_header() -> dict[str, Any]:
    """Bq/ml, decay-corrected to the start of a scan one hour after the injection of F-18."""
    injection = {
        "RadiopharmaceuticalStartTime": "100000",
        "RadionuclideTotalDose": DOSE_BQ,
        "RadionuclideHalfLife": HALF_LIFE_S,
        "RadionuclideCodeSequence": [{"CodeValue": "C-111A1", "CodingSchemeDesignator": "SRT"}],
    }
    return {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["ATTN", "NORM", "DECY"],
        "SeriesType": ["STATIC", "IMAGE"],
        "PatientWeight": WEIGHT_KG,
        "SeriesDate": "20260101",
        "SeriesTime": "110000",
        "AcquisitionDate": "20260101",
        "AcquisitionTime": "110000",
        "FrameReferenceTime": 0.0,
        "ActualFrameDuration": 180000,
        "RadiopharmaceuticalInformationSequence": [injection],
    }


def with_pixels(instance: Instance, values: np.ndarray[Any, Any], folder: Path) -> Instance:
    """The instance with ``values`` raw in a file of its own, some bytes into it and with some behind."""
    path = folder / instance.sop_instance_uid
    path.write_bytes(b"header" + values.tobytes() + b"tail")
    return Instance(
        str(path),
        instance.sha256,
        instance.sop_class_uid,
        instance.sop_instance_uid,
        instance.study_instance_uid,
        instance.series_instance_uid,
        instance.transfer_syntax_uid,
        instance.modality,
        6,
        values.nbytes,
        {**instance.attributes, "Rows": values.shape[0], "Columns": values.shape[1]},
    )


def grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], fill: float = 0.0) -> Volume:
    """An axial float32 volume whose first voxel lies at the origin: slices to the head, rows to the back, left."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing_mm, 1.0
    return Volume(np.full(shape, fill, np.float32), affine, FRAME)


def ball(volume: Volume, centre_mm: Sequence[float], radius_mm: float) -> np.ndarray[Any, Any]:
    """Voxels whose centre lies within ``radius_mm`` of ``centre_mm`` (LPS), Boolean (slice, row, column)."""
    k, r, c = np.ogrid[tuple(slice(n) for n in volume.array.shape)]
    squared: Any = 0.0
    for axis, centre in enumerate(centre_mm):
        step = volume.affine[axis]
        squared = squared + (step[0] * k + step[1] * r + step[2] * c + step[3] - centre) ** 2
    return np.asarray(squared <= radius_mm**2)


def square(z: float, low: float, high: float) -> list[float]:
    """A square contour in the plane z, from ``low`` to ``high`` in x and y."""
    return [low, low, z, high, low, z, high, high, z, low, high, z]


def structures(
    path: Path,
    contours: Sequence[Sequence[float]],
    *,
    frame: str = FRAME,
    name: str = "GTV",
    kind: str = "CLOSED_PLANAR",
    refers_to: str = "",
) -> Instance:
    """An RTSTRUCT file with one ROI; ``contours``: flat x, y, z in LPS mm."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RTSTRUCT
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID + "1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = UID + "2", UID + "3", "RTSTRUCT"
    structure, roi = Dataset(), Dataset()
    structure.ROINumber, structure.ROIName, structure.ReferencedFrameOfReferenceUID = 7, name, frame
    roi.ReferencedROINumber = 7
    roi.ContourSequence = []
    for points in contours:
        contour, referenced = Dataset(), Dataset()
        contour.ContourGeometricType = kind
        contour.ContourData = [float(p) for p in points]
        contour.NumberOfContourPoints = len(points) // 3
        if refers_to:
            referenced.ReferencedSOPInstanceUID = refers_to
            contour.ContourImageSequence = [referenced]
        roi.ContourSequence.append(contour)
    ds.StructureSetROISequence, ds.ROIContourSequence = [structure], [roi]
    ds.save_as(path, enforce_file_format=True)
    return read_instance(path)
