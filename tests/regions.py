"""Region objects made for tests: structure sets with any ROIs, segmentations of every kind on any grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from inference.facts import Instance, Volume
from inference.reading.instance import read_instance
from inference.regions.structures import RTSTRUCT
from tests.images import CT_IMAGE, FRAME, UID


@dataclass(frozen=True)
class Roi:
    """One ROI; ``contours``: flat x, y, z in LPS mm, each CLOSED_PLANAR unless ``kinds`` says otherwise."""

    name: str
    contours: Sequence[Sequence[float]] = ()
    kind: str = ""
    frame: str = FRAME
    algorithm: str = ""
    kinds: Sequence[str] = field(default=())


def structure_set(path: Path, rois: Sequence[Roi]) -> Instance:
    """An RTSTRUCT file with these ROIs, numbered from 1."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RTSTRUCT
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID + "1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = UID + "2", UID + "3", "RTSTRUCT"
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    for number, told in enumerate(rois, 1):
        structure, roi, observation = Dataset(), Dataset(), Dataset()
        structure.ROINumber, structure.ROIName = number, told.name
        structure.ReferencedFrameOfReferenceUID, structure.ROIGenerationAlgorithm = told.frame, told.algorithm
        roi.ReferencedROINumber, roi.ContourSequence = number, []
        for n, points in enumerate(told.contours):
            contour = Dataset()
            contour.ContourGeometricType = told.kinds[n] if told.kinds else "CLOSED_PLANAR"
            contour.ContourData, contour.NumberOfContourPoints = [float(p) for p in points], len(points) // 3
            roi.ContourSequence.append(contour)
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = told.kind
        ds.StructureSetROISequence.append(structure)
        ds.ROIContourSequence.append(roi)
        ds.RTROIObservationsSequence.append(observation)
    ds.save_as(path, enforce_file_format=True)
    return read_instance(path)


def segment(number: int, label: str = "Tumour", algorithm: str = "MANUAL", **codes_: Any) -> hd.seg.SegmentDescription:
    """How a segment is described; ``category`` and ``type_`` are SNOMED codes, of a neoplasm unless given."""
    program = hd.AlgorithmIdentificationSequence("x", codes.DCM.ArtificialIntelligence, "1")
    return hd.seg.SegmentDescription(
        number,
        label,
        codes_.get("category", codes.SCT.MorphologicallyAbnormalStructure),
        codes_.get("type_", codes.SCT.Neoplasm),
        algorithm,
        None if algorithm == "MANUAL" else program,
    )


def segmentation(
    path: Path,
    own: Volume,
    segments: Sequence[hd.seg.SegmentDescription],
    kind: str = "BINARY",
    **options: Any,
) -> hd.seg.Segmentation:
    """A SEG file on the grid of ``own``, whose array is (slice, row, column) or has segments last."""
    pixels = hd.Volume(
        own.array, own.affine, "PATIENT", own.frame_of_reference_uid,
        channels={"SegmentNumber": [int(s.SegmentNumber) for s in segments]} if own.array.ndim == 4 else None,
    )  # fmt: skip
    seg = hd.seg.Segmentation(
        [_source(own.frame_of_reference_uid)],
        pixels,
        kind,
        list(segments),
        UID + "11",
        1,
        UID + "12",
        1,
        "maker",
        "model",
        "1",
        "1",
        **options,
    )
    seg.save_as(path)
    return seg


def _source(frame: str) -> Dataset:
    """An image that says whose the segmentation is and in which Frame of Reference."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CT_IMAGE, UID + "13"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = UID + "2", UID + "14", frame
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "P", "N^", "", ""
    ds.StudyID, ds.AccessionNumber, ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "", "", "", "", ""
    ds.Modality, ds.PositionReferenceIndicator = "CT", ""
    ds.Rows = ds.Columns = 4
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    return ds


def as_mask(shape: tuple[int, ...], *boxes: tuple[slice, ...]) -> np.ndarray[Any, Any]:
    """uint8, 1 inside the boxes."""
    mask = np.zeros(shape, np.uint8)
    for box in boxes:
        mask[box] = 1
    return mask
