"""The heatmap as a multi-frame true colour Secondary Capture (PS3.3 A.8.5)."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.secondary_capture import MULTI_FRAME_TRUE_COLOUR, add_frames, capture
from dicom_node.report.pictures import colours
from dicom_node.report.pictures.cuts import SOFT_TISSUE
from dicom_node.report.pictures.slices import Frames
from dicom_node.report.references import decimals, orientation
from dicom_node.report.words import verdict
from inference.facts import Analysis, Kind

SERIES = (9021, "AI heatmap (research use only)")
GREY: dict[Kind, str] = {
    "PET/CT": "PET, SUVbw 0 to 10 g/ml inverse grey",
    "CT": f"CT, {SOFT_TISSUE.low:.0f} to {SOFT_TISSUE.high:.0f} HU",
    "iodine map": f"iodine map, 0 to {colours.IODINE_RANGE[1]:.0f} mg/ml",
}


def heatmap_capture(analysis: Analysis, evidence: Evidence) -> Dataset:
    """Slices of the body, in grey, with the saliency over them; frames in the order of the images."""
    frames = Frames.of(analysis, evidence.say_in_pictures, notice=evidence.notice_in_pictures)
    instances = [analysis.pair.reference.instances[k] for k in frames.slices]
    what = description(analysis, frames)
    ds = capture(evidence, "heatmap", SERIES, MULTI_FRAME_TRUE_COLOUR, what, instances)
    add_frames(ds, frames.shape, frames.encoded(), Tag("PerFrameFunctionalGroupsSequence"))
    _place(ds, frames, analysis, evidence)
    return ds


def description(analysis: Analysis, frames: Frames) -> str:
    """What the frames show, for Derivation Description."""
    grey = GREY[analysis.pair.kind]
    what = f"{grey}, with outlines of the lesions; saliency withheld or absent"
    if verdict.shown_saliency(analysis) is not None:
        what = (
            f"Saliency of the model (head-only Grad-CAM, blue, opacity at most {colours.MOST_OPACITY}) on {grey}, with "
            "outlines of the lesions; relative saliency, not probability of disease"
        )
    return ". ".join(sentence for sentence in (what, frames.left_out) if sentence)


def pixel_spacing(frames: Frames, analysis: Analysis) -> list[str]:
    """Pixel Spacing (0028,0030) of a frame."""
    _, row_step_mm, column_step_mm = analysis.grid.spacing_mm
    return decimals((row_step_mm * frames.step, column_step_mm * frames.step))


def position(frames: Frames, analysis: Analysis, k: int) -> list[str]:
    """Image Position (Patient) of the frame of slice ``k``: of its first pixel's centre."""
    first = (frames.step - 1) / 2  # in the PET's pixels
    return decimals(analysis.grid.to_lps((k, first, first)))


def _place(ds: Dataset, frames: Frames, analysis: Analysis, evidence: Evidence) -> None:
    """Where each frame lies in the patient (PS3.3 A.8.5.3: pixel measures, plane orientation and position)."""
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = pixel_spacing(frames, analysis)
    measures.SliceThickness = decimals(analysis.grid.spacing_mm[:1])[0]
    plane.ImageOrientationPatient = orientation(analysis.grid)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    ds.SharedFunctionalGroupsSequence = [shared]
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = index.DimensionOrganizationUID = evidence.uid("heatmap dimensions")
    index.DimensionIndexPointer = Tag("ImagePositionPatient")
    index.FunctionalGroupPointer = Tag("PlanePositionSequence")
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = [organization], [index]
    ds.PerFrameFunctionalGroupsSequence = []
    for number, k in enumerate(frames.slices, start=1):
        content, place, group = Dataset(), Dataset(), Dataset()
        content.DimensionIndexValues = [number]
        place.ImagePositionPatient = position(frames, analysis, k)
        group.FrameContentSequence, group.PlanePositionSequence = [content], [place]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = analysis.grid.frame_of_reference_uid, ""
