"""The structured report for viewers: planar groups with a 2D contour, and nothing else (PS3.16 TID 1410).

OHIF draws no other form, and one group of another kind makes it draw nothing.  It prints the first five numbers of a
group beside the contour, so the index lesion's begin with the prediction where the model applies.
"""

from __future__ import annotations

from collections.abc import Sequence

import contourpy
import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset

from dicom_node.report import codes
from dicom_node.report.document import add, document, replacing, text
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.measures import prediction_numbers, viewer_numbers
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.objects.sr import node_algorithm, statements
from dicom_node.report.references import frame_numbers
from dicom_node.report.words import verdict
from inference.facts import Analysis, BoolArray, FloatArray, Region

SERIES = (9002, "AI lesions for viewers (research use only)")


def viewer_report(analysis: Analysis, evidence: Evidence, parts: Sequence[Segment]) -> Dataset:
    """A contour of each lesion's region on the PET slice where it is largest (``parts``: at least one)."""
    regions = [part for part in parts if part.part != "mtv"]
    groups = [_planar_group(part, analysis, evidence, index_lesion=part is regions[0]) for part in regions]
    images = sorted({largest_slice(part.lesion.region) for part in regions})
    return document(evidence, "sr_viewer", SERIES, groups, [analysis.pair.reference.instances[k] for k in images])


def largest_slice(region: Region) -> int:
    """Index in the full grid of the slice on which the region is largest; the first of equals."""
    return region.start[0] + int(region.mask.sum(axis=(1, 2)).argmax())


def outline(mask: BoolArray) -> FloatArray:
    """The outer border of a 2D mask (row, column) as a closed polygon, (points, 2) as (column, row).

    Image coordinates of PS3.3 C.18.6.1.1: the first pixel's corner is (0, 0), its centre (0.5, 0.5).  The polygon runs
    through the edges' midpoints of the mask's border pixels.  Of several parts the largest is taken, and holes
    are left out: a planar group holds one polygon.
    """
    padded = np.pad(mask, 1).astype(float)
    polygons = contourpy.contour_generator(z=padded, line_type=contourpy.LineType.Separate).lines(0.5)
    return max(map(np.asarray, polygons), key=_area) - 1.0 + 0.5  # off the padding; to pixel centres at 0.5


def _area(polygon: FloatArray) -> float:
    x, y = polygon.T
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2.0


def _prediction(analysis: Analysis, *, index_lesion: bool) -> list[sr.Measurement]:
    """None where the model does not apply: viewers print the number and show nothing of what is said against it.

    Nor where it is of the whole study: they would print it beside one lesion.
    """
    of_lesion = index_lesion and not analysis.model.whole_body
    return prediction_numbers(analysis) if of_lesion and not verdict.demonstrates_only(analysis) else []


def _planar_group(
    part: Segment, analysis: Analysis, evidence: Evidence, *, index_lesion: bool
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    region = part.lesion.region
    k = largest_slice(region)
    points = outline(region.mask[k - region.start[0]]) + np.array((region.start[2], region.start[1]))
    instance = analysis.pair.reference.instances[k]
    image = sr.SourceImageForRegion(instance.sop_class_uid, instance.sop_instance_uid, frame_numbers(instance))
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=part.tracking_uid, identifier=part.tracking_id),
        referenced_region=sr.ImageRegion(graphic_type="POLYLINE", graphic_data=points, source_image=image),
        finding_type=codes.LESION,
        algorithm_id=node_algorithm(evidence),
        measurements=[*_prediction(analysis, index_lesion=index_lesion), *viewer_numbers(part.lesion)],
    )
    add(group, [text(codes.REGION_SOURCE, part.lesion.source), text(codes.COMMENT, part.description(evidence.say))])
    if index_lesion:
        add(group, [*statements(analysis, evidence.say), *replacing(evidence)])
    return group
