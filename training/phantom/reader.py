"""A reader's region of a planted lesion, as an RT Structure Set (PS3.3 A.19) or a Segmentation (A.51)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from training.phantom.headers import Examination, date_of, decimal, derived_uid, patient_and_study, time_of
from training.phantom.lesion import PlantedLesion, ellipsoid_radius
from training.phantom.solids import Grid

RegionKind = Literal["RTSTRUCT", "SEG"]
ROI_NAME = "Tumour"
POINTS = 48  # of a contour


def write_region(
    file: Path, kind: RegionKind, exam: Examination, lesion: PlantedLesion, grid: Grid, images: Sequence[FileDataset]
) -> None:
    """The lesion's surface on the slices of ``images``, whose geometry is ``grid``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "SEG":
        _segmentation(exam, lesion, grid, images).save_as(file, enforce_file_format=True)
    else:
        _structure_set(exam, lesion, grid, images).save_as(file, enforce_file_format=True)


def _structure_set(exam: Examination, lesion: PlantedLesion, grid: Grid, images: Sequence[FileDataset]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, exam.uid("RTSTRUCT", 1)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = derived_uid("implementation")
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    patient_and_study(ds, exam)
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber = "RTSTRUCT", exam.uid("RTSTRUCT", "series"), 9
    ds.SeriesDescription, ds.OperatorsName, ds.InstanceNumber = "READER'S REGION (PHANTOM)", "", 1
    ds.StructureSetLabel = "TUMOUR"
    ds.StructureSetDate, ds.StructureSetTime = date_of(exam.ct_at), time_of(exam.ct_at)
    ds.ApprovalStatus = "UNAPPROVED"
    frame = str(images[0].FrameOfReferenceUID)
    ds.FrameOfReferenceUID = frame
    ds.ReferencedFrameOfReferenceSequence = [_frame(frame, images)]
    roi, observation, shown = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = 1, ROI_NAME, "MANUAL"
    roi.ReferencedFrameOfReferenceUID = frame
    observation.ObservationNumber = observation.ReferencedROINumber = 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = "GTV", ""
    shown.ReferencedROINumber, shown.ROIDisplayColor = 1, [255, 0, 0]
    shown.ContourSequence = [
        _contour(lesion, float(grid.z_mm[index]), image)
        for index, image in enumerate(images)
        if abs(grid.z_mm[index] - lesion.centre_lps_mm[2]) < lesion.semi_axes_mm[2]
    ]
    ds.StructureSetROISequence, ds.RTROIObservationsSequence, ds.ROIContourSequence = [roi], [observation], [shown]
    return ds


def _frame(uid: str, images: Sequence[FileDataset]) -> Dataset:
    """Which images the contours were drawn on (PS3.3 C.8.8.5)."""
    frame, study, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = uid
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, as the standard still asks
    study.ReferencedSOPInstanceUID = images[0].StudyInstanceUID
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ContourImageSequence = [_reference(image) for image in images]
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    return frame


def _contour(lesion: PlantedLesion, z_mm: float, image: FileDataset) -> Dataset:
    """The lesion's ellipse in the plane z."""
    (cx, cy, cz), (a, b, c) = lesion.centre_lps_mm, lesion.semi_axes_mm
    share = np.sqrt(1.0 - ((z_mm - cz) / c) ** 2)
    turn = 2.0 * np.pi * np.arange(POINTS) / POINTS
    points = np.stack([cx + a * share * np.cos(turn), cy + b * share * np.sin(turn), np.full(POINTS, z_mm)], axis=1)
    item = Dataset()
    item.ContourImageSequence = [_reference(image)]
    item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", POINTS
    item.ContourData = [decimal(round(float(v), 3)) for v in points.ravel()]
    return item


def _reference(image: FileDataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def _segmentation(exam: Examination, lesion: PlantedLesion, grid: Grid, images: Sequence[FileDataset]) -> Dataset:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    everywhere = tuple(slice(0, n) for n in grid.shape)
    mask = (ellipsoid_radius(lesion, grid.affine, everywhere) <= 1.0).astype(np.uint8)
    description = hd.seg.SegmentDescription(
        1, ROI_NAME, codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm, "MANUAL"
    )
    made: Dataset = hd.seg.Segmentation(
        list(images),
        mask,
        "BINARY",
        [description],
        exam.uid("SEG", "series"),
        9,
        exam.uid("SEG", 1),
        1,
        "SYNTHETIC",
        "Phantom reader",
        "1.0",
        "0001",
        series_description="READER'S REGION (PHANTOM)",
    )
    return made
