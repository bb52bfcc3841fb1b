"""Secondary Captures read back: single-frame slices, the rotating projection, and no patient in any pixel."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicom_node.report import write_results
from dicom_node.report.objects import captures
from dicom_node.report.pictures.slices import Frames
from inference.facts import Analysis, Result
from tests.integration.test_results_peers import tool
from tests.report_case import RUN, TURNS, make_analysis, real_analysis

ALSO = ("captures", "mip")
PICTURES = ("key_image", "heatmap", *ALSO)


def written(analysis: Analysis, folder: Path) -> tuple[Result, ...]:
    return write_results(analysis, replace(RUN, also=ALSO), folder)


def of_kind(results: tuple[Result, ...], kind: str) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(result.path) for result in results if result.kind == kind]


@pytest.mark.parametrize(
    "turn", [TURNS["axial"], TURNS["oblique"], TURNS["feet-first"]], ids=["axial", "oblique", "down"]
)
def test_captures_are_the_heatmap_frame_by_frame_where_the_pet_lies(tmp_path: Path, turn: np.ndarray) -> None:
    analysis = make_analysis(tmp_path / "in", turn=turn, numbered_down=True)
    results = written(analysis, tmp_path / "out")
    (heatmap,), singles = of_kind(results, "heatmap"), of_kind(results, "captures")
    assert len(singles) == heatmap.NumberOfFrames == 24
    assert [ds.InstanceNumber for ds in singles] == list(range(1, 25))
    assert len({ds.SeriesInstanceUID for ds in singles}) == 1
    assert len({ds.SOPInstanceUID for ds in singles}) == 24
    sources = {i.sop_instance_uid: i for i in analysis.pair.pet.instances}
    groups = heatmap.PerFrameFunctionalGroupsSequence
    for ds, frame, group in zip(singles, heatmap.pixel_array, groups, strict=True):
        assert np.array_equal(ds.pixel_array, frame)
        assert ds.ImagePositionPatient == group.PlanePositionSequence[0].ImagePositionPatient
        (source,) = ds.SourceImageSequence
        pet = sources[source.ReferencedSOPInstanceUID]
        assert np.allclose(ds.ImageOrientationPatient, pet.get("ImageOrientationPatient"), atol=1e-6)
        away = np.asarray(ds.ImagePositionPatient, float) - pet.get("ImagePositionPatient")
        assert np.abs(away).max() < 2.1  # half a PET pixel, since frames are enlarged
        assert ds.BurnedInAnnotation == "NO"
    assert singles[0].PatientOrientation == (["R", "P"] if turn[0, 2] < 0 else ["L", "P"])


def test_captures_are_plain_as_long_as_they_are_few_and_packed_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = make_analysis(tmp_path / "in", size=(6, 20, 20))
    plain = of_kind(written(analysis, tmp_path / "plain"), "captures")
    assert {ds.file_meta.TransferSyntaxUID for ds in plain} == {ExplicitVRLittleEndian}
    monkeypatch.setattr(captures, "MOST_BYTES", sum(len(ds.PixelData) for ds in plain) - 1)
    packed = of_kind(written(analysis, tmp_path / "packed"), "captures")
    assert {ds.file_meta.TransferSyntaxUID for ds in packed} == {RLELossless}
    for one, other in zip(plain, packed, strict=True):
        assert np.array_equal(one.pixel_array, other.pixel_array)


def test_a_long_pet_is_captured_whole_unless_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analysis = make_analysis(tmp_path / "in", size=(110, 12, 14), spacing_mm=(4.0, 8.0, 8.0))
    assert len(of_kind(written(analysis, tmp_path / "all"), "captures")) == 110
    monkeypatch.setattr(captures, "MOST_BYTES", 1)
    few = written(analysis, tmp_path / "few")
    assert len(of_kind(few, "captures")) == len(Frames.of(analysis).slices) == 89
    assert len(list((tmp_path / "few").glob("captures_*.dcm"))) == 89


def test_the_rotating_projection_plays_as_a_loop(tmp_path: Path) -> None:
    (ds,) = of_kind(written(make_analysis(tmp_path / "in"), tmp_path / "out"), "mip")
    assert (ds.NumberOfFrames, ds.FrameTime, ds.PreferredPlaybackSequencing) == (36, 120, 0)
    assert ds.FrameIncrementPointer == pydicom.tag.Tag("FrameTime")
    assert "PerFrameFunctionalGroupsSequence" not in ds, "a projection lies in no plane"
    assert ds.pixel_array.shape == (36, ds.Rows, ds.Columns, 3)
    assert (ds.pixel_array == (200, 0, 0)).all(axis=-1).any(axis=(1, 2)).all(), "the lesion is outlined on each view"


def test_pixels_are_the_same_whoever_the_patient_is(tmp_path: Path) -> None:
    other = {"PatientName": "Somebody^Else", "PatientID": "X", "PatientBirthDate": "19991231", "StudyDate": "20200101"}
    one, two = (
        written(make_analysis(tmp_path / name, size=(6, 20, 20), header=header), tmp_path / f"{name} out")
        for name, header in (("one", {}), ("two", {**other, "AccessionNumber": "Z", "StudyID": "Y"}))
    )
    for kind in PICTURES:
        for first, second in zip(of_kind(one, kind), of_kind(two, kind), strict=True):
            assert str(first.PatientName) != str(second.PatientName)
            assert first.PixelData == second.PixelData, kind
            assert first.BurnedInAnnotation == "NO"
    assert (one[0].path.parent / "key_image.png").read_bytes() == (two[0].path.parent / "key_image.png").read_bytes()


# Of Image Plane in a Secondary Capture the 2022 tables of dciodvfy know nothing (PS3.3 A.8.1.3, note)
KNOWN = ("ImagePosition", "ImageOrientation", "FrameOfReferenceUID", "PositionReferenceIndicator", "SliceThickness")


@pytest.mark.peers
@pytest.mark.data
def test_dciodvfy_has_no_error_and_no_unknown_warning(shared_data: Path, tmp_path: Path) -> None:
    study = shared_data / "study_sts_001"
    analysis = real_analysis(study / "pet_bqml", study / "ct", study / "rtstruct_pet.dcm")
    results = written(analysis, tmp_path)
    paths = [r.path for r in results if r.kind == "mip"] + [r.path for r in results if r.kind == "captures"][::20]
    assert len(paths) == 4
    for path in paths:
        report = subprocess.run([tool("dciodvfy"), "-new", path], capture_output=True, text=True, check=False)
        lines = (report.stdout + report.stderr).splitlines()
        assert [line for line in lines if line.startswith("Error")] == []
        not_in_iod = [line for line in lines if "not present in standard DICOM IOD" in line]
        assert [line for line in not_in_iod if not any(f"</{name}" in line for name in KNOWN)] == []
    assert sum(r.path.stat().st_size for r in results) < 80_000_000
