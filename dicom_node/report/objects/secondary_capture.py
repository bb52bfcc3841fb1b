"""What the Secondary Captures share (PS3.3 A.8): the key image, the heatmap in both forms, the rotating PET."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicom_node.report import codes
from dicom_node.report.evidence import Evidence
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.references import image_references
from inference.facts import Instance

SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"
MULTI_FRAME_TRUE_COLOUR = "1.2.840.10008.5.1.4.1.1.7.4"


def capture(
    evidence: Evidence,
    name: str,
    series: tuple[int, str],
    sop_class_uid: str,
    what: str,
    sources: Sequence[Instance],
    number: int = 0,
) -> Dataset:
    """A capture without its pixels.  ``what`` describes them, without patient data.

    ``series``: number and description.  ``sources``: the images that it was made of.  ``number``: Instance Number of
    one of several of that ``name``, 0 where there is one alone.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    own = f"{name} {number}" if number else name
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, evidence.uid(own)
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = evidence.uid(f"{name} series"), series[0], number or 1
    ds.Modality, ds.ConversionType, ds.PatientOrientation = "OT", "WSD", ""
    ds.ImageType = ["DERIVED", "SECONDARY"]
    # No Recognizable Visual Features (0028,0302), type 3: where the head is in view, a projection or a stack of slices
    # may show a face, and whether it is in view is not known.
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.DerivationDescription = f"{what}. {codes.RESEARCH_USE_ONLY}"
    statement = evidence.model.statement if evidence.model else ""
    ds.ImageComments = " ".join(filter(None, (f"{codes.RESEARCH_USE_ONLY}.", evidence.notice, statement)))
    ds.SourceImageSequence = image_references(sources)
    ds.SecondaryCaptureDeviceManufacturer = codes.MANUFACTURER
    ds.SecondaryCaptureDeviceManufacturerModelName = "petct-node"
    ds.SecondaryCaptureDeviceSoftwareVersions = evidence.software_versions
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    evidence.stamp(ds, own, series[1])
    return ds


def add_frames(ds: Dataset, shape: tuple[int, int], frames: Iterable[bytes], increment: BaseTag) -> None:
    """RLE-encoded frames, told apart by the attribute ``increment`` (Frame Increment Pointer)."""
    encoded = list(frames)
    ds.NumberOfFrames, ds.FrameIncrementPointer, ds.ContentQualification = len(encoded), increment, "RESEARCH"
    ds.Rows, ds.Columns = shape
    _encapsulated(ds, encoded)


def add_image(ds: Dataset, shape: tuple[int, int], frame: bytes) -> None:
    """One RLE-encoded frame."""
    ds.Rows, ds.Columns = shape
    _encapsulated(ds, [frame])


def _encapsulated(ds: Dataset, encoded: list[bytes]) -> None:
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.PixelData = encapsulate(encoded, has_bot=True)
    ds["PixelData"].is_undefined_length = True


def add_plain_image(ds: Dataset, pixels: Pixels) -> None:
    """Pixels (rows, columns, 3) as they are, which every viewer and archive takes."""
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
