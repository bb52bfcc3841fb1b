"""The saliency as a Parametric Map of floats on the PET grid (PS3.3 A.75).

As numbers it can be measured and laid over other images, which the heatmap's colours cannot.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from highdicom import pm
from pydicom.dataset import Dataset

from dicom_node.report import codes
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.references import Sources
from dicom_node.report.words import verdict
from inference.facts import Analysis

SERIES = (9030, "AI saliency map (research use only)")
# A map that would be larger holds the slices of the saliency's box alone (floats are not compressed, PS3.5 8.2).
MOST_BYTES = 32 << 20


def parametric_map(analysis: Analysis, evidence: Evidence, parts: Sequence[Segment]) -> Sequence[Dataset]:  # noqa: ARG001 - as every optional object
    """The map, 0 to 1, 0 outside the box that the network looked at; none where saliency is withheld or absent.

    It has a frame for every slice of the PET, as large as the PET's: OHIF 3.13.2 opens no other (see ``_upwards``).
    Where that exceeds ``MOST_BYTES`` (a fine whole-body PET has 200 MB of zeros), only the box's slices.
    """
    saliency = verdict.shown_saliency(analysis)
    if saliency is None:
        return []
    slices = range(analysis.grid.array.shape[0])
    if analysis.grid.array.size * np.dtype(np.float32).itemsize > MOST_BYTES:
        slices = range(saliency.start[0], saliency.start[0] + saliency.array.shape[0])
    values = np.zeros((len(slices), *analysis.grid.array.shape[1:]), np.float32)
    k, row, column = np.subtract(saliency.start, (slices.start, 0, 0))
    depth, rows, columns = saliency.array.shape
    values[k : k + depth, row : row + rows, column : column + columns] = saliency.array
    sources = Sources.of(analysis, slices)
    ds: Dataset = pm.ParametricMap(
        source_images=sources.shells,
        pixel_array=values,
        real_world_value_mappings=[_mapping()],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        contains_recognizable_visual_features=False,
        content_label="AI_SALIENCY",
        content_description=codes.RESEARCH_USE_ONLY,
        content_creator_name="petct-node^",
        content_qualification="RESEARCH",
        **evidence.for_highdicom("parametric_map", SERIES[0]),
    )
    _upwards(ds)
    sources.name_in(ds)
    ds.DerivationDescription = (
        "Saliency of the model (head-only Grad-CAM), relative, 0 to 1; not probability of disease. Nothing finer than "
        f"{saliency.cell_mm:.0f} mm may be read from it. 0 outside the box that the network looked at. "
        f"{codes.RESEARCH_USE_ONLY}. {evidence.notice}".strip()
    )
    evidence.stamp(ds, "parametric_map", SERIES[1])
    return [ds]


def _upwards(ds: Dataset) -> None:
    """Order the frames by their place along the images' normal; highdicom orders them against it.

    OHIF 3.13.2 lays frame n over the n-th slice of its PET volume, which it sorts along the normal, and looks at no
    position: against it the map is shown upside down.
    """
    plane = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    normal = np.cross(*np.reshape(plane.ImageOrientationPatient, (2, 3)).astype(float))
    groups = ds.PerFrameFunctionalGroupsSequence
    places = [np.dot(normal, np.array(g.PlanePositionSequence[0].ImagePositionPatient, float)) for g in groups]
    order = np.argsort(places, kind="stable")
    frames = np.frombuffer(ds.FloatPixelData, "<f4").reshape(len(groups), -1)
    ds.FloatPixelData = frames[order].tobytes()
    ds.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
        group.FrameContentSequence[0].DimensionIndexValues = [number]


def _mapping() -> pm.RealWorldValueMapping:
    """Stored values are the saliency itself (PS3.3 C.7.6.16.2.11)."""
    return pm.RealWorldValueMapping(
        lut_label="SALIENCY",
        lut_explanation="Relative saliency, not probability of disease",
        unit=codes.NO_UNITS,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.SALIENCY,
    )
