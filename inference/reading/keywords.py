"""Which header values an ``Instance`` keeps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

KEYWORDS: tuple[str, ...] = (
    # identity
    *IDENTITY,
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    # study, series, equipment
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "Modality",
    "SeriesDate",
    "SeriesTime",
    "SeriesNumber",
    "SeriesDescription",
    "BodyPartExamined",
    "PatientPosition",
    "ProtocolName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
    "DeviceUID",
    "SoftwareVersions",
    "ContributingEquipmentSequence",
    "TimezoneOffsetFromUTC",
    # the image and its plane
    "ImageType",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ContentDate",
    "ContentTime",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "ImageComments",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionMethod",
    "LossyImageCompressionRatio",
    "DerivationDescription",
    "QualityControlImage",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceLocation",
    "TemporalPositionIdentifier",
    "NumberOfTemporalPositions",
    "TriggerTime",
    "NumberOfFrames",
    # pixels
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    # CT
    "KVP",
    "ConvolutionKernel",
    "GantryDetectorTilt",
    "ReconstructionDiameter",
    "ContrastBolusAgent",
    "ScanOptions",
    "RealWorldValueMappingSequence",
    # PET
    "Units",
    "SUVType",
    "CountsSource",
    "SeriesType",
    "DecayCorrection",
    "CorrectedImage",
    "AttenuationCorrectionMethod",
    "ReconstructionMethod",
    "ScatterCorrectionMethod",
    "NumberOfSlices",
    "NumberOfTimeSlices",
    "ImageIndex",
    "ActualFrameDuration",
    "FrameReferenceTime",
    "DecayFactor",
    "DoseCalibrationFactor",
    "RadiopharmaceuticalInformationSequence",
    # multi-frame CT and PET (see FRAME_KEYWORDS)
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "VolumetricProperties",
    "VolumeBasedCalculationTechnique",
    "DecayCorrectionDateTime",
    "DecayCorrected",
    "AttenuationCorrected",
    "ScatterCorrected",
    "DeadTimeCorrected",
    "GantryMotionCorrected",
    "PatientMotionCorrected",
    "CountLossNormalizationCorrected",
    "RandomsCorrected",
    "NonUniformRadialSamplingCorrected",
    "SensitivityCalibrated",
    "DetectorNormalizationCorrection",
    # regions and our own objects
    "ContentLabel",
    "StructureSetLabel",
    "StructureSetDate",
    "StructureSetTime",
    "StructureSetROISequence",
    "RTROIObservationsSequence",
    "ReferencedFrameOfReferenceSequence",
    "ReferencedSeriesSequence",
    "ApprovalStatus",
    "SegmentationType",
    "SegmentSequence",
    "CompletionFlag",
    "VerificationFlag",
    "ConceptNameCodeSequence",
)
"""The DICOM keywords that ``Instance.attributes`` may hold.  Append what you need.

Beside them stand: the private ``PhilipsSUVScaleFactor``, ``PhilipsActivityConcentrationScaleFactor`` (floats) and
``GEScanDateTime`` (text); and three lists of keywords about the reading itself: ``WithoutPrivateCreator`` (private
values found without their private creator), ``UnreadableValues`` (left out because the value breaks its VR) and
``GuessedText`` (bytes outside the declared character set, read as Latin-1).
"""

MULTIFRAME_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET Image Storage",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET Image Storage",
}
"""SOP Classes whose functional groups are kept; of all others they are passed over."""

FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

FRAME_MACROS = (
    "CTAcquisitionDetailsSequence",
    "CTImageFrameTypeSequence",
    "CTReconstructionSequence",
    "CTXRayDetailsSequence",
    "CardiacSynchronizationSequence",
    "FrameContentSequence",
    "PETFrameTypeSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "RealWorldValueMappingSequence",
    "RespiratorySynchronizationSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)
"""The sequences of functional groups (PS3.3 C.7.6.16.2, C.8.15.3, C.8.22.5) that tell of a frame what we need."""

FRAME_KEYWORDS = (
    *FRAME_MACROS,
    *KEYWORDS,
    "FrameType",
    "StackID",
    "FrameAcquisitionDateTime",
    "FrameAcquisitionDuration",
    "FrameAcquisitionNumber",
    "TemporalPositionIndex",
    "NominalCardiacTriggerDelayTime",
    "NominalRespiratoryTriggerDelayTime",
    "RealWorldValueSlope",
    "RealWorldValueIntercept",
    "MeasurementUnitsCodeSequence",
)
"""What is kept inside functional groups, and nothing else: there may be thousands of them in one object."""

MOST_FRAMES = 4096
"""Frames of one object whose functional groups are kept: more than any static volume has."""


@dataclass(frozen=True, slots=True)
class PrivateElement:
    """A private element: its creator, group and the last byte of its element number."""

    keyword: str
    creator: str
    group: int
    number: int
    vr: str


PRIVATE = (
    PrivateElement("PhilipsSUVScaleFactor", "Philips PET Private Group", 0x7053, 0x00, "DS"),
    PrivateElement("PhilipsActivityConcentrationScaleFactor", "Philips PET Private Group", 0x7053, 0x09, "DS"),
    PrivateElement("GEScanDateTime", "GEMS_PETD_01", 0x0009, 0x0D, "DT"),
)

READER = 1
"""Raised when headers come out otherwise than before for another reason than the lists above."""

READING = hashlib.sha256(
    repr((READER, KEYWORDS, FRAME_KEYWORDS, sorted(MULTIFRAME_CLASSES), MOST_FRAMES, PRIVATE)).encode()
).hexdigest()[:16]
"""Names this way of reading headers: attributes that were kept under another name are read again from the file."""
