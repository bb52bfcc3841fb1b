"""Where the fuzzers start: small real files of every kind, made ones where the real data are absent."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.conftest import SHARED
from tests.made_series import ct_image

LONGEST = 40_000  # bytes: larger files only make each try slower
# Where among the real data every kind of header stands; the first files of each folder are enough.
FOLDERS = (
    "geometry/baseline/ct",
    "geometry/baseline/pet",
    "geometry/legacy_converted_enhanced",
    "robustness/ts_*/pet",
    "robustness/name_*/pet",
    "robustness/charset_undeclared_latin1/pet",
    "robustness/deep_nesting/pet",
    "robustness/rtstruct_references_absent",
    "robustness/pydicom_*",
    "suv/headers/*",
    "suv/real_raw/*",
    "suv/dro/DRO_0_0",
)


def header_seeds() -> list[bytes]:
    """Files, at most ``LONGEST`` bytes each."""
    return made_seeds() + [p.read_bytes() for p in real_files()]


def region_seeds() -> list[bytes]:
    """An RTSTRUCT and two SEGs."""
    return [written(structure_set()), written(segmentation()), written(segmentation(), ImplicitVRLittleEndian)]


def real_files(shared: Path = SHARED) -> list[Path]:
    """One or two small real files of each kind; none where the data are absent."""
    found = []
    for pattern in FOLDERS:
        for folder in sorted(shared.glob(pattern)):
            files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".json")
            found += [p for p in files if p.stat().st_size <= LONGEST][:2]
    return found


def made_seeds() -> list[bytes]:
    """A CT slice in four transfer syntaxes, a PET slice, an RTSTRUCT and a SEG: headers as the standard has them."""
    files = [written(ct_image(1, edge=4), syntax) for syntax in (None, *OTHERS)]
    return [*files, written(pet_image()), written(structure_set()), written(segmentation())]


OTHERS = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def written(ds: Dataset, syntax: str | None = None) -> bytes:
    buffer = io.BytesIO()
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _of_class(uid: str, modality: str) -> Dataset:
    ds = ct_image(1, edge=4)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid
    ds.Modality = modality
    return ds


def pet_image() -> Dataset:
    """A PET slice with what SUV needs, Philips' and GE's private elements too."""
    ds = _of_class("1.2.840.10008.5.1.4.1.1.128", "PT")
    code, item = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = "350000000", "6586.2"
    item.RadiopharmaceuticalStartTime, item.RadiopharmaceuticalStartDateTime = "110000", "20260101110000"
    item.RadionuclideCodeSequence = [code]
    ds.RadiopharmaceuticalInformationSequence = [item]
    ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["ATTN", "NORM", "DECY"]
    ds.SeriesType, ds.PatientWeight, ds.PatientSize = ["WHOLE BODY", "IMAGE"], "70", "1.7"
    ds.SeriesDate = ds.AcquisitionDate = "20260101"
    ds.SeriesTime = ds.AcquisitionTime = "120000"
    ds.ActualFrameDuration, ds.FrameReferenceTime, ds.NumberOfSlices = "180000", "90000", 1
    for creator, private, vr, value in (
        (0x00090010, 0x0009100D, "DT", "20260101120000"),
        (0x70530010, 0x70531000, "DS", "0.001"),
    ):
        ds.add_new(creator, "LO", "GEMS_PETD_01" if creator >> 16 == 9 else "Philips PET Private Group")
        ds.add_new(private, vr, value)
    return ds


def structure_set() -> Dataset:
    """An RTSTRUCT with one square contour."""
    ds = _of_class("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT")
    del ds.PixelData, ds.FrameOfReferenceUID
    roi, contours, contour, observation, frame = (Dataset() for _ in range(5))
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = 1, "GTV", "MANUAL"
    roi.ReferencedFrameOfReferenceUID = frame.FrameOfReferenceUID = "1.2.3.1.9"
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [0.6, 0.6, 3.27, 2.6, 0.6, 3.27, 2.6, 2.6, 3.27, 0.6, 2.6, 3.27]
    contours.ReferencedROINumber, contours.ContourSequence = 1, [contour]
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = "GTV", ""
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "label", "20260101", "120000"
    ds.StructureSetROISequence, ds.ROIContourSequence = [roi], [contours]
    ds.RTROIObservationsSequence, ds.ReferencedFrameOfReferenceSequence = [observation], [frame]
    return ds


def segmentation() -> Dataset:
    """A binary SEG of one 4 × 4 frame."""
    ds = _of_class("1.2.840.10008.5.1.4.1.1.66.4", "SEG")
    segment, shared, frame = Dataset(), Dataset(), Dataset()
    measures, orientation, position, content, names = (Dataset() for _ in range(5))
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, "GTV", "MANUAL"
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [1, 1], 3.27, 3.27
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    position.ImagePositionPatient = [0, 0, 3.27]
    content.DimensionIndexValues, names.ReferencedSegmentNumber = [1, 1], 1
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
    frame.SegmentIdentificationSequence = [names]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(ds, keyword)
    ds.SegmentationType, ds.SegmentSequence, ds.NumberOfFrames = "BINARY", [segment], 1
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], [frame]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    ds.PixelData = b"\x60\x06"
    return ds
