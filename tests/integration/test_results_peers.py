"""Other people's tools accept every object and read the same numbers from it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk

from dicom_node.report import write_refusal, write_results
from inference.facts import Analysis, Predecessor, Refused, Result
from tests.report_case import MODEL, NO_LESION, REPORTED, RUN, TURNS, WITHHELD, make_analysis, real_analysis

pytestmark = pytest.mark.peers
TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))


def tool(name: str) -> str:
    """Path of a command-line peer, of the system or of this environment."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is missing: run `make setup`"
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # dsrdump cuts long texts between the bytes of a letter
        command, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )


def assert_valid(path: Path) -> None:
    """No line of dciodvfy begins with Error; an SR can be dumped."""
    report = run(tool("dciodvfy"), "-new", str(path))
    errors = [line for line in (report.stdout + report.stderr).splitlines() if line.startswith("Error")]
    assert not errors, (path.name, errors)
    if path.name.startswith(("sr", "ko")):
        assert run(tool("dsrdump"), str(path)).returncode == 0


def assert_of_one_study(paths: Iterable[Path]) -> None:
    """dcentvfy finds the same patient, study and equipment in all; it compares bytes, so names must be ASCII."""
    report = run(tool("dcentvfy"), *map(str, paths))
    errors = [line for line in (report.stdout + report.stderr).splitlines() if not line.startswith("Warning")]
    assert not errors, errors[:5]


KB, MB = 1 << 10, 1 << 20
BOUNDS = {"sr": 256 * KB, "sr_viewer": 256 * KB, "seg": 5 * MB, "key_image": 1 * MB, "heatmap": 30 * MB}
HEADERS = {
    "plain": {},
    "no body part": {"BodyPartExamined": ""},
    "paired part": {"BodyPartExamined": "EXTREMITY", "Laterality": ""},
    "empty": {
        "PatientName": "",
        "PatientID": "",
        "StudyDate": "",
        "StudyTime": "",
        "StudyID": "",
        "AccessionNumber": "",
    },
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.parametrize("prediction", [REPORTED, WITHHELD], ids=["reported", "withheld"])
def test_validators_find_no_error(tmp_path: Path, header: dict, prediction) -> None:
    header = {"PatientName": "Doe^John", **header}
    analysis = make_analysis(tmp_path / "in", balls=TWO, header=header, prediction=prediction, turn=TURNS["oblique"])
    results = write_results(analysis, replace(RUN, also=("ko",)), tmp_path / "out")
    for result in results:
        assert_valid(result.path)
    assert_of_one_study([*(tmp_path / "in").rglob("*.dcm"), *(result.path for result in results)])


def test_validators_find_no_error_without_a_lesion_and_in_a_refusal(tmp_path: Path) -> None:
    analysis = make_analysis(tmp_path / "in", balls=(), prediction=NO_LESION, header={"PatientName": "Doe^John"})
    refused = Refused("pet-missing", "The study has no PET series; send it.")
    for results in (
        write_results(analysis, replace(RUN, also=("ko",)), tmp_path / "out"),
        write_refusal(analysis.pair.ct.instances, refused, MODEL, RUN, tmp_path / "refused"),
    ):
        for result in results:
            assert_valid(result.path)
        assert_of_one_study([*(tmp_path / "in").rglob("*.dcm"), *(result.path for result in results)])


SUV = {"sr": {"126401"}, "sr_viewer": {"SUVBW-MAX", "SUVBW-MEAN", "SUVBW-PEAK"}}


def assert_same_in_dcmqi(analysis: Analysis, results: dict[str, Result], folder: Path) -> None:
    """tid1500reader reads our numbers, segimage2itkimage our voxels at their place."""
    for kind in ("sr", "sr_viewer"):
        out = folder / f"{kind}.json"
        done = run(tool("tid1500reader"), "--inputDICOM", str(results[kind].path), "--outputMetadata", str(out))
        assert done.returncode == 0, done.stderr
        groups = json.loads(out.read_text())["Measurements"]
        found = {group["TrackingIdentifier"]: group for group in groups}
        lesion = analysis.lesions[0]
        items = found[lesion.tracking_name]["measurementItems"]
        suv = [float(i["value"]) for i in items if i["quantity"]["CodeValue"] in SUV[kind]]
        assert suv == pytest.approx([lesion.on_pet.suv_max, lesion.on_pet.suv_mean, lesion.on_pet.suv_peak], rel=1e-4)
    folder = folder / "segments"
    folder.mkdir()
    seg = results["seg"].path
    command = ("--inputDICOM", str(seg), "--outputDirectory", str(folder), "--outputType", "nii")
    done = run(tool("segimage2itkimage"), *command)
    assert done.returncode == 0, done.stderr
    lesion = analysis.lesions[0]
    image = sitk.ReadImage(str(folder / "1.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    assert int((array > 0).sum()) == int(lesion.region.mask.sum())
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(sitk.Cast(image > 0, sitk.sitkUInt8))
    assert statistics.GetCentroid(1) == pytest.approx(lesion.centroid_lps_mm, abs=0.05)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_dcmqi_reads_the_same(tmp_path: Path, turn) -> None:
    analysis = make_analysis(tmp_path / "in", balls=TWO, turn=turn)
    results = {r.kind: r for r in write_results(analysis, RUN, tmp_path / "out")}
    assert_same_in_dcmqi(analysis, results, tmp_path)


@pytest.mark.data
def test_a_real_patient(shared_data: Path, tmp_path: Path) -> None:
    study = shared_data / "study_sts_001"
    analysis = real_analysis(study / "pet_bqml", study / "ct", study / "rtstruct_ct.dcm")
    results = {r.kind: r for r in write_results(analysis, RUN, tmp_path / "out")}
    for result in results.values():
        assert_valid(result.path)
    sources = [study / "rtstruct_ct.dcm", *(study / "pet_bqml").iterdir(), *(study / "ct").iterdir()]
    assert_of_one_study([*sources, *(result.path for result in results.values())])
    assert_same_in_dcmqi(analysis, results, tmp_path)
    expected = json.loads((study / "expected.json").read_text())["rois"]["rtstruct_ct"]
    lesion = analysis.lesions[0]
    assert lesion.on_pet.suv_max == pytest.approx(expected["suvmax"], rel=1e-4)
    assert sum(r.path.stat().st_size for r in results.values()) < 40_000_000
    assert {kind for kind, most in BOUNDS.items() if results[kind].path.stat().st_size > most} == set()
    heatmap = pydicom.dcmread(results["heatmap"].path)
    assert heatmap.NumberOfFrames == 59


def test_reports_that_replace_others_and_rest_on_two_studies_are_valid(tmp_path: Path) -> None:
    earlier = tuple(Predecessor("1.2.3", f"1.2.4.{n}", "1.2.840.10008.5.1.4.1.1.88.34", f"1.2.5.{n}") for n in (1, 2))
    run = replace(RUN, predecessors=earlier)
    analysis = make_analysis(tmp_path / "in", balls=TWO, prediction=REPORTED)
    elsewhere = tuple(replace(image, study_instance_uid="1.2.9") for image in analysis.pair.ct.instances)
    pair = replace(analysis.pair, ct=replace(analysis.pair.ct, study_instance_uid="1.2.9", instances=elsewhere))
    written = [
        *write_results(replace(analysis, pair=pair), run, tmp_path / "results"),
        *write_refusal(pair.pet.instances, Refused("no-ct", "There is no CT."), MODEL, run, tmp_path / "refusal"),
    ]
    for result in written:
        assert_valid(result.path)
    replacing = [r for r in written if "PredecessorDocumentsSequence" in pydicom.dcmread(r.path)]
    assert [r.kind for r in replacing] == ["sr_viewer", "sr", "sr"]
    assert "PertinentOtherEvidenceSequence" in pydicom.dcmread(replacing[1].path)
