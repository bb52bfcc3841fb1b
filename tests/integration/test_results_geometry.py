"""A lesion planted at a known point of the patient lands there in every object, whatever the direction of the stack."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom_node.report import write_results
from inference.facts import Refused, Volume
from tests.report_case import RUN, TURNS, WITHHELD, make_analysis

CENTRE = (31.0, -19.0, 11.0)
SIZE, SPACING_MM = (24, 40, 44), (3.27, 4.0, 4.2)


@pytest.fixture(scope="module", params=[(t, n) for t in TURNS for n in (False, True)], ids=lambda p: f"{p[0]}-{p[1]}")
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(analysis, results by kind) for each direction, with Instance Numbers along and against it."""
    turn, numbered_down = request.param
    folder = tmp_path_factory.mktemp("geometry")
    analysis = make_analysis(
        folder,
        size=SIZE,
        spacing_mm=SPACING_MM,
        turn=TURNS[turn],
        balls=((CENTRE, 15.0, 8.0),),
        numbered_down=numbered_down,
        prediction=WITHHELD,
    )
    return analysis, {result.kind: result for result in write_results(analysis, RUN, folder / "out")}


def assert_half_a_voxel(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.linalg.norm(found - expected) < 0.5 * min(SPACING_MM)


def test_segment_by_highdicom(written) -> None:
    analysis, results = written
    volume = hd.seg.segread(results["seg"].path).get_volume(segment_numbers=[1], combine_segments=False)
    mask = volume.array[..., 0] > 0
    assert mask.sum() == analysis.lesions[0].region.mask.sum()
    found = volume.map_indices_to_reference(np.argwhere(mask)).mean(axis=0)
    assert_half_a_voxel(found, np.asarray(analysis.lesions[0].centroid_lps_mm))
    assert_half_a_voxel(found, np.asarray(CENTRE))


def test_segment_frames_by_their_own_headers(written) -> None:
    _, results = written
    ds = pydicom.dcmread(results["seg"].path)
    points = []
    shared = ds.SharedFunctionalGroupsSequence[0]
    across, down = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    for frame, group in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber != 1:
            continue
        first = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(frame)
        points.append(first + rows[:, None] * spacing[0] * down + columns[:, None] * spacing[1] * across)
    assert_half_a_voxel(np.concatenate(points).mean(axis=0), np.asarray(CENTRE))


def test_contour_lies_on_the_image_it_names(written) -> None:
    analysis, results = written
    report = pydicom.dcmread(results["sr_viewer"].path)
    group = report.ContentSequence[-1].ContentSequence[0]
    region = next(item for item in group.ContentSequence if item.ValueType == "SCOORD")
    assert region.GraphicType == "POLYLINE"
    points = np.reshape(region.GraphicData, (-1, 2))
    assert np.array_equal(points[0], points[-1])
    named = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    source = next(i for i in analysis.pair.pet.instances if i.sop_instance_uid == named)
    image = pydicom.dcmread(source.path)
    across, down = np.reshape(image.ImageOrientationPatient, (2, 3)).astype(float)
    row_step, column_step = map(float, image.PixelSpacing)
    column, row = (points[:-1].min(axis=0) + points[:-1].max(axis=0)) / 2 - 0.5  # pixel centres lie at 0.5
    found = np.asarray(image.ImagePositionPatient, float) + across * column * column_step + down * row * row_step
    normal = np.cross(across, down)
    in_plane = (found - CENTRE) - normal * np.dot(found - CENTRE, normal)
    assert np.linalg.norm(in_plane) < 0.5 * min(SPACING_MM)
    assert abs(np.dot(found - CENTRE, normal)) <= 1.5 * SPACING_MM[0]  # of equal slices the first; half to its centre
    assert image.pixel_array[round(float(row)), round(float(column))] == 8000


def test_heatmap_frame_shows_it_at_its_position_and_number(written) -> None:
    analysis, results = written
    ds = pydicom.dcmread(results["heatmap"].path)
    shared = ds.SharedFunctionalGroupsSequence[0]
    across, down = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    row_step, column_step = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    picture_rows = round(SIZE[1] * SPACING_MM[1] / row_step)
    points = []
    for frame, group in zip(ds.pixel_array[:, :picture_rows], ds.PerFrameFunctionalGroupsSequence, strict=True):
        rows, columns = np.nonzero(frame.astype(int).max(axis=-1) < 80)  # the core of SUV 8 is nearly black
        first = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, float)
        points.append(first + rows[:, None] * row_step * down + columns[:, None] * column_step * across)
    assert_half_a_voxel(np.concatenate(points).mean(axis=0), np.asarray(CENTRE))
    sources = {i.sop_instance_uid: i for i in analysis.pair.pet.instances}
    numbers = [sources[item.ReferencedSOPInstanceUID].get("InstanceNumber") for item in ds.SourceImageSequence]
    assert numbers == sorted(numbers)
    for item, group in zip(ds.SourceImageSequence, ds.PerFrameFunctionalGroupsSequence, strict=True):
        theirs = np.asarray(sources[item.ReferencedSOPInstanceUID].get("ImagePositionPatient"), float)
        ours = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, float)
        normal = np.cross(across, down)
        assert abs(np.dot(ours - theirs, normal)) < 1e-3


@pytest.mark.parametrize("shift_mm", [(3.27, 0, 0), (0, 1.0, 0), (0, 0, -1.0)])
def test_a_volume_that_is_not_where_its_images_are_is_refused(tmp_path: Path, shift_mm: tuple[float, ...]) -> None:
    analysis = make_analysis(tmp_path, size=(8, 20, 20), spacing_mm=SPACING_MM)
    affine = analysis.suv.affine.copy()
    affine[:3, 3] += shift_mm
    object.__setattr__(analysis, "suv", Volume(analysis.suv.array, affine, analysis.suv.frame_of_reference_uid))
    with pytest.raises(Refused) as refused:
        write_results(analysis, RUN, tmp_path / "out")
    assert refused.value.code == "report-place-differs"
    assert not (tmp_path / "out").exists()
