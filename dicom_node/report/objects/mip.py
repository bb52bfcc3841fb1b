"""The PET turning about the patient's long axis: a multi-frame true colour Secondary Capture that plays as a loop."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.secondary_capture import MULTI_FRAME_TRUE_COLOUR, add_frames, capture
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.pictures.rotation import VIEWS, Rotation
from inference.facts import Analysis

SERIES = (9023, "AI MIP (research use only)")
FRAME_MS = 120  # a turn in 4.3 s


def rotating_projection(analysis: Analysis, evidence: Evidence, _parts: Sequence[Segment]) -> list[Dataset]:
    """Maximum intensity projections of the whole PET from all sides, inverse grey SUVbw 0 to 10, lesions outlined.

    A projection lies in no plane, so the frames have no place in the patient; letters on them say where left is.
    """
    rotation = Rotation.of(analysis, evidence.say_in_pictures, notice=evidence.notice_in_pictures)
    what = (
        f"Maximum intensity projections of the PET from {VIEWS} sides, from the front and then round by the patient's "
        "left; SUVbw 0 to 10 g/ml inverse grey, with outlines of the lesions"
    )
    ds = capture(evidence, "mip", SERIES, MULTI_FRAME_TRUE_COLOUR, what, analysis.pair.reference.instances)
    add_frames(ds, rotation.shape, rotation.encoded(), Tag("FrameTime"))
    ds.FrameTime, ds.PreferredPlaybackSequencing = str(FRAME_MS), 0  # again from the start (PS3.3 C.7.6.5)
    return [ds]
