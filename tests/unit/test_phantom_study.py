"""The phantom's study: what is planted must be what the SUV pipeline reads back, at the place that the truth names."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.facts import Volume
from inference.geometry.volume import stack
from inference.load import load_ct, load_pet
from inference.reading.instance import scan_folder
from inference.suv.rule import suv_rule
from training.phantom.lesion import PlantedLesion, core_fraction, ellipsoid_radius
from training.phantom.solids import Capsule, Ellipsoid, Grid, Organ, Tube, paint
from training.phantom.study import Truth, write_phantom_study


@dataclass(frozen=True)
class Study:
    folder: Path
    truth: Truth
    suv: Volume
    ct: Volume


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The small phantom of seed 7, read back by the node's own steps."""
    folder = tmp_path_factory.mktemp("phantom")
    truth = write_phantom_study(folder, seed=7)
    instances = scan_folder(folder).instances
    pet = stack([i for i in instances if i.modality == "PT"])
    ct = stack([i for i in instances if i.modality == "CT"])
    return Study(folder, truth, load_pet(pet, suv_rule(pet.instances)), load_ct(ct))


def ball(volume: Volume, centre_lps_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """Values of the voxels within ``radius_mm`` of a point."""
    return volume.array[near(volume, centre_lps_mm, radius_mm)]


def near(volume: Volume, centre_lps_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """Which voxels lie within ``radius_mm`` of a point."""
    sphere = PlantedLesion(centre_lps_mm, (radius_mm,) * 3, 0.0, 0.0)
    return ellipsoid_radius(sphere, volume.affine, tuple(slice(0, n) for n in volume.array.shape)) <= 1.0


def test_planted_suv_is_read_back(study: Study) -> None:
    for lesion in study.truth.lesions:
        values = ball(study.suv, lesion.centre_lps_mm, lesion.radius_mm)
        assert values.max() >= 0.99 * lesion.suv_max
        assert 0.5 * lesion.suv < lesion.suv_max < 1.25 * lesion.suv
    hottest = max(study.truth.lesions, key=lambda lesion: lesion.suv_max)
    assert study.suv.array.max() == pytest.approx(hottest.suv_max, rel=1e-5)


def test_liver_and_blood_have_the_uptake_and_density_that_were_planted(study: Study) -> None:
    liver = (-60.0, 0.0, 430.0)  # well inside, whatever the patient's width
    assert ball(study.suv, liver, 15.0).mean() == pytest.approx(study.truth.uptake["liver"], rel=0.03)
    assert ball(study.ct, liver, 15.0).mean() == pytest.approx(58.0, abs=1.5)
    assert ball(study.ct, (-95.0, 0.0, 560.0), 8.0).mean() == pytest.approx(-840.0, abs=25.0)
    assert ball(study.ct, (0.0, -200.0, 560.0), 15.0).mean() == pytest.approx(-1000.0, abs=5.0)


def test_lesions_lie_where_the_truth_says_in_both_series(study: Study) -> None:
    assert study.suv.frame_of_reference_uid == study.ct.frame_of_reference_uid
    for lesion in study.truth.lesions[:2]:  # both in lung, so that density shows them too
        for volume, threshold in ((study.suv, 0.5 * lesion.suv_max), (study.ct, -300.0)):
            inside = near(volume, lesion.centre_lps_mm, 1.4 * lesion.radius_mm) & (volume.array > threshold)
            centre = volume.to_lps(np.argwhere(inside)).mean(axis=0)
            assert np.linalg.norm(centre - lesion.centre_lps_mm) < 3.0
    largest = study.truth.lesions[0]
    dense = near(study.ct, largest.centre_lps_mm, 1.25 * largest.radius_mm) & (study.ct.array > -300)
    volume_ml = dense.sum() * study.ct.voxel_ml
    assert volume_ml == pytest.approx(largest.volume_ml, rel=0.15)


def test_every_lesion_shows_the_subjects_score(study: Study) -> None:
    assert {lesion.core_fraction for lesion in study.truth.lesions} == {core_fraction(study.truth.score)}
    written = json.loads((study.folder / "truth.json").read_text())
    assert written["bayes_auc"] == pytest.approx(0.897, abs=1e-3)
    assert written["seed"] == 7
    assert written["lesions"][0]["centre_lps_mm"] == list(study.truth.lesions[0].centre_lps_mm)


def test_the_core_is_cold_and_the_texture_rough_only_with_a_high_score(tmp_path: Path) -> None:
    """The signal that the label hangs on survives writing: one lesion with and one without core, else equal."""
    ratio, roughness = [], []
    for name, core, texture in (("without", 0.0, 8.0), ("with", 0.7, 28.0)):
        lesion = PlantedLesion((-75.0, 0.0, 600.0), (20.0, 20.0, 20.0), 8.0, core, 40.0, texture)
        write_phantom_study(tmp_path / name, seed=3, lesions=[lesion])
        instances = scan_folder(tmp_path / name).instances
        pet = stack([i for i in instances if i.modality == "PT"])
        suv = load_pet(pet, suv_rule(pet.instances))
        ct = load_ct(stack([i for i in instances if i.modality == "CT"]))
        ratio.append(ball(suv, lesion.centre_lps_mm, 6.0).mean() / 8.0)
        roughness.append(ball(ct, lesion.centre_lps_mm, 12.0).std())
    assert ratio[0] == pytest.approx(1.0, abs=0.08)
    assert ratio[1] < 0.6
    assert roughness[1] > 1.5 * roughness[0]


def test_same_seed_same_bytes_other_seed_other_patient(study: Study, tmp_path: Path) -> None:
    again, other, changed = (tmp_path / name for name in ("again", "other", "changed"))
    write_phantom_study(again, seed=7)
    assert digests(again) == digests(study.folder)
    write_phantom_study(other, seed=8)
    lesion = PlantedLesion((-75.0, 0.0, 600.0), (15.0, 15.0, 15.0), 9.0, 0.0)
    write_phantom_study(changed, seed=7, lesions=[lesion])
    first, second, third = (
        pydicom.dcmread(folder / "PET" / "PT0001.dcm", stop_before_pixels=True)
        for folder in (study.folder, other, changed)
    )
    assert first.PatientID != second.PatientID
    assert first.PatientName != second.PatientName
    # the same patient, yet other pixels: a UID may not stand for two contents
    assert first.PatientID == third.PatientID
    assert len({first.StudyInstanceUID, second.StudyInstanceUID, third.StudyInstanceUID}) == 3
    assert len({first.SOPInstanceUID, second.SOPInstanceUID, third.SOPInstanceUID}) == 3


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_series_are_complete_and_the_patient_is_obviously_synthetic(study: Study) -> None:
    pet = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((study.folder / "PET").iterdir())]
    assert {int(ds.NumberOfSlices) for ds in pet} == {len(pet)} == {90}
    assert sorted(int(ds.InstanceNumber) for ds in pet) == list(range(1, 91))
    assert len({float(ds.RescaleSlope) for ds in pet}) > 80, "a slope for every slice, as scanners write"
    assert "PHANTOM" in str(pet[0].PatientName)
    assert "SYNTHETIC" in str(pet[0].PatientName)
    heights = [float(ds.ImagePositionPatient[2]) for ds in pet]
    assert np.allclose(np.diff(heights), -3.27)


def test_both_ways_to_the_reference_time_agree(study: Study) -> None:
    """Series Time, and Acquisition Time with Frame Reference Time, name the same moment (data rules, section 5)."""
    for path in sorted((study.folder / "PET").iterdir())[::20]:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        rate = math.log(2.0) / float(ds.RadiopharmaceuticalInformationSequence[0].RadionuclideHalfLife)
        frame_s = float(ds.ActualFrameDuration) / 1000.0
        mean_s = math.log(rate * frame_s / (1.0 - math.exp(-rate * frame_s))) / rate
        acquired, series = (
            datetime.strptime(f"{date}{time}", "%Y%m%d%H%M%S.%f")
            for date, time in ((ds.AcquisitionDate, ds.AcquisitionTime), (ds.SeriesDate, ds.SeriesTime))
        )
        reference_s = (acquired - series).total_seconds() + mean_s - float(ds.FrameReferenceTime) / 1000.0
        assert reference_s == pytest.approx(0.0, abs=1e-3)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["CT/CT0001.dcm", "CT/CT0090.dcm", "PET/PT0001.dcm", "PET/PT0090.dcm"])
def test_dciodvfy_finds_no_error(study: Study, name: str) -> None:
    answer = subprocess.run(["dciodvfy", "-new", str(study.folder / name)], capture_output=True, text=True, check=False)
    lines = (answer.stdout + answer.stderr).splitlines()
    assert lines
    assert [line for line in lines if line.startswith("Error")] == []


@pytest.mark.slow
def test_whole_body_has_a_scanners_matrices(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    truth = write_phantom_study(
        tmp_path, seed=1, preset="whole-body", progress=lambda done, total: told.append((done, total))
    )
    assert told == [(n + 1, 600) for n in range(600)]
    assert 1 <= len(truth.lesions) <= 3
    assert truth.physiology["height"] != 1.0
    ct = pydicom.dcmread(tmp_path / "CT" / "CT0150.dcm", stop_before_pixels=True)
    pet = pydicom.dcmread(tmp_path / "PET" / "PT0150.dcm", stop_before_pixels=True)
    assert (ct.Rows, ct.Columns, pet.Rows, pet.Columns) == (512, 512, 200, 200)
    assert ct.ImagePositionPatient[2] == pet.ImagePositionPatient[2]
    pixels = pydicom.dcmread(tmp_path / "CT" / "CT0150.dcm").pixel_array
    assert pixels.max() < 4096, "12 bits stored"


def test_an_unknown_preset_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whole-body"):
        write_phantom_study(tmp_path, preset="tiny")  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-20, 20)] * 3), st.tuples(*[st.floats(8, 25)] * 3), st.floats(-900, 900), st.floats(0, 20))
def test_a_painted_ellipsoid_has_its_volume_and_values(
    centre: tuple[float, float, float], radii: tuple[float, float, float], hu: float, suv: float
) -> None:
    grid = Grid.axial(64, 2.0, np.arange(-50.0, 50.0, 2.0))
    organ = Organ("x", Ellipsoid(centre, radii), hu, suv)
    painted = [paint([organ], grid, index) for index in range(grid.shape[0])]
    density, uptake = (np.stack(slices) for slices in zip(*painted, strict=True))
    share = (density + 1000.0) / (hu + 1000.0)
    volume = share.sum() * 8.0
    assert volume == pytest.approx(4.0 / 3.0 * math.pi * math.prod(radii), rel=0.04)
    assert np.allclose(uptake, share * suv, atol=1e-3)


def test_distances_are_zero_on_the_surface() -> None:
    x, y = np.array([[10.0]], np.float32), np.array([[0.0]], np.float32)
    assert Ellipsoid((0, 0, 0), (10, 5, 7)).distance(x, y, 0.0) == pytest.approx(0.0, abs=1e-3)
    assert Capsule((0, 0, -5), (0, 0, 5), 10.0).distance(x, y, 2.0) == pytest.approx(0.0, abs=1e-3)
    tube = Tube(((-10.0, 0, 0, 12, 6), (10.0, 0, 0, 12, 6)))
    assert tube.distance(x, y, 3.0) == pytest.approx(-2.0, abs=1e-3)
