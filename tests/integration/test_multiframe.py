"""Multi-frame PET/CT through the whole analysis: the baseline's numbers, and results that name the right frames."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_node.assemble import assemble
from dicom_node.commands.offline import analyse_folder
from dicom_node.config import Settings
from dicom_node.report import write_refusal
from inference.facts import Instance, Refused
from inference.reading.instance import scan_folder
from tests.enhanced import enhanced_pair
from tests.integration.test_results_peers import assert_valid
from tests.report_case import MODEL, RUN

pytestmark = [pytest.mark.data, pytest.mark.peers]
KINDS = {"seg", "sr", "sr_viewer", "key_image", "heatmap"}


@pytest.fixture(scope="module", params=["legacy_converted_enhanced", "enhanced"])
def folder(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two multi-frame objects; the Enhanced ones are made from the baseline."""
    if request.param == "enhanced":
        return enhanced_pair(shared_data / "geometry" / "baseline", tmp_path_factory.mktemp("enhanced"))
    return shared_data / "geometry" / request.param


@pytest.fixture(scope="module")
def answer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return analyse_folder(folder, tmp_path_factory.mktemp("results"), Settings())


@pytest.fixture(scope="module")
def baseline(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return analyse_folder(shared_data / "geometry" / "baseline", tmp_path_factory.mktemp("baseline"), Settings())


def test_the_numbers_are_the_baseline_s(answer: dict[str, Any], baseline: dict[str, Any]) -> None:
    assert answer["status"] == "done"
    assert {w["code"] for w in answer["warnings"]} == {w["code"] for w in baseline["warnings"]}
    assert answer["suv"]["factor"] == pytest.approx(baseline["suv"]["factor"], rel=1e-9)
    (found,), (wanted,) = answer["lesions"], baseline["lesions"]
    for name in ("suv_max", "suv_mean", "suv_peak", "volume_ml", "mean_hu", "mtv_ml", "tlg"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-5)
    assert found["centroid_lps_mm"] == pytest.approx(wanted["centroid_lps_mm"], abs=1e-3)
    assert (answer["pet"]["instances"], answer["ct"]["instances"]) == (1, 1)


def test_validators_find_no_error(answer: dict[str, Any]) -> None:
    assert {r["kind"] for r in answer["results"]} == KINDS
    for result in answer["results"]:
        assert_valid(Path(result["path"]))


def test_each_result_frame_names_the_frame_it_was_made_of(answer: dict[str, Any], folder: Path) -> None:
    source = pydicom.dcmread(folder / "pet.dcm", stop_before_pixels=True)
    places = [g.PlanePositionSequence[0].ImagePositionPatient for g in source.PerFrameFunctionalGroupsSequence]
    paths = {r["kind"]: r["path"] for r in answer["results"]}
    seg = pydicom.dcmread(paths["seg"])
    for group in seg.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.ReferencedSOPClassUID == source.SOPClassUID
        place = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(place, places[image.ReferencedFrameNumber - 1], atol=1e-3)
    (series,) = seg.ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence] == [source.SOPInstanceUID]
    assert highdicom.seg.segread(paths["seg"]).get_volume(combine_segments=True).array.any()

    heatmap = pydicom.dcmread(paths["heatmap"])
    (image,) = heatmap.SourceImageSequence
    made = [g.PlanePositionSequence[0].ImagePositionPatient[2] for g in heatmap.PerFrameFunctionalGroupsSequence]
    assert made == pytest.approx([places[n - 1][2] for n in image.ReferencedFrameNumber], abs=0.01)


def test_the_reports_name_frames_and_each_object_once(answer: dict[str, Any], folder: Path) -> None:
    source = pydicom.dcmread(folder / "pet.dcm", stop_before_pixels=True)
    for result in answer["results"]:
        if not result["kind"].startswith("sr"):
            continue
        report = highdicom.sr.srread(result["path"])
        named = [e for e in report.iterall() if e.keyword == "ReferencedFrameNumber"]
        assert named
        assert all(1 <= e.value <= 8 for e in named)
        (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
        uids = [i.ReferencedSOPInstanceUID for s in evidence.ReferencedSeriesSequence for i in s.ReferencedSOPSequence]
        assert len(uids) == len(set(uids))
        assert source.SOPInstanceUID in uids


def test_the_same_pair_out_of_the_index(folder: Path) -> None:
    """Instances travel as JSON: frames are made of them again, with the same digest."""
    instances = scan_folder(folder).instances
    stored = [Instance(**json.loads(json.dumps(asdict(i)))) for i in instances]
    assert assemble(stored).digest == assemble(instances).digest
    assert len(assemble(stored).pet.instances) == 8


def test_a_refusal_names_each_object_once(folder: Path, tmp_path: Path) -> None:
    pair = assemble(scan_folder(folder).instances)
    refused = Refused("weight-missing", "Patient's Weight is missing; send it.")
    images = [*pair.pet.instances, *pair.ct.instances]
    for result in write_refusal(images, refused, MODEL, RUN, tmp_path):
        assert_valid(result.path)


def test_an_enhanced_ct_without_a_pet_is_refused(shared_data: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = analyse_folder(shared_data / "geometry" / "enhanced_ct_real", tmp_path, Settings())
    assert (found["status"], found["reason_code"]) == ("refused", "no-pet")


def test_two_segments_on_one_frame_both_name_it(shared_data: Path, tmp_path: Path) -> None:
    """A person's region, and the metabolic volume inside it."""
    drawn = shared_data / "robustness" / "rtstruct_references_absent"
    folder = enhanced_pair(drawn, tmp_path / "study")
    shutil.copy(drawn / "rtstruct.dcm", folder)
    answer = analyse_folder(folder, tmp_path / "out", Settings(), debug=True)
    assert (answer["status"], answer["lesions"][0]["source"]) == ("done", "RTSTRUCT")
    (path,) = [r["path"] for r in answer["results"] if r["kind"] == "seg"]
    seg = pydicom.dcmread(path)
    assert len(seg.SegmentSequence) == 2
    source = pydicom.dcmread(folder / "pet.dcm", stop_before_pixels=True)
    places = [g.PlanePositionSequence[0].ImagePositionPatient for g in source.PerFrameFunctionalGroupsSequence]
    for group in seg.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        place = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(place, places[image.ReferencedFrameNumber - 1], atol=1e-3)
