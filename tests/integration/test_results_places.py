"""A lesion planted at a known point of the patient is there in every object, in other people's readers too.

``test_results_geometry`` does the same by our own reading of the default set's headers, for more directions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_node.report import write_results
from inference.facts import Analysis, Result
from inference.reading.instance import read_instance
from inference.regions.region import given_regions
from tests.integration.test_results_peers import run, tool
from tests.report_case import REPORTED, RUN, TURNS, WITHHELD, make_analysis

CENTRE = np.array((31.0, -19.0, 11.0))  # LPS mm
CASES = {
    "axial": ("axial", (3.27, 4.0, 4.0), (24, 40, 44), False),
    "oblique": ("oblique", (3.27, 4.0, 4.0), (26, 40, 46), False),
    "descending": ("feet-first", (3.27, 4.0, 4.0), (24, 40, 44), False),
    "numbered down": ("axial", (3.27, 4.0, 4.0), (24, 40, 44), True),
    "anisotropic": ("axial", (5.0, 2.0, 3.1), (16, 80, 56), False),
    "anisotropic oblique": ("oblique", (2.0, 5.0, 3.1), (44, 32, 60), True),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(analysis, results by kind, the heatmap without saliency over it) of each case."""
    turn, spacing_mm, size, numbered_down = request.param
    folder = tmp_path_factory.mktemp("places")
    analysis = make_analysis(
        folder / "in",
        size=size,
        spacing_mm=spacing_mm,
        turn=TURNS[turn],
        balls=((tuple(CENTRE), 15.0, 8.0),),
        numbered_down=numbered_down,
        prediction=REPORTED,
    )
    run = replace(RUN, also=("label_map", "parametric_map", "rtstruct"))
    results = {result.kind: result for result in write_results(analysis, run, folder / "out")}
    plain = replace(analysis, prediction=WITHHELD, saliency=None)
    heatmap = next(r for r in write_results(plain, RUN, folder / "plain") if r.kind == "heatmap")
    return analysis, results, heatmap


def assert_there(analysis: Analysis, found: np.ndarray) -> None:
    """Within half of the smallest voxel edge, in every direction together."""
    assert np.linalg.norm(found - CENTRE) < 0.5 * min(analysis.suv.spacing_mm)


def centre_in_highdicom(volume: hd.Volume) -> np.ndarray:
    weight = volume.array.astype(float)
    index = np.argwhere(weight > 0)
    return np.average(volume.map_indices_to_reference(index), axis=0, weights=weight[tuple(index.T)])


def centre_in_itk(image: sitk.Image) -> np.ndarray:
    """Of the voxels above 0; ITK's physical space is LPS mm."""
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk.Cast(image > 0, sitk.sitkUInt8))
    return np.array(shape.GetCentroid(1))


def test_segmentation(written) -> None:
    analysis, results, _ = written
    volume = hd.seg.segread(results["seg"].path).get_volume(segment_numbers=[1], combine_segments=True)
    assert_there(analysis, centre_in_highdicom(volume))


def test_label_map(written) -> None:
    analysis, results, _ = written
    volume = hd.seg.segread(results["label_map"].path).get_volume(combine_segments=True)
    assert int((volume.array == 1).sum()) == int(analysis.lesions[0].region.mask.sum())
    assert_there(analysis, centre_in_highdicom(volume))


def test_parametric_map(written) -> None:
    analysis, results, _ = written
    volume = hd.imread(results["parametric_map"].path).get_volume(apply_real_world_transform=True)
    assert_there(analysis, centre_in_highdicom(volume))
    peak = volume.map_indices_to_reference(np.argwhere(volume.array == 1.0))
    saliency = analysis.saliency
    wanted = np.argwhere(saliency.array == 1.0) + saliency.start
    assert np.allclose(peak, analysis.suv.to_lps(wanted), atol=1e-3)


def test_structure_set(written) -> None:
    """Its polygons as they stand, and the voxels that our reader makes of them."""
    analysis, results, _ = written
    roi = pydicom.dcmread(results["rtstruct"].path).ROIContourSequence[0]
    polygons = [np.reshape(c.ContourData, (-1, 3)).astype(float) for c in roi.ContourSequence]
    centres, areas = zip(*map(centroid_and_area, polygons), strict=True)
    assert_there(analysis, np.average(centres, axis=0, weights=areas))
    region = given_regions(read_instance(results["rtstruct"].path), analysis.suv)[0].region
    assert_there(analysis, analysis.suv.to_lps(np.argwhere(region.full(analysis.suv.array.shape)).mean(axis=0)))


def centroid_and_area(polygon: np.ndarray) -> tuple[np.ndarray, float]:
    """Of a planar polygon (points, 3), by triangles from its first point."""
    one, other = polygon[1:-1] - polygon[0], polygon[2:] - polygon[0]
    crossed = np.cross(one, other)
    normal = crossed.sum(axis=0)
    doubled = crossed @ (normal / np.linalg.norm(normal))
    return polygon[0] + np.average((one + other) / 3, axis=0, weights=doubled), float(doubled.sum()) / 2


def test_contour_of_the_viewers_report_on_its_image_in_gdcm(written) -> None:
    analysis, results, _ = written
    group = pydicom.dcmread(results["sr_viewer"].path).ContentSequence[-1].ContentSequence[0]
    region = next(item for item in group.ContentSequence if item.ValueType == "SCOORD")
    named = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    image = sitk.ReadImage(next(i.path for i in analysis.pair.pet.instances if i.sop_instance_uid == named))
    # SCOORD has pixel centres at 0.5 (PS3.3 C.18.6.1.1), ITK at whole numbers
    pixels = np.reshape(region.GraphicData, (-1, 2)) - 0.5
    points = np.array([image.TransformContinuousIndexToPhysicalPoint((float(x), float(y), 0.0)) for x, y in pixels])
    centre, _ = centroid_and_area(points[:-1])
    normal = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    off = centre - CENTRE
    assert np.linalg.norm(off - normal * (off @ normal)) < 0.5 * min(analysis.suv.spacing_mm)
    assert abs(off @ normal) <= 1.5 * analysis.suv.spacing_mm[0]  # the largest slice; of equals the first


def test_heatmap_in_gdcm(written) -> None:
    """The PET's lesion, nearly black, without the columns of text and colour bars beside the image."""
    analysis, _, heatmap = written
    image = sitk.ReadImage(str(heatmap.path))
    rows = round(analysis.suv.array.shape[1] * analysis.suv.spacing_mm[1] / image.GetSpacing()[1])
    columns = round(analysis.suv.array.shape[2] * analysis.suv.spacing_mm[2] / image.GetSpacing()[0])
    pixels = sitk.GetArrayFromImage(image)[:, :rows, :columns]
    dark = np.argwhere(pixels.max(axis=-1) < 80)
    points = [image.TransformIndexToPhysicalPoint((int(x), int(y), int(z))) for z, y, x in dark]
    assert_there(analysis, np.mean(points, axis=0))


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["seg", "label_map"])
def test_segments_in_dcmqi_and_itk(written, tmp_path: Path, kind: str) -> None:
    analysis, results, _ = written
    done = convert(results[kind], tmp_path)
    assert done.returncode == 0, done.stderr
    image = sitk.ReadImage(str(tmp_path / "1.nii.gz"))
    assert int((sitk.GetArrayFromImage(image) == 1).sum()) == int(analysis.lesions[0].region.mask.sum())
    assert_there(analysis, centre_in_itk(image == 1))


def convert(result: Result, folder: Path):
    command = ("--inputDICOM", str(result.path), "--outputDirectory", str(folder), "--outputType", "nii")
    return run(tool("segimage2itkimage"), *command)
