"""Stored values become HU and SUVbw: exact for whatever signs, depths, slopes, padding and codecs come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, get_frame

from inference.facts import Refused, SuvRule
from inference.geometry.volume import Stack, stack
from inference.load import AIR_HU, load_ct, load_pet
from inference.reading.instance import scan_folder
from inference.suv.rule import suv_rule
from tests.images import image, with_pixels


def stacked(folder: Path, values: list[np.ndarray[Any, Any]], modality: str = "CT", **attributes: Any) -> Stack:
    return stack(
        [with_pixels(image(n, (0.0, 0.0, 3.0 * n), modality, **attributes), v, folder) for n, v in enumerate(values)]
    )


def rule(*factors: float) -> SuvRule:
    return SuvRule("BW", factors, "", {}, "")


def refusal(made: Stack) -> str:
    with pytest.raises(Refused) as refused:
        load_ct(made)
    assert "1.2.3." not in refused.value.reason  # UIDs are facts, not text
    return refused.value.code


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    signed=st.booleans(),
    bits=st.integers(9, 16),
    slope=st.sampled_from([1.0, 0.5, 2.0]),
    intercept=st.sampled_from([0.0, -1024.0, -1024.5, -8192.0, 30000.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_hounsfield_units(tmp_path: Path, signed: bool, bits: int, slope: float, intercept: float, seed: int) -> None:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    meant = np.random.default_rng(seed).integers(low, high, (2, 4, 5))
    noise = np.random.default_rng(seed).integers(0, 2**16, (2, 4, 5)) << bits  # bits above Bits Stored mean nothing
    stored = ((meant & (2**bits - 1)) | (noise & 0xFFFF)).astype(np.uint16)
    made = stacked(
        tmp_path,
        list(stored),
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(signed),
        RescaleSlope=slope,
        RescaleIntercept=intercept,
    )
    wanted = np.rint((meant * slope + intercept).clip(AIR_HU, 32767))
    if (wanted == 32767).any():  # of 20 pixels one is too many
        assert refusal(made) == "ct-values-out-of-range"
    else:
        assert np.array_equal(load_ct(made).array, wanted)


def test_values_with_a_sign_declared_to_have_none(tmp_path: Path) -> None:
    """Air would be the densest of all, or bone: by Bits Stored."""
    hu = np.tile(np.array([[-1000, -100, 40, 60]], np.int16), (8, 10))
    unsigned = {"PixelRepresentation": 0, "RescaleIntercept": 0.0}
    assert refusal(stacked(tmp_path, [hu, hu], **unsigned)) == "ct-values-out-of-range"
    twelve = {**unsigned, "BitsStored": 12, "HighBit": 11}
    assert refusal(stacked(tmp_path, [hu, hu], **twelve)) == "pixel-bits-disagree"


def test_some_metal_beyond_the_scale_is_clipped(tmp_path: Path) -> None:
    values = np.full((20, 20), 1064, np.uint16)
    values[3, 4] = 65000
    made = stacked(tmp_path, [values, values], PixelRepresentation=0, RescaleIntercept=-1024.0)
    assert load_ct(made).array[0, 3, 3:5].tolist() == [40, 32767]


@pytest.mark.parametrize(("signed", "high"), [(0, 5000), (1, 2500), (1, -2500)])
def test_pet_values_beyond_bits_stored_are_not_cut(tmp_path: Path, signed: int, high: int) -> None:
    """Cut to 12 bits a tumour of SUV 20 would become one of SUV 3."""
    values = np.full((4, 5), 100, np.int16)
    twelve = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed}
    fitting = values if not signed else -values
    made = stacked(tmp_path, [fitting, fitting], "PT", **twelve)
    assert load_pet(made, rule(0.01, 0.01)).array[0, 0, 0] == pytest.approx(-1.0 if signed else 1.0)
    values[1, 2] = high
    with pytest.raises(Refused) as refused:
        load_pet(stacked(tmp_path, [values, values], "PT", **twelve), rule(0.01, 0.01))
    assert refused.value.code == "pixel-bits-disagree"


@pytest.mark.parametrize(
    ("padding", "limit", "stored", "wanted"),
    [
        (-2000, None, [-2000, 10, -500], [-1024, 10, -500]),
        (500, None, [500, 10, 501], [-1024, 10, 501]),
        (63536, None, [-2000, 10, 0], [-1024, 10, 0]),  # -2000 written unsigned
        (500, 600, [500, 555, 601], [-1024, -1024, 601]),
        (600, 500, [500, 555, 601], [-1024, -1024, 601]),
    ],
)
def test_padding_is_air(tmp_path: Path, padding: int, limit: int | None, stored: list[int], wanted: list[int]) -> None:
    values = np.zeros((4, 5), np.int16)
    values[0, :3] = stored
    made = stacked(tmp_path, [values, values], PixelPaddingValue=padding, PixelPaddingRangeLimit=limit)
    assert load_ct(made).array[1, 0, :3].tolist() == wanted


def test_padding_in_pet_is_no_uptake(tmp_path: Path) -> None:
    values = np.full((4, 5), 100, np.int16)
    values[0, 0] = 3000
    made = stacked(tmp_path, [values, values], "PT", PixelPaddingValue=3000)
    suv = load_pet(made, rule(0.01, 0.01)).array
    assert suv[0, 0, 0] == 0
    assert suv[0, 0, 1] == pytest.approx(1.0)


def test_every_pet_slice_has_its_own_slope_and_factor_and_an_empty_first_one_changes_nothing(tmp_path: Path) -> None:
    values = [np.full((4, 5), v, np.int16) for v in (0, 1000, 30000)]
    made = stacked(tmp_path, values, "PT")
    slopes = [1.0, 0.25, 2.5]
    made = replace(
        made,
        instances=tuple(
            replace(i, attributes={**i.attributes, "RescaleSlope": s})
            for i, s in zip(made.instances, slopes, strict=True)
        ),
    )
    suv = load_pet(made, rule(1.0, 2.0, 0.001)).array
    assert suv.dtype == np.float32
    assert suv[:, 0, 0] == pytest.approx([0.0, 500.0, 75.0])


def test_every_ct_slice_has_its_own_slope_and_intercept(tmp_path: Path) -> None:
    values = [np.full((4, 5), v, np.int16) for v in (1064, 80, 270, -40)]
    made = stacked(tmp_path, values)
    rescale = [(1.0, -1024.0), (0.5, 0.0), (2.0, -500.0), (1.0, 80.0)]
    made = replace(
        made,
        instances=tuple(
            replace(i, attributes={**i.attributes, "RescaleSlope": slope, "RescaleIntercept": intercept})
            for i, (slope, intercept) in zip(made.instances, rescale, strict=True)
        ),
    )
    assert load_ct(made).array[:, 0, 0].tolist() == [40, 40, 40, 40]


def test_eight_bits(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.uint8).reshape(4, 5)
    made = stacked(
        tmp_path,
        [values, values],
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        RescaleIntercept=5.0,
    )
    assert np.array_equal(load_ct(made).array[0], values.astype(int) + 5)


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("ct-not-hu", {"RescaleType": "ED"}),
        ("ct-rescale-missing", {"RescaleSlope": None}),
        ("ct-rescale-missing", {"RescaleIntercept": None}),
        ("pixel-format-unsupported", {"SamplesPerPixel": 3}),
        ("pixel-format-unsupported", {"BitsAllocated": 12}),
        ("pixel-format-unsupported", {"BitsStored": 12, "HighBit": 15}),
        ("pixel-data-short", {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}),
    ],
)
def test_what_is_not_a_ct_in_hounsfield_units(tmp_path: Path, code: str, changed: dict[str, Any]) -> None:
    assert refusal(stacked(tmp_path, [np.zeros((4, 5), np.int16)] * 2, **changed)) == code


def test_a_file_that_shrank_is_refused(tmp_path: Path) -> None:
    made = stacked(tmp_path, [np.zeros((4, 5), np.int16)] * 3)
    Path(made.instances[1].path).write_bytes(b"header" + bytes(30))
    assert refusal(made) == "pixel-data-short"
    Path(made.instances[1].path).unlink()
    assert refusal(made) == "pixel-data-unreadable"


def test_sizes_are_bounded_before_memory_is_asked_for(tmp_path: Path) -> None:
    made = stacked(tmp_path, [np.zeros((4, 5), np.int16)] * 3)
    huge = tuple(replace(i, attributes={**i.attributes, "Rows": 65535, "Columns": 65535}) for i in made.instances)
    assert refusal(replace(made, instances=huge)) == "too-large"


CODECS = ["rle", "jpeg_ls", "jpeg_lossless_sv1", "j2k", "htj2k", "implicit", "big_endian", "deflated"]


def load_case(folder: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    pet = stack(scan_folder(folder / "pet").instances)
    return load_pet(pet, suv_rule(pet.instances)).array, load_ct(stack(scan_folder(folder / "ct").instances)).array


@pytest.mark.data
@pytest.mark.parametrize("codec", CODECS)
def test_lossless_transfer_syntaxes_equal_the_baseline(shared_data: Path, codec: str) -> None:
    wanted = load_case(shared_data / "geometry" / "baseline")
    found = load_case(shared_data / "robustness" / f"ts_{codec}")
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])


@pytest.mark.data
@pytest.mark.parametrize(
    ("case", "air_rows"), [("ct_padding_value", 3), ("ct_unsigned_12bit", 2), ("pixel_data_long", 0)]
)
def test_stored_otherwise_the_same_units(shared_data: Path, case: str, air_rows: int) -> None:
    wanted = load_case(shared_data / "geometry" / "baseline")[1]
    found = load_case(shared_data / "robustness" / case)[1]
    differ = np.flatnonzero((found != wanted).any(axis=(0, 2)))
    assert len(differ) == air_rows
    assert (found[:, differ] == AIR_HU).all()


@pytest.mark.data
def test_prone_is_the_same_place_in_space(shared_data: Path) -> None:
    def pet(case: str) -> tuple[np.ndarray[Any, Any], Any]:
        made = stack(scan_folder(shared_data / "geometry" / case / "pet").instances)
        volume = load_pet(made, suv_rule(made.instances))
        return volume.array, volume

    usual, grid = pet("baseline")
    prone, turned = pet("prone_orientation")
    index = np.stack(np.meshgrid(*map(np.arange, usual.shape), indexing="ij"), axis=-1)
    there = np.rint(turned.to_index(grid.to_lps(index))).astype(int)
    assert not np.array_equal(prone, usual)
    assert np.array_equal(prone[tuple(np.moveaxis(there, -1, 0))], usual)


@pytest.mark.data
@pytest.mark.parametrize("codec", ["rle", "jpeg_ls", "jpeg_lossless_sv1", "j2k", "htj2k"])
def test_a_cut_codestream_is_refused_not_guessed(shared_data: Path, tmp_path: Path, codec: str) -> None:
    made = stack(scan_folder(shared_data / "robustness" / f"ts_{codec}" / "ct").instances)
    path = tmp_path / "cut.dcm"
    dataset = pydicom.dcmread(made.instances[3].path)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: len(frame) * 9 // 10]])
    dataset.save_as(path)
    broken = (*made.instances[:3], replace(made.instances[3], path=str(path)), *made.instances[4:])
    assert refusal(replace(made, instances=broken)) == "pixel-data-unreadable"


@pytest.mark.data
def test_a_sign_that_the_codestream_contradicts_is_refused(shared_data: Path) -> None:
    case = shared_data / "robustness" / "pydicom_j2k_pixelrep_mismatch"
    instance = scan_folder(case).instances[0]
    made = Stack((instance,), np.eye(4), (1, 1, 1), (1, 512, 512), "1")
    assert refusal(made) == "pixel-sign-disagrees"
