"""The lesions as a binary Segmentation on the grid of the PET, or of the CT or iodine map where there is none.

A segment for each region, and one for its metabolic volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import highdicom as hd
import numpy as np
from highdicom import seg
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from dicom_node.report import codes
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects import even_frames
from dicom_node.report.references import Sources
from dicom_node.report.words import verdict
from dicom_node.report.words.phrases import Phrases
from dicom_node.report.words.verdict import ENGLISH
from inference.facts import Analysis, Lesion, Region

SERIES_NUMBER = 9010
SERIES_DESCRIPTION = "AI lesions SEG (research use only)"

# In the gamut of sRGB: outside it, dcmqi's component below 0 becomes 4 billion
REGION_COLOUR = hd.color.CIELabColor.from_rgb(250, 20, 20)
MTV_COLOUR = hd.color.CIELabColor.from_rgb(250, 200, 20)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment and the lesion whose numbers belong to it.

    ``part``: the lesion's region, its metabolic volume (MTV), or "both" where they are the same voxels: then one
    segment carries the numbers of both.
    """

    number: int
    lesion: Lesion
    part: Literal["region", "mtv", "both"]
    tracking_id: str
    tracking_uid: str

    @property
    def voxels(self) -> Region:
        return self.lesion.on_pet.mtv if self.part == "mtv" else self.lesion.region

    def description(self, say: Phrases = ENGLISH) -> str:
        """Which voxels these are, and by whose word."""
        what = verdict.region_source(self.lesion, say)
        key = {"mtv": "segment-mtv-inside", "both": "segment-both"}.get(self.part)
        if key:
            threshold = say("segment-mtv", threshold=f"{self.lesion.on_pet.mtv_threshold:.3g}")
            what = say(key, source=what, threshold=threshold)
        return say("segment", rule=say("research-use"), what=what)


def segments(lesions: Sequence[Lesion], evidence: Evidence) -> tuple[Segment, ...]:
    """The segments of ``lesions``, numbered from 1, each lesion's region before its MTV."""
    found: list[Segment] = []

    def add(lesion: Lesion, part: Literal["region", "mtv", "both"], tracking_id: str) -> None:
        found.append(Segment(len(found) + 1, lesion, part, tracking_id, evidence.uid(f"tracking {tracking_id}")))

    for lesion in lesions:
        if lesion.uptake and _same(lesion.region, lesion.uptake.mtv):
            add(lesion, "both", lesion.tracking_name)
            continue
        add(lesion, "region", lesion.tracking_name)
        if lesion.uptake and lesion.uptake.mtv.mask.any():
            add(lesion, "mtv", f"{lesion.tracking_name} MTV")
    return tuple(found)


def _same(one: Region, other: Region) -> bool:
    return one.start == other.start and np.array_equal(one.mask, other.mask)


def segmentation(analysis: Analysis, evidence: Evidence, parts: Sequence[Segment]) -> Dataset:
    """The SEG of ``parts`` (at least one).  Algorithm type is AUTOMATIC always: no human drew these voxels.

    Only slices that hold a lesion are handed over; empty frames are left out, but for the few of ``even_frames``.
    """
    shape = analysis.grid.array.shape
    blank = _blank_frames(parts, shape)
    held = sorted({*slices_held(parts), *(k for _, k in blank)})
    place = {k: position for position, k in enumerate(held)}
    # segment first in memory, so that untouched pages stay untouched; highdicom wants it last
    frames = np.zeros((len(parts), len(held), *shape[1:]), np.uint8)
    for index, part in enumerate(parts):
        box = part.voxels
        first = place[box.start[0]]
        frames[index, first : first + box.mask.shape[0]][:, box.slices[1], box.slices[2]] = box.mask
    for index, k in blank:
        frames[index, place[k], 0, 0] = 1
    sources = Sources.of(analysis, held)
    ds: Dataset = seg.Segmentation(
        source_images=sources.shells,
        pixel_array=np.moveaxis(frames, 0, -1),
        segmentation_type="BINARY",
        segment_descriptions=[described(part, evidence) for part in parts],
        omit_empty_frames=True,
        content_label="AI_LESIONS",
        content_description=codes.RESEARCH_USE_ONLY,
        content_creator_name="petct-node^",
        **evidence.for_highdicom("seg", SERIES_NUMBER),
    )
    if blank:
        even_frames.clear_corners(ds)
    # highdicom leaves it out where slices without a lesion lie between; dwv refuses a SEG without it
    (measures,) = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    measures.SpacingBetweenSlices = format_number_as_ds(analysis.grid.spacing_mm[0])
    sources.name_in(ds)
    evidence.stamp(ds, "seg", SERIES_DESCRIPTION)
    ds.pop("Laterality", None)  # of a segment's anatomy it would be said there; at the top dciodvfy calls it an error
    return ds


def _blank_frames(parts: Sequence[Segment], shape: tuple[int, ...]) -> list[even_frames.Frame]:
    filled: set[even_frames.Frame] = set()
    for index, part in enumerate(parts):
        first, mask = part.voxels.start, part.voxels.mask
        if first[1:] == (0, 0) and mask[:, 0, 0].any():
            return []  # their first pixel is a lesion's
        filled |= {(index, first[0] + int(k)) for k in np.flatnonzero(mask.any(axis=(1, 2)))}
    return even_frames.blank_frames(filled, len(parts), shape)


def slices_held(parts: Sequence[Segment]) -> list[int]:
    """The slices of the PET grid on which any of ``parts`` has its box, ascending."""
    return sorted({k for part in parts for k in range(part.voxels.slices[0].start, part.voxels.slices[0].stop)})


def described(part: Segment, evidence: Evidence) -> seg.SegmentDescription:
    """The item of the Segment Sequence (PS3.3 C.8.20.4)."""
    description = seg.SegmentDescription(
        segment_number=part.number,
        segment_label=part.tracking_id[:64],
        segmented_property_category=codes.ABNORMAL_STRUCTURE,
        segmented_property_type=codes.LESION,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="petct-node lesions",
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=evidence.run.node_version,
            source=codes.MANUFACTURER,
        ),
        tracking_uid=part.tracking_uid,
        tracking_id=part.tracking_id,
        display_color=MTV_COLOUR if part.part == "mtv" else REGION_COLOUR,
    )
    description.SegmentDescription = part.description()  # an attribute: English
    return description
