"""The lesions' regions as a Label Map Segmentation on the PET grid (PS3.3 A.51, Segmentation Type LABELMAP).

A pixel holds one label, so only the regions are in it: a metabolic volume lies inside its region, and is in the binary
SEG.  Regions that share voxels (two contours of the sender's) go into an object each, so that none loses a voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from highdicom import seg
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from dicom_node.report import codes
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.segmentation import Segment, described, slices_held
from dicom_node.report.references import Sources
from inference.facts import Analysis

SERIES = (9012, "AI lesions label map (research use only)")
BACKGROUND = 0

Labels = npt.NDArray[np.unsignedinteger]


def label_maps(analysis: Analysis, evidence: Evidence, parts: Sequence[Segment]) -> Sequence[Dataset]:
    """A label map of the regions of ``parts``, several where regions share voxels, none without a region."""
    regions = [part for part in parts if part.part != "mtv"]
    layers: list[tuple[list[Segment], Labels]] = []
    held = slices_held(regions)
    place = {k: position for position, k in enumerate(held)}
    shape = (len(held), *analysis.grid.array.shape[1:])
    for part in regions:
        first = place[part.voxels.start[0]]
        box = (slice(first, first + part.voxels.mask.shape[0]), *part.voxels.slices[1:])
        free = (layer for layer in layers if not layer[1][box][part.voxels.mask].any())
        layer = next(free, None)
        if layer is None:
            layer = [], np.zeros(shape, np.uint8 if len(regions) < 256 else np.uint16)
            layers.append(layer)
        layer[0].append(part)
        layer[1][box][part.voxels.mask] = len(layer[0])
    sources = Sources.of(analysis, held)
    return [_label_map(*layer, (n, len(layers)), sources, evidence) for n, layer in enumerate(layers, start=1)]


def _label_map(
    parts: Sequence[Segment], labels: Labels, of_all: tuple[int, int], sources: Sources, evidence: Evidence
) -> Dataset:
    number, count = of_all
    name = "label_map" if number == 1 else f"label_map {number}"
    identity = evidence.for_highdicom("label_map", SERIES[0])
    identity |= {"sop_instance_uid": evidence.uid(name), "instance_number": number}
    described_parts = [described(replace(part, number=label), evidence) for label, part in enumerate(parts, start=1)]
    ds: Dataset = seg.Segmentation(
        source_images=sources.shells,
        pixel_array=labels,
        segmentation_type="LABELMAP",
        segment_descriptions=described_parts,
        omit_empty_frames=True,
        transfer_syntax_uid=RLELossless,
        content_label="AI_LABEL_MAP",
        content_description=f"{codes.RESEARCH_USE_ONLY}. Regions; MTV only in the SEG; {number} of {count}",
        content_creator_name="petct-node^",
        **identity,
    )
    # The standard wants the background described (C.8.20.2) but gives items no order.  Viewers that take the n-th item
    # for segment n (OHIF 3.13.2, older 3D Slicer) give every lesion its neighbour's colour where it stands first.
    ds.SegmentSequence = sorted(ds.SegmentSequence, key=lambda item: item.SegmentNumber == BACKGROUND)
    sources.name_in(ds)
    evidence.stamp(ds, name, SERIES[1])
    ds.pop("Laterality", None)  # of a segment's anatomy it would be said there
    return ds
