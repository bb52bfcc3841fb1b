"""Enhanced CT and PET objects, made of single-frame ones: no scanner's own PET of this kind is at hand.

They follow PS3.3 A.38, A.56 and C.8.22 as far as a reader needs them; what a real scanner adds or leaves out is not
shown by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedPETImageStorage, ExplicitVRLittleEndian

CORRECTED = {"DECY": "DecayCorrected", "ATTN": "AttenuationCorrected", "SCAT": "ScatterCorrected"}
COPIED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientWeight", "PatientSize", "PatientAge"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("SeriesDate", "SeriesTime", "SeriesDescription", "Modality", "FrameOfReferenceUID", "Manufacturer"),
    *("ManufacturerModelName", "PositionReferenceIndicator", "SpecificCharacterSet", "PatientPosition"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *("PhotometricInterpretation", "SeriesNumber", "ContentDate", "ContentTime"),
)


def item(**attributes: Any) -> Dataset:
    """A data set of these attributes."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def code(value: str, scheme: str = "UCUM") -> Dataset:
    """A code sequence's item; a value of more than 16 characters has an attribute of its own (PS3.3 8.1)."""
    keyword = "CodeValue" if len(value) <= 16 else "LongCodeValue"
    return item(**{keyword: value}, CodingSchemeDesignator=scheme, CodeMeaning=value)


def enhanced(paths: Sequence[Path], uid: str) -> Dataset:
    """One Enhanced CT or PET object of single-frame files, frames in the order of ``paths``, uncompressed."""
    sources = [pydicom.dcmread(path) for path in paths]
    first = sources[0]
    is_pet = first.Modality == "PT"
    ds = Dataset()
    for keyword in COPIED:
        if keyword in first:
            ds[keyword] = first[keyword]
    ds.SOPClassUID = EnhancedPETImageStorage if is_pet else EnhancedCTImageStorage
    ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = uid, f"{uid}.1", 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.VolumetricProperties, ds.VolumeBasedCalculationTechnique, ds.PixelPresentation = "VOLUME", "NONE", "MONOCHROME"
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
    ds.NumberOfFrames = len(sources)
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    frame_type = item(FrameType=ds.ImageType, VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="NONE")
    if is_pet:
        shared.PETFrameTypeSequence = [frame_type]
        _add_pet(ds, first)
    else:
        shared.CTImageFrameTypeSequence = [frame_type]
    ds.PerFrameFunctionalGroupsSequence = [_group(source, k, is_pet=is_pet) for k, source in enumerate(sources)]
    ds.PixelData = b"".join(source.PixelData for source in sources)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, uid
    return ds


def _group(source: Dataset, number: int, *, is_pet: bool) -> Dataset:
    content = item(
        StackID="1",
        InStackPositionNumber=number + 1,
        FrameAcquisitionDateTime=f"{source.get('AcquisitionDate', '20000101')}{source.get('AcquisitionTime', '0000')}",
        FrameAcquisitionDuration=float(source.get("ActualFrameDuration", 1000)),
    )
    group = item(
        FrameContentSequence=[content],
        PlanePositionSequence=[item(ImagePositionPatient=source.ImagePositionPatient)],
    )
    if is_pet:  # stored values to Bq/ml; a viewer's rescale beside it must not be taken for that
        mapping = item(
            RealWorldValueSlope=float(source.RescaleSlope),
            RealWorldValueIntercept=0.0,
            RealWorldValueFirstValueMapped=0,
            RealWorldValueLastValueMapped=32767,
            LUTLabel="Bq/ml",
            LUTExplanation="activity concentration",
            MeasurementUnitsCodeSequence=[code("Bq/ml")],
        )
        group.RealWorldValueMappingSequence = [mapping]
        rescale = item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")
    else:
        rescale = item(RescaleSlope=source.RescaleSlope, RescaleIntercept=source.RescaleIntercept, RescaleType="HU")
    group.PixelValueTransformationSequence = [rescale]
    return group


def _add_pet(ds: Dataset, first: Dataset) -> None:
    named = set(first.CorrectedImage)
    for value, keyword in CORRECTED.items():
        setattr(ds, keyword, "YES" if value in named else "NO")
    ds.DetectorNormalizationCorrection = "YES"
    ds.DecayCorrectionDateTime = f"{first.SeriesDate}{first.SeriesTime}"
    ds.AcquisitionDateTime = f"{first.SeriesDate}{first.SeriesTime}"
    ds.CountsSource = "EMISSION"
    ds.RadiopharmaceuticalInformationSequence = first.RadiopharmaceuticalInformationSequence
    for radiopharmaceutical in ds.RadiopharmaceuticalInformationSequence:
        radiopharmaceutical.RadiopharmaceuticalAgentNumber = 1


def save(ds: Dataset, path: Path) -> Path:
    """Write the object as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def enhanced_pair(baseline: Path, folder: Path) -> Path:
    """The pair of ``baseline`` (ct/, pet/) as one Enhanced CT and one Enhanced PET; the PET's frames run backwards."""
    save(enhanced(sorted((baseline / "ct").glob("*.dcm")), "1.2.826.0.1.3680043.8.498.31"), folder / "ct.dcm")
    pet = sorted((baseline / "pet").glob("*.dcm"), reverse=True)
    save(enhanced(pet, "1.2.826.0.1.3680043.8.498.32"), folder / "pet.dcm")
    return folder
