"""The heatmap as a series of single-frame Secondary Captures, for archives that take no multi-frame ones.

Each lies in the patient: Image Position and Orientation (Patient) may stand in a Secondary Capture and are then meant
for geometry (PS3.3 A.8.1.3, note).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.heatmap import description, pixel_spacing, position
from dicom_node.report.objects.secondary_capture import SINGLE_FRAME, add_image, add_plain_image, capture
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.pictures.slices import Frames
from dicom_node.report.pictures.views import letters_of
from dicom_node.report.references import decimals, orientation
from inference.facts import Analysis, Volume

SERIES = (9022, "AI heatmap slices (research use only)")
MOST = 999  # files of a kind; an archive's video rule, which bounds the heatmap, does not bound single frames
MOST_BYTES = 40_000_000  # of the set


def captures(analysis: Analysis, evidence: Evidence, _parts: Sequence[Segment]) -> list[Dataset]:
    """A capture of each PET slice of the body, in the order of the PET's Instance Numbers.

    Uncompressed, which every archive takes, as long as the set is small enough; else RLE; and the heatmap's slices
    alone where that is too large still.
    """
    frames = Frames.of(analysis, evidence.say_in_pictures, MOST, notice=evidence.notice_in_pictures)
    if len(frames.slices) * 3 * int(np.prod(frames.shape)) <= MOST_BYTES:
        return list(_placed(analysis, evidence, frames, None))
    encoded = list(frames.encoded())
    if sum(map(len, encoded)) > MOST_BYTES:
        frames = Frames.of(analysis, evidence.say_in_pictures, notice=evidence.notice_in_pictures)
        encoded = list(frames.encoded())
    return list(_placed(analysis, evidence, frames, encoded))


def _placed(
    analysis: Analysis, evidence: Evidence, frames: Frames, encoded: Sequence[bytes] | None
) -> Iterable[Dataset]:
    what, suv = description(analysis, frames), analysis.grid
    for number, k in enumerate(frames.slices, start=1):
        ds = capture(evidence, "captures", SERIES, SINGLE_FRAME, what, [analysis.pair.reference.instances[k]], number)
        if encoded is None:
            add_plain_image(ds, frames.whole(k))
        else:
            add_image(ds, frames.shape, encoded[number - 1])
        ds.PatientOrientation = _patient_orientation(suv)
        ds.PixelSpacing, ds.SliceThickness = pixel_spacing(frames, analysis), decimals(suv.spacing_mm[:1])[0]
        ds.ImageOrientationPatient, ds.ImagePositionPatient = orientation(suv), position(frames, analysis, k)
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = suv.frame_of_reference_uid, ""
        yield ds


def _patient_orientation(volume: Volume) -> list[str]:
    """Patient Orientation (0020,0020): where rows point to the right, and columns downwards."""
    return [letters_of(volume.affine[:3, axis]) for axis in (2, 1)]
