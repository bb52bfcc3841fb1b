"""The main example, a real patient: SUV and measures equal what an independent computation gave."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from inference.facts import Volume
from inference.geometry.volume import stack
from inference.lesions.measure import measure
from inference.load import load_ct, load_pet
from inference.reading.instance import read_instance, scan_folder
from inference.regions.region import given_regions
from inference.suv.rule import suv_rule

pytestmark = pytest.mark.data


@pytest.fixture(scope="module", params=["pet_bqml", "pet_gml"])
def suv(request: pytest.FixtureRequest, shared_data: Path) -> Volume:
    made = stack(scan_folder(shared_data / "study_sts_001" / request.param).instances)
    return load_pet(made, suv_rule(made.instances))


@pytest.fixture(scope="module")
def ct(shared_data: Path) -> Volume:
    return load_ct(stack(scan_folder(shared_data / "study_sts_001" / "ct").instances))


@pytest.fixture(scope="module")
def expected(shared_data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared_data / "study_sts_001" / "expected.json").read_text())
    return found


def test_every_slice(suv: Volume, shared_data: Path) -> None:
    with (shared_data / "study_sts_001" / "suv_per_slice.csv").open() as file:
        rows = {float(row["z_mm"]): row for row in csv.DictReader(file)}
    assert len(rows) == len(suv.array)
    for k, plane in enumerate(suv.array):
        row = rows[round(float(suv.to_lps([k, 0, 0])[2]), 2)]
        assert plane.max() == pytest.approx(float(row["slice_suv_max"]), rel=1e-6)
        assert plane.mean(dtype=float) == pytest.approx(float(row["slice_suv_mean"]), abs=1e-6)


def test_the_factor(shared_data: Path, expected: dict[str, Any]) -> None:
    rule = suv_rule(scan_folder(shared_data / "study_sts_001" / "pet_bqml").instances)
    assert rule.factors == pytest.approx((expected["suvbw_factor_per_bqml"],) * 59, rel=1e-12)
    assert rule.inputs["seconds_injection_to_reference"] == expected["inputs"]["seconds_between"]
    assert rule.cautions == ()


@pytest.mark.parametrize("contour", ["rtstruct_ct", "rtstruct_pet"])
def test_the_tumour(suv: Volume, ct: Volume, shared_data: Path, expected: dict[str, Any], contour: str) -> None:
    (given,) = given_regions(read_instance(shared_data / "study_sts_001" / f"{contour}.dcm"), suv, ct=ct)
    wanted = expected["rois"][contour]
    found = measure(1, given.region, given.source, suv, ct, given.on_ct)
    assert given.region.mask.sum() == wanted["pet_voxels"]
    assert found.on_pet.suv_max == pytest.approx(wanted["suvmax"], rel=1e-6)
    assert found.on_pet.suv_mean == pytest.approx(wanted["suvmean"], rel=1e-6)
    assert found.volume_ml == pytest.approx(wanted["volume_pet_grid_ml"], rel=1e-6)
    assert found.mean_hu == pytest.approx(wanted["mean_hu"], rel=1e-6)
    assert found.on_pet.suv_mean < found.on_pet.suv_peak < found.on_pet.suv_max
    assert found.on_pet.mtv_ml < found.volume_ml
