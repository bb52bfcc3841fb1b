"""The objects that carry places, for odd headers and for lesions that are awkward to write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from inference.facts import Analysis, Region
from inference.reading.instance import read_instance
from inference.regions.region import given_regions
from tests.integration.test_results_peers import HEADERS
from tests.optional_objects import ALSO, TWO, assert_valid, with_lesions, write
from tests.report_case import (
    NO_LESION,
    REPORTED,
    TURNS,
    make_analysis,
    real_analysis,
)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return make_analysis(tmp_path_factory.mktemp("in"), balls=TWO, turn=TURNS["oblique"])


def awkward(shape: tuple[int, int, int]) -> dict[str, list[np.ndarray]]:
    """Lesions that are awkward to write: one voxel, at the volume's corners, with holes, filling the volume."""
    one, corners, hollow, touching = (np.zeros(shape, bool) for _ in range(4))
    one[11, 19, 20] = True
    corners[:3, :4, :5] = corners[-1, -1, -1] = True
    hollow[5:12, 5:15, 5:15] = True
    hollow[6:11, 7:10, 7:13] = hollow[8, 12, 6] = False
    touching[3:6, 4, 4] = touching[3:6, 5, 5] = True
    return {
        "one voxel": [one],
        "at the corners": [corners],
        "hollow": [hollow],
        "touching at an edge": [touching],
        "everything": [np.ones(shape, bool)],
        "several": [one, corners, hollow],
    }


@pytest.mark.peers
@pytest.mark.parametrize("which", awkward((24, 40, 44)))
def test_awkward_lesions_give_valid_objects_and_the_same_voxels(analysis: Analysis, tmp_path: Path, which: str) -> None:
    suv = analysis.suv
    regions = awkward(suv.array.shape)[which]
    found = write(with_lesions(analysis, *regions), tmp_path)
    for kind in ("label_map", "rtstruct", "seg", "sr", "sr_viewer"):
        assert_valid(found[kind][0].path)
    for kind in ("label_map", "rtstruct", "seg"):
        given = {g.name: g.region for g in given_regions(read_instance(found[kind][0].path), suv)}
        for number, region in enumerate(regions, start=1):
            assert (given[f"Lesion {number}"].full(suv.array.shape) == region).all(), kind


@pytest.mark.peers
def test_no_lesion_gives_no_object_of_lesions(tmp_path: Path) -> None:
    found = write(make_analysis(tmp_path / "in", balls=(), prediction=NO_LESION), tmp_path / "out")
    assert [found[kind] for kind in ALSO] == [[], [], []]
    assert set(found) - set(ALSO) == {"key_image", "heatmap", "sr"}
    for kind in ("key_image", "heatmap", "sr"):
        assert_valid(found[kind][0].path)


@pytest.mark.peers
def test_two_thousand_lesions_leave_the_twenty_that_the_results_carry(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", balls=TWO)
    places = np.argwhere(np.ones((12, 20, 22), bool))[:2000] * 2  # every second voxel: none touches another
    lesions = []
    for number, place in enumerate(places.tolist(), start=1):
        one = Region(tuple(place), np.ones((1, 1, 1), bool))
        named = replace(analysis.lesions[0], number=number, tracking_name=f"Lesion {number}", region=one)
        lesions.append(replace(named, uptake=replace(named.on_pet, mtv=one)))
    found = write(replace(analysis, lesions=tuple(lesions)), tmp_path / "out")
    label_map, structures = (pydicom.dcmread(found[kind][0].path) for kind in ("label_map", "rtstruct"))
    assert len(label_map.SegmentSequence) == 21
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == [f"Lesion {n}" for n in range(1, 21)]
    for kind in (*ALSO, "seg", "sr", "sr_viewer"):
        assert_valid(found[kind][0].path)


@pytest.mark.peers
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_validators_find_no_error(tmp_path: Path, header: dict) -> None:
    found = write(make_analysis(tmp_path / "in", balls=TWO, header=header, turn=TURNS["oblique"]), tmp_path / "out")
    for kind in ALSO:
        assert_valid(found[kind][0].path)


@pytest.mark.peers
@pytest.mark.data
def test_a_real_patient(shared_data: Path, tmp_path: Path) -> None:
    study = shared_data / "study_sts_001"
    real = real_analysis(study / "pet_bqml", study / "ct", study / "rtstruct_ct.dcm", REPORTED)
    ours = replace(real, lesions=tuple(replace(lesion, source="automatic") for lesion in real.lesions))
    found = write(ours, tmp_path / "out")
    for kind in ALSO:
        assert_valid(found[kind][0].path)
    sizes = {kind: found[kind][0].path.stat().st_size for kind in ALSO}
    assert sizes["label_map"] < 500_000
    assert sizes["rtstruct"] < 1_000_000
    assert sizes["parametric_map"] < 40_000_000
    (taken, *_) = given_regions(read_instance(found["rtstruct"][0].path), real.suv)
    assert (taken.region.full(real.suv.array.shape) == real.lesions[0].region.full(real.suv.array.shape)).all()
    expected = json.loads((study / "expected.json").read_text())["rois"]["rtstruct_ct"]
    assert real.suv.array[taken.region.slices][taken.region.mask].max() == pytest.approx(expected["suvmax"], rel=1e-4)
