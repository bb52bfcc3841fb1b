"""DICOM studies of other kinds than FDG PET/CT: what was planted can be read back, and headers say what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from inference.facts import Volume
from inference.reading.instance import read_instance
from inference.regions.seg import read_segments
from inference.regions.structures import read_structures
from training.phantom.kinds import StudyTruth, write_ct_study, write_iodine_study, write_sstr_study


def volume(folder: Path) -> tuple[Volume, list[pydicom.FileDataset]]:
    """Values after rescaling, from the headers alone; slices from the feet upwards."""
    slices = sorted((pydicom.dcmread(p) for p in folder.glob("*.dcm")), key=lambda ds: ds.ImagePositionPatient[2])
    first, second = slices[0], slices[1]
    array = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices])
    affine = np.eye(4)
    row_mm, column_mm = map(float, first.PixelSpacing)
    up = float(second.ImagePositionPatient[2]) - float(first.ImagePositionPatient[2])
    affine[:3, :3] = [[0, 0, column_mm], [0, row_mm, 0], [up, 0, 0]]
    affine[:3, 3] = [float(v) for v in first.ImagePositionPatient]
    return Volume(array, affine, str(first.FrameOfReferenceUID)), slices


def lesion_ml(truth: StudyTruth) -> float:
    return truth.lesions[0].volume_ml


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyTruth]:
    out = tmp_path_factory.mktemp("ct")
    return out, write_ct_study(out, seed=3)


@pytest.fixture(scope="module")
def iodine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyTruth]:
    out = tmp_path_factory.mktemp("iodine")
    return out, write_iodine_study(out, seed=3, score=1.0)


def test_the_ct_study_has_a_tumour_in_the_lung_and_its_contour(ct: tuple[Path, StudyTruth]) -> None:
    out, truth = ct
    image, slices = volume(out / "CT")
    assert {ds.SOPClassUID.name for ds in slices} == {"CT Image Storage"}
    [found] = read_structures(out / "REGION" / "RTSTRUCT.dcm")
    region = found.on(image)
    assert found.label.name == "Tumour"
    assert region.mask.sum() * image.voxel_ml == pytest.approx(lesion_ml(truth), rel=0.06)
    assert np.median(image.array[region.slices][region.mask]) == pytest.approx(40.0, abs=15.0)
    assert np.median(image.array[region.slices][~region.mask]) < -500  # lung round it
    assert found.cautions(image, [str(ds.SOPInstanceUID) for ds in slices]) == ()


def test_all_objects_of_a_study_belong_together(iodine: tuple[Path, StudyTruth]) -> None:
    out, truth = iodine
    objects = [pydicom.dcmread(p, stop_before_pixels=True) for p in out.rglob("*.dcm")]
    assert {str(ds.StudyInstanceUID) for ds in objects} == {truth.study_instance_uid}
    assert {str(ds.PatientID) for ds in objects} == {truth.patient_id}
    assert {str(ds.FrameOfReferenceUID) for ds in objects} == {truth.frame_of_reference_uid}
    assert {str(ds.AccessionNumber) for ds in objects} == {truth.accession_number}
    assert len({str(ds.SOPInstanceUID) for ds in objects}) == len(objects)
    assert len({str(ds.SeriesInstanceUID) for ds in objects}) == 3
    assert all(read_instance(p).modality for p in out.rglob("*.dcm"))


def test_the_iodine_map_says_that_it_is_one_in_mg_ml(iodine: tuple[Path, StudyTruth]) -> None:
    out, truth = iodine
    _, slices = volume(out / "IODINE")
    for ds in slices:
        assert ds.SOPClassUID.name == "CT Image Storage"
        assert ds.ImageType[3] == "MAT_SPECIFIC"
        assert (ds.RescaleType, ds.MultienergyCTAcquisition) == ("MGML", "YES")
        mapping = ds.RealWorldValueMappingSequence[0]
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "mg/ml"
        assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "44588005"
        assert mapping.RealWorldValueSlope == float(ds.RescaleSlope)
        assert mapping.RealWorldValueIntercept == float(ds.RescaleIntercept)
    assert truth.series["IODINE"] != truth.series["CT"]
    _, usual = volume(out / "CT")
    assert {ds.RescaleType for ds in usual} == {"HU"}
    assert all("MultienergyCTAcquisition" not in ds for ds in usual)


def test_the_iodine_of_the_region_is_the_planted_one(iodine: tuple[Path, StudyTruth]) -> None:
    out, truth = iodine
    image, _ = volume(out / "IODINE")
    [found] = read_segments(out / "REGION" / "SEG.dcm")
    region = found.on(image)
    inside = image.array[region.slices][region.mask]
    assert region.mask.sum() * image.voxel_ml == pytest.approx(lesion_ml(truth), rel=0.06)
    assert truth.iodine_mg_ml == pytest.approx(2.3)
    assert inside.mean() == pytest.approx(2.3, abs=0.15)


def test_either_kind_of_region_covers_the_same_voxels(tmp_path: Path) -> None:
    write_ct_study(tmp_path / "contour", seed=3)
    write_ct_study(tmp_path / "mask", seed=3, region="SEG")
    image, _ = volume(tmp_path / "contour" / "CT")
    [contour] = read_structures(tmp_path / "contour" / "REGION" / "RTSTRUCT.dcm")
    [mask] = read_segments(tmp_path / "mask" / "REGION" / "SEG.dcm")
    one, other = contour.on(image), mask.on(image)
    assert one.start == pytest.approx(other.start, abs=1)
    both = one.full(image.array.shape) & other.full(image.array.shape)
    assert 2.0 * both.sum() / (one.mask.sum() + other.mask.sum()) > 0.97


def test_a_study_without_a_region(tmp_path: Path) -> None:
    write_ct_study(tmp_path, seed=3, region=None)
    assert not (tmp_path / "REGION").exists()


def test_the_sstr_study_has_gallium_and_the_planted_uptake(tmp_path: Path) -> None:
    truth = write_sstr_study(tmp_path, seed=5, scores={"pet": 4.0, "ct": -2.0})
    bqml, slices = volume(tmp_path / "PET")
    injected = slices[0].RadiopharmaceuticalInformationSequence[0]
    assert injected.RadionuclideCodeSequence[0].CodeValue == "35337001"
    assert float(injected.RadionuclideHalfLife) == pytest.approx(67.71 * 60, rel=1e-3)
    assert "DOTATOC" in injected.Radiopharmaceutical
    assert truth.bqml_per_suv is not None
    k, r, c = np.rint(bqml.to_index(truth.lesions[0].centre_lps_mm)).astype(int)
    assert bqml.array[k, r, c] / truth.bqml_per_suv == pytest.approx(truth.lesions[0].suv, rel=0.15)
    hu, _ = volume(tmp_path / "CT")
    assert hu.array[k, r, c] == pytest.approx(truth.lesions[0].hu, abs=45.0)
    assert hu.frame_of_reference_uid == bqml.frame_of_reference_uid


def test_the_same_seed_writes_the_same_bytes_and_kinds_are_of_different_patients(tmp_path: Path) -> None:
    truths = [write_ct_study(tmp_path / folder, seed=1) for folder in ("one", "other")]
    files = [sorted((tmp_path / folder).rglob("*.dcm")) for folder in ("one", "other")]
    assert truths[0] == truths[1]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]
    assert write_sstr_study(tmp_path / "sstr", seed=1).patient_id != truths[0].patient_id
    assert write_ct_study(tmp_path / "more", seed=2).study_instance_uid != truths[0].study_instance_uid
