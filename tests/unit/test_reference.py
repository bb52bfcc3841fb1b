"""Liver and blood pool: right on phantoms of known uptake, and nothing where there is any doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inference.facts import ReferenceUptake, Volume
from inference.lesions.body import body_of
from inference.lesions.organs import organs_of
from inference.lesions.reference import reference_uptake
from training.phantom.whole_body import WholeBody, whole_body

SEEDS = (7001, 7002, 7003)


@pytest.fixture(scope="module", params=SEEDS)
def patient(request: pytest.FixtureRequest) -> WholeBody:
    return whole_body(request.param, healthy=True)


def references(suv: Volume, ct: Volume) -> dict[str, ReferenceUptake]:
    body = body_of(ct)
    return {r.site: r for r in reference_uptake(suv, body, None if body is None else organs_of(body))}


def cut(volume: Volume, slices: slice) -> Volume:
    return Volume(volume.array[slices], volume.part_affine([slices.start or 0, 0, 0]), volume.frame_of_reference_uid)


def test_what_was_planted_is_measured(patient: WholeBody) -> None:
    found = references(patient.suv, patient.ct)
    liver = found["liver"]
    assert liver.suv_mean == pytest.approx(patient.uptake.liver, rel=0.06)
    assert 0.0 < liver.suv_sd < 0.2 * liver.suv_mean
    assert liver.volume_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.15)  # a sphere of 3 cm
    assert liver.centre_lps_mm[0] < -20.0  # the right lobe
    if "blood pool" in found:  # PET's blur takes up to a seventh of what a narrow aorta has
        assert found["blood pool"].suv_mean == pytest.approx(patient.uptake.blood, rel=0.15)
        assert found["blood pool"].centre_lps_mm[0] > 5.0


def test_the_aorta_is_mostly_found() -> None:
    found = [references(p.suv, p.ct) for p in (whole_body(seed, healthy=True) for seed in SEEDS)]
    assert sum("blood pool" in f for f in found) >= 2


def test_without_the_chest_there_is_no_reference(patient: WholeBody) -> None:
    low = float(patient.ct.affine[2, 3])
    body = body_of(patient.ct)
    assert body is not None
    assert body.lungs_mm is not None
    below_lungs = slice(0, int((body.lungs_mm[0] - low) / 5.0) - 2)
    assert references(cut(patient.suv, below_lungs), cut(patient.ct, below_lungs)) == {}


def test_without_the_abdomen_there_is_no_liver(patient: WholeBody) -> None:
    body = body_of(patient.ct)
    assert body is not None
    assert body.lungs_mm is not None
    chest = slice(int((body.lungs_mm[0] - float(patient.ct.affine[2, 3])) / 5.0) + 4, None)
    assert "liver" not in references(cut(patient.suv, chest), cut(patient.ct, chest))


def test_a_liver_full_of_metastases_is_no_reference(patient: WholeBody) -> None:
    array = patient.suv.array.copy()
    z, y, x = np.ogrid[tuple(slice(n) for n in array.shape)]
    spots = (z // 5 + y // 5 + x // 5) % 2 == 0  # every other 2 cm
    array[np.broadcast_to(spots, array.shape)] *= 3.0
    assert references(replace(patient.suv, array=array), patient.ct) == {}


def test_what_is_liver_on_pet_only_is_no_reference(patient: WholeBody) -> None:
    """The CT must show it: a cyst, fat or contrast agent in its place is not measured."""
    for hu in (-90, 5, 300):
        array = np.where((patient.ct.array > 20) & (patient.ct.array < 120), hu, patient.ct.array).astype(np.int16)
        assert "liver" not in references(patient.suv, replace(patient.ct, array=array))


def test_sagittal_slices_and_no_body_give_none(patient: WholeBody) -> None:
    assert reference_uptake(patient.suv, None, None) == ()
    air = replace(patient.ct, array=np.full(patient.ct.array.shape, -1000, np.int16))
    assert references(patient.suv, air) == {}
