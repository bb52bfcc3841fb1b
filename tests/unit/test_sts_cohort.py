"""Nineteen real patients: what is measured in the contour equals an independent computation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference.instance import read_instance, scan_folder
from inference.load import load_ct, load_pet
from inference.measure import measure
from inference.region import given_regions
from inference.suv import suv_rule
from inference.volume import stack

PATIENTS = [2, 6, 8, 10, 12, 15, 18, 23, 24, 25, 28, 32, 33, 35, 40, 41, 42, 43, 51]


@pytest.mark.data
@pytest.mark.parametrize("number", PATIENTS)
def test_patient(shared_data: Path, number: int) -> None:
    patient = f"STS_{number:03d}"
    folder = shared_data / "cohort_sts" / patient
    listed = json.loads((shared_data / "cohort_sts" / "expected.json").read_text())["patients"]
    wanted = {entry["patient"]: entry for entry in listed}[patient]
    pet_stack, ct_stack = (stack(scan_folder(folder / part).instances) for part in ("pet", "ct"))
    suv, ct = load_pet(pet_stack, suv_rule(pet_stack.instances)), load_ct(ct_stack)
    present = [i.sop_instance_uid for i in (*pet_stack.instances, *ct_stack.instances)]

    (given,) = given_regions(read_instance(folder / "rtstruct.dcm"), suv, present, ct)
    found = measure(1, given.region, given.source, suv, ct, given.on_ct)

    assert pet_stack.shape == tuple(wanted["pet"][k] for k in ("slices", "rows", "columns"))
    assert ct_stack.shape == tuple(wanted["ct"][k] for k in ("slices", "rows", "columns"))
    assert given.region.mask.sum() == wanted["pet_voxels_cropped"]
    assert given.cautions == ()
    assert found.suv_max == pytest.approx(wanted["suvmax_cropped"], rel=1e-5)
    assert found.suv_mean == pytest.approx(wanted["suvmean_cropped"], rel=1e-5)
    assert found.volume_ml == pytest.approx(wanted["gtv_volume_pet_grid_ml"], rel=1e-4)
    # on the CT's own grid, where the voxels at the edge of bone are others than on the PET's
    assert given.on_ct is not None
    assert given.on_ct.mask.sum() * ct.voxel_ml == pytest.approx(wanted["gtv_volume_ct_grid_ml"], abs=0.001)
    assert found.mean_hu == pytest.approx(wanted["ct_mean_hu_in_gtv"], abs=0.006)
