"""The images of a row: DICOM and files of the same voxels are seen alike; what is wrong is refused, by its column."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import event, given, settings
from hypothesis import strategies as st

from inference.facts import Refused, Volume
from inference.model.inputs import CanonicalRoi
from inference.model.look import see
from inference.regions.region_names import TUMOUR_NAMES
from tests.cohort_files import write_study, write_volume
from training.cohort.images import Images, content_digests, load_images
from training.cohort.seen import load_guarded
from training.cohort.study import Study
from training.cohort.volumes import MOST_VOXELS, read_volume


def study(folder: Path, **paths: str) -> Study:
    return Study.model_construct(row=2, patient="P", study="S", **{role: folder / path for role, path in paths.items()})


def whole_gz(file: Path) -> bytes:
    """Its content with another byte in the middle of the compressed data."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x55
    return bytes(content)


def real(shared_data: Path, number: int = 8) -> Study:
    return study(shared_data / "cohort_sts" / f"STS_{number:03d}", pet="pet", ct="ct", region="rtstruct.dcm")


def load(row: Study, kind: str = "PET/CT", **more: bool) -> Images:
    return load_images(row, kind, TUMOUR_NAMES, **more)  # type: ignore[arg-type]


def write_itk(file: Path, volume: Volume, array: np.ndarray, axes: str = "LPS") -> None:
    """A volume as a file, its axes turned as another program may store them."""
    steps = volume.affine[:3, [2, 1, 0]]
    spacing = np.linalg.norm(steps, axis=0)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection((steps / spacing).ravel().tolist())
    sitk.WriteImage(sitk.DICOMOrient(image, axes), str(file))


@pytest.mark.data
@pytest.mark.parametrize(("ending", "axes"), [("nii.gz", "LPS"), ("nii", "RAS"), ("mha", "PIR")])
def test_dicom_and_files_are_seen_alike(shared_data: Path, tmp_path: Path, ending: str, axes: str) -> None:
    dicom = load(real(shared_data))
    assert dicom.suv is not None
    assert dicom.region is not None
    mask = dicom.region.full(dicom.suv.array.shape).astype(np.uint8)
    write_itk(tmp_path / f"pet.{ending}", dicom.suv, dicom.suv.array, axes)
    write_itk(tmp_path / f"ct.{ending}", dicom.image, dicom.image.array, axes)
    write_itk(tmp_path / f"mask.{ending}", dicom.suv, mask, axes)
    files = load(study(tmp_path, pet=f"pet.{ending}", ct=f"ct.{ending}", region=f"mask.{ending}"))

    assert (dicom.source, files.source) == ("RTSTRUCT", "mask")
    one = see(dicom.suv, dicom.image, dicom.region, CanonicalRoi())
    other = see(files.suv, files.image, files.region, CanonicalRoi())
    np.testing.assert_allclose(other.array, one.array, atol=2e-4)
    assert other.region_ml == pytest.approx(one.region_ml, rel=1e-5)
    lesions = dicom.lesion(), files.lesion()
    assert lesions[0] is not None
    assert lesions[1] is not None
    assert lesions[1].on_pet.suv_max == pytest.approx(lesions[0].on_pet.suv_max, rel=1e-6)
    assert lesions[1].on_pet.tlg == pytest.approx(lesions[0].on_pet.tlg, rel=1e-5)


@pytest.mark.data
def test_a_ct_alone_takes_its_region_on_the_ct(shared_data: Path) -> None:
    images = load(real(shared_data), "CT")
    assert images.suv is None
    assert images.grid is images.image
    lesion = images.lesion()
    assert lesion is not None
    assert lesion.volume_ml == pytest.approx(27.8, rel=0.05)
    assert lesion.uptake is None


@pytest.mark.data
def test_without_a_region_the_proposal_of_serving_is_taken_and_named(shared_data: Path) -> None:
    row = real(shared_data).model_copy(update={"region": None})
    images = load(row)
    assert images.source == "automatic"
    assert "region-automatic" in [c.code for c in images.cautions]
    assert load(row, region_needed=False).region is None
    with pytest.raises(Refused, match="column region"):
        load(row, "CT")


@pytest.mark.data
def test_a_lost_slice_is_refused_even_at_the_end_of_the_stack(shared_data: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_data / "cohort_sts" / "STS_008", tmp_path / "copy")
    first, *_, last = sorted((tmp_path / "copy" / "pet").iterdir())
    last.write_bytes(last.read_bytes()[:600])
    row = study(tmp_path / "copy", pet="pet", ct="ct", region="rtstruct.dcm")
    with pytest.raises(Refused, match=f"1 file.s. cannot be read, the first {last.name}"):
        load(row)
    shutil.copy(first, last)
    last.unlink()
    shutil.copytree(shared_data / "cohort_sts" / "STS_010" / "pet", tmp_path / "copy" / "pet" / "more")
    with pytest.raises(Refused, match="2 series of PT"):
        load(row)
    with pytest.raises(Refused, match="0 series of PT"):
        load(study(tmp_path / "copy", pet="ct", ct="ct", region="rtstruct.dcm"))


@pytest.mark.data
def test_two_patients_are_never_combined(shared_data: Path) -> None:
    folder = shared_data / "cohort_sts"
    mixed = study(folder, pet="STS_008/pet", ct="STS_010/ct", region="STS_008/rtstruct.dcm")
    with pytest.raises(Refused, match="different Patient IDs"):
        load(mixed)
    with pytest.raises(Refused, match="the region and its image carry different Patient IDs"):
        load(study(folder, pet="STS_008/pet", ct="STS_008/ct", region="STS_010/rtstruct.dcm"))


def test_an_iodine_map(tmp_path: Path) -> None:
    paths = write_study(tmp_path, "s", 0)
    images = load(study(tmp_path, **paths), "iodine map")
    lesion = images.lesion()
    assert lesion is not None
    assert lesion.mean_iodine == pytest.approx(2.15, abs=0.02)
    write_volume(tmp_path / "s_iodine.nii", np.full((4, 5, 6), 200.0, np.float32))
    with pytest.raises(Refused, match="mg/ml"):
        load(study(tmp_path, **paths), "iodine map")


def test_volume_files_that_cannot_be_used(tmp_path: Path) -> None:
    def refused(name: str, match: str) -> None:
        with pytest.raises(Refused, match=match) as caught:
            read_volume(tmp_path / name, "")
        assert caught.value.code == "cohort-image"

    (tmp_path / "text.nii").write_text("no image")
    refused("text.nii", "no NIfTI")
    noise = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    for ending, match in (("nii", "cut off"), ("nii.gz", "damaged"), ("mha", "cannot read")):
        write_volume(tmp_path / f"whole.{ending}", noise)
        whole = (tmp_path / f"whole.{ending}").read_bytes()
        np.testing.assert_array_equal(read_volume(tmp_path / f"whole.{ending}", "").array, noise)
        (tmp_path / f"cut.{ending}").write_bytes(whole[: len(whole) - 100])
        refused(f"cut.{ending}", match)
    (tmp_path / "flipped.nii.gz").write_bytes(whole_gz(tmp_path / "whole.nii.gz"))
    refused("flipped.nii.gz", "damaged")
    write_volume(tmp_path / "nan.nii", np.where(np.arange(512).reshape(8, 8, 8) == 3, np.nan, 1.0))
    refused("nan.nii", "no numbers")
    sitk.WriteImage(sitk.Image([8, 8], sitk.sitkInt16), str(tmp_path / "flat.mha"))
    refused("flat.mha", "no volume")
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorFloat32, 3), str(tmp_path / "colour.mha"))
    refused("colour.mha", "no volume")
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nElementSpacing = 1 1 1\nDimSize = {}\n"
        "ElementType = MET_SHORT\nElementDataFile = {}\n"
    )
    (tmp_path / "huge.mha").write_text(header.format("4096 4096 4096", "LOCAL"))
    assert MOST_VOXELS < 4096**3
    refused("huge.mha", "voxels; at most")
    (tmp_path / "else.mha").write_text(header.format("2 2 2", "/etc/hostname"))
    refused("else.mha", "another file")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_header_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.nii")
        write_volume(file, np.ones((4, 5, 6), np.float32))
        content = bytearray(file.read_bytes())
        for place, value in changes:
            content[place] = value
        file.write_bytes(content)
        try:
            volume = read_volume(file, "")
        except Refused as refused:
            event(refused.code)
            return
        assert np.isfinite(volume.array).all()
        assert np.isfinite(volume.affine).all()


def test_what_a_pet_file_must_hold(tmp_path: Path) -> None:
    paths = write_study(tmp_path, "s", 0)
    write_volume(tmp_path / "s_pet.nii", np.zeros((12, 14, 16), np.float32))
    with pytest.raises(Refused, match="no uptake"):
        load(study(tmp_path, **paths))
    write_study(tmp_path, "s", 0, suv=9000.0)
    assert "suv-implausible" in [c.code for c in load(study(tmp_path, **paths)).cautions]
    write_study(tmp_path, "s", 0)
    write_volume(tmp_path / "s_region.nii", np.zeros((12, 14, 16), np.uint8))
    with pytest.raises(Refused, match="no voxel"):
        load(study(tmp_path, **paths))
    with pytest.raises(Refused, match="column ct"):
        load(study(tmp_path, pet=paths["pet"]))


def test_the_content_and_not_the_name_makes_the_digest(tmp_path: Path) -> None:
    paths = write_study(tmp_path, "s", 0)
    (tmp_path / "series").mkdir()
    for i in range(3):
        (tmp_path / "series" / f"{i}.dcm").write_bytes(bytes([i] * 10))
    before = content_digests(study(tmp_path, pet="series", ct=paths["ct"]))
    (tmp_path / "series" / "2.dcm").rename(tmp_path / "series" / "a.dcm")
    assert content_digests(study(tmp_path, pet="series", ct=paths["ct"])) == before
    (tmp_path / "series" / "a.dcm").write_bytes(b"other")
    after = content_digests(study(tmp_path, pet="series", ct=paths["ct"]))
    assert after["pet"] != before["pet"]
    assert (after["ct"], after["region"]) == (before["ct"], "")


def test_a_file_at_which_a_library_stumbles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "region").mkdir()
    (tmp_path / "region" / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 200)
    paths = write_study(tmp_path, "s", 0) | {"region": "region/x.dcm"}
    with pytest.raises(Refused):
        load_guarded(study(tmp_path, **paths), "PET/CT", TUMOUR_NAMES, region_needed=True)
