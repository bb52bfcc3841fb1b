"""Secondary Captures (PS3.3 A.8): the key image, and the heatmap as multi-frame true colour."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicom_node.report import codes
from dicom_node.report.evidence import Evidence
from dicom_node.report.pictures import heatmap
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.references import decimals, image_references, orientation
from dicom_node.report.words import verdict
from inference.facts import Analysis, Instance

SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"
MULTI_FRAME_TRUE_COLOUR = "1.2.840.10008.5.1.4.1.1.7.4"
KEY_IMAGE_SERIES = (9020, "AI key image (research use only)")
HEATMAP_SERIES = (9021, "AI heatmap (research use only)")


def key_image_capture(pixels: Pixels, evidence: Evidence, sources: Sequence[Instance], what: str) -> Dataset:
    """``pixels`` (rows, columns, 3) as a single-frame capture; ``what`` describes them, without patient data.

    Uncompressed: where a viewer or archive shows nothing else of ours, it shows this.
    """
    ds = _capture(evidence, "key_image", KEY_IMAGE_SERIES, SINGLE_FRAME, what, sources)
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData = pixels.tobytes()
    return ds


def heatmap_capture(analysis: Analysis, evidence: Evidence) -> Dataset:
    """PET slices of the body, inverse grey SUVbw 0 to 10, with the saliency over them; frames in the PET's order."""
    frames = heatmap.Frames.of(analysis, evidence.say_in_pictures)
    instances = [analysis.pair.pet.instances[k] for k in frames.slices]
    what = "PET, SUVbw 0 to 10 g/ml inverse grey, with outlines of the lesions; saliency withheld or absent"
    if verdict.shown_saliency(analysis) is not None:
        what = (
            "Saliency of the model (head-only Grad-CAM, colour map inferno, opacity at most 0.5) on PET, SUVbw 0 to 10 "
            "g/ml inverse grey; relative saliency, not probability of disease"
        )
    what = ". ".join(sentence for sentence in (what, frames.left_out) if sentence)
    ds = _capture(evidence, "heatmap", HEATMAP_SERIES, MULTI_FRAME_TRUE_COLOUR, what, instances)
    ds.Rows, ds.Columns = frames.shape
    ds.NumberOfFrames = len(frames.slices)
    ds.FrameIncrementPointer = Tag("PerFrameFunctionalGroupsSequence")
    ds.ContentQualification = "RESEARCH"
    _place(ds, frames, analysis, evidence)
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.PixelData = encapsulate(list(frames.encoded()), has_bot=True)
    ds["PixelData"].is_undefined_length = True
    return ds


def _capture(
    evidence: Evidence, name: str, series: tuple[int, str], sop_class_uid: str, what: str, sources: Sequence[Instance]
) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, evidence.uid(name)
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = evidence.uid(f"{name} series"), series[0], 1
    ds.Modality, ds.ConversionType, ds.PatientOrientation = "OT", "WSD", ""
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.BurnedInAnnotation = ds.RecognizableVisualFeatures = "NO"
    ds.LossyImageCompression = "00"
    ds.DerivationDescription = f"{what}. {codes.RESEARCH_USE_ONLY}"
    statement = evidence.model.statement if evidence.model else ""
    ds.ImageComments = f"{codes.RESEARCH_USE_ONLY}. {statement}".strip()
    ds.SourceImageSequence = image_references(sources)
    ds.SecondaryCaptureDeviceManufacturer = codes.MANUFACTURER
    ds.SecondaryCaptureDeviceManufacturerModelName = "petct-node"
    ds.SecondaryCaptureDeviceSoftwareVersions = evidence.software_versions
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    evidence.stamp(ds, name, series[1])
    return ds


def _place(ds: Dataset, frames: heatmap.Frames, analysis: Analysis, evidence: Evidence) -> None:
    """Where each frame lies in the patient (PS3.3 A.8.5.3: pixel measures, plane orientation and position)."""
    suv = analysis.suv
    thickness_mm, row_step_mm, column_step_mm = suv.spacing_mm
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = decimals((row_step_mm * frames.step, column_step_mm * frames.step))
    measures.SliceThickness = decimals((thickness_mm,))[0]
    plane.ImageOrientationPatient = orientation(suv)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    ds.SharedFunctionalGroupsSequence = [shared]
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = index.DimensionOrganizationUID = evidence.uid("heatmap dimensions")
    index.DimensionIndexPointer = Tag("ImagePositionPatient")
    index.FunctionalGroupPointer = Tag("PlanePositionSequence")
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = [organization], [index]
    ds.PerFrameFunctionalGroupsSequence = []
    first = (frames.step - 1) / 2  # index of the first frame pixel's centre in the PET's pixels
    for number, k in enumerate(frames.slices, start=1):
        content, position, group = Dataset(), Dataset(), Dataset()
        content.DimensionIndexValues = [number]
        position.ImagePositionPatient = decimals(suv.to_lps((k, first, first)))
        group.FrameContentSequence, group.PlanePositionSequence = [content], [position]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = suv.frame_of_reference_uid, ""
