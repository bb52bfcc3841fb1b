"""The automatic lesions as an RT Structure Set (PS3.3 A.19), for systems that take contours and no segmentation.

Never a copy of a person's region.  That one is in the study already, drawn finer than the PET's voxels; a second set of
contours under our name, made from voxels, would look like another opinion, lose its author, type and approval, and
be mistaken for the original in planning.  Where every lesion was given there is no object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from dicom_node.report import codes
from dicom_node.report.evidence import Evidence, code_item
from dicom_node.report.objects.segmentation import MTV_COLOUR, REGION_COLOUR, Segment
from dicom_node.report.outlines import outlines
from dicom_node.report.references import decimals, image_references, orientation, references_by_series
from inference.facts import Analysis, FloatArray, Region, Volume

SERIES = (9060, "AI lesions RTSTRUCT (research use only)")
DETACHED_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"  # retired, and what RT Referenced Study Sequence asks for


def structure_set(analysis: Analysis, evidence: Evidence, parts: Sequence[Segment]) -> Sequence[Dataset]:
    """The segments of automatic lesions, an ROI each, with contours on every slice; none without such a lesion.

    ROI names and numbers are the tracking identifiers and segment numbers of the SEG.  The interpreted type is left
    empty: that a lesion is a gross tumour volume (GTV) is for a physician to say.
    """
    automatic = [part for part in parts if part.lesion.source == "automatic"]
    if not automatic:
        return []
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    # Contour Data is text, and a value of explicit VR DS ends at 64 KiB: some thousand points
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, evidence.uid("rtstruct")
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = evidence.uid("rtstruct series"), SERIES[0], 1
    ds.Modality, ds.OperatorsName = "RTSTRUCT", ""
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = analysis.grid.frame_of_reference_uid, ""
    ds.StructureSetLabel, ds.StructureSetName = "AI research only", "AI lesions (research use only)"
    ds.StructureSetDescription = f"{codes.RESEARCH_USE_ONLY}. Lesions proposed automatically; each needs confirmation."
    ds.StructureSetDescription = f"{ds.StructureSetDescription} {evidence.notice}".strip()
    ds.StructureSetDate, ds.StructureSetTime = evidence.clock.date, evidence.clock.time
    ds.ApprovalStatus = "UNAPPROVED"
    ds.ReferencedFrameOfReferenceSequence = [_frame_of_reference(analysis)]
    ds.StructureSetROISequence = [_roi(part, analysis.grid, evidence) for part in automatic]
    ds.ROIContourSequence = [_roi_contour(part, analysis) for part in automatic]
    ds.RTROIObservationsSequence = [_observation(part) for part in automatic]
    evidence.stamp(ds, "rtstruct", SERIES[1])
    for keyword in ("ContentDate", "ContentTime"):  # not of this IOD, which has Structure Set Date and Time
        del ds[keyword]
    return [ds]


def contours(region: Region, grid: Volume) -> Iterator[tuple[int, FloatArray]]:
    """Each outline of the region: its slice in ``grid``, and its corners (points, 3) in LPS mm.

    Read back by the even-odd rule at voxel centres, they give the same voxels.
    """
    for depth, mask in enumerate(region.mask):
        for polygon in outlines(mask):
            k = region.start[0] + depth
            yield k, grid.to_lps(np.column_stack([np.full(len(polygon), k), polygon + region.start[1:]]))


def _frame_of_reference(analysis: Analysis) -> Dataset:
    """All images of the PET, which the regions were found on."""
    frame, study = Dataset(), Dataset()
    frame.FrameOfReferenceUID = analysis.grid.frame_of_reference_uid
    study.ReferencedSOPClassUID = DETACHED_STUDY_MANAGEMENT
    study.ReferencedSOPInstanceUID = analysis.pair.reference.study_instance_uid
    study.RTReferencedSeriesSequence = []
    for series_instance_uid, references in references_by_series(analysis.pair.reference.instances).items():
        series = Dataset()
        series.SeriesInstanceUID, series.ContourImageSequence = series_instance_uid, references
        study.RTReferencedSeriesSequence.append(series)
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(part: Segment, grid: Volume, evidence: Evidence) -> Dataset:
    roi, algorithm = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = part.number, part.tracking_id[:64]
    roi.ReferencedFrameOfReferenceUID = grid.frame_of_reference_uid
    roi.ROIDescription = part.description()
    roi.ROIVolume = decimals((part.voxels.mask.sum() * grid.voxel_ml,))[0]  # cm³, of the voxels
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    roi.ROIGenerationDescription = "AI, research use only"
    algorithm.AlgorithmFamilyCodeSequence = [code_item(codes.ARTIFICIAL_INTELLIGENCE)]
    algorithm.AlgorithmName, algorithm.AlgorithmVersion = "petct-node lesions", evidence.run.node_version
    algorithm.AlgorithmSource = codes.MANUFACTURER
    roi.ROIDerivationAlgorithmIdentificationSequence = [algorithm]
    return roi


def _roi_contour(part: Segment, analysis: Analysis) -> Dataset:
    roi = Dataset()
    roi.ReferencedROINumber = part.number
    roi.ROIDisplayColor = list((MTV_COLOUR if part.part == "mtv" else REGION_COLOUR).to_rgb())
    roi.SourcePixelPlanesCharacteristicsSequence = [_pixel_planes(analysis.grid)]
    roi.ContourSequence = []
    for number, (k, points) in enumerate(contours(part.voxels, analysis.grid), start=1):
        contour = Dataset()
        contour.ContourNumber, contour.ContourGeometricType = number, "CLOSED_PLANAR"
        contour.ContourImageSequence = image_references([analysis.pair.reference.instances[k]])
        contour.NumberOfContourPoints = len(points)
        contour.ContourData = [f"{value + 0.0:.4f}" for value in np.round(points.ravel(), 4)]
        roi.ContourSequence.append(contour)
    return roi


def _pixel_planes(grid: Volume) -> Dataset:
    """The voxels that the contours go round (PS3.3 C.8.8.6): who wants them back knows their grid."""
    planes = Dataset()
    between_mm, *pixel_mm = grid.spacing_mm
    planes.PixelSpacing, planes.SpacingBetweenSlices = decimals(pixel_mm), decimals((between_mm,))[0]
    planes.ImageOrientationPatient = orientation(grid)
    planes.ImagePositionPatient = decimals(grid.to_lps((0, 0, 0)))
    planes.NumberOfFrames, planes.Rows, planes.Columns = grid.array.shape
    return planes


def _observation(part: Segment) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = part.number
    observation.RTROIIdentificationCodeSequence = [code_item(codes.LESION)]
    observation.RTROIInterpretedType = observation.ROIInterpreter = ""
    return observation
