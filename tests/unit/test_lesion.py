"""The automatic proposal on a simple patient: lesions found, organs set aside by several signs, floods stopped."""

from __future__ import annotations

from collections.abc import Sequence
from time import process_time
from typing import Any

import numpy as np
import pytest

from inference.body import body_of
from inference.facts import Tracer, Volume
from inference.lesion import MOST_LESIONS, Proposal, find_lesions
from inference.organs import organs_of
from tests.images import ball, grid

Point = tuple[float, float, float]
# a patient of 1 m from the thighs (z = 0) to the vertex, 400 mm wide in a field of 600 mm; x to the left, y to the back
MIDDLE = (300.0, 300.0)
LUNGS_Z = (480.0, 700.0)
LIVER, LUNG_SPOT, BACK = (230.0, 300.0, 420.0), (220.0, 300.0, 600.0), (300.0, 350.0, 300.0)
BLADDER, LEFT_KIDNEY, RIGHT_KIDNEY = (300.0, 270.0, 100.0), (360.0, 340.0, 380.0), (240.0, 345.0, 390.0)


def proposed(suv: Volume, ct: Volume, tracer: str = "fdg") -> Proposal:
    body = body_of(ct)
    return find_lesions(suv, body, None if body is None else organs_of(body), Tracer(tracer, "F-18"))


class Patient:
    """CT and PET of one grid, 5 mm, painted with balls before a test looks at them."""

    def __init__(self) -> None:
        shape, spacing = (200, 120, 120), (5.0, 5.0, 5.0)
        self.suv, hu = grid(shape, spacing), grid(shape, spacing, fill=-1000)
        z, y, x = np.ogrid[0:1000:5, 0:600:5, 0:600:5]
        off = ((x - MIDDLE[0]) / 200) ** 2 + ((y - MIDDLE[1]) / 110) ** 2
        head = ((x - MIDDLE[0]) / 80) ** 2 + ((y - MIDDLE[1]) / 100) ** 2
        hu.array[np.where(z < 760, off < 1, head < 1)] = 40
        couch = (np.abs(x - 300) < 210) & (np.abs(y - 440) < 12) & (z >= 0)
        hu.array[couch] = -150
        for side in (-1, 1):
            lung = ((x - MIDDLE[0] - side * 80) / 60) ** 2 + ((y - MIDDLE[1]) / 75) ** 2 < 1
            hu.array[lung & (z > LUNGS_Z[0]) & (z < LUNGS_Z[1])] = -850
        self.suv.array[hu.array > -900] = 0.8
        self.ct = Volume(hu.array.astype(np.int16), hu.affine, hu.frame_of_reference_uid)

    def hot(self, centre: Point, radius_mm: float, suv: float, hu: int | None = None) -> np.ndarray[Any, Any]:
        inside = ball(self.suv, centre, radius_mm)
        self.suv.array[inside] = suv
        if hu is not None:
            self.ct.array[inside] = hu
        return inside

    def proposal(self) -> Proposal:
        return proposed(self.suv, self.ct)

    def found(self) -> list[np.ndarray[Any, Any]]:
        return [r.full(self.suv.array.shape) for r in self.proposal().regions]


@pytest.fixture
def patient() -> Patient:
    return Patient()


def codes(proposal: Proposal) -> list[str]:
    return [c.code for c in proposal.cautions]


def test_the_body_is_outlined_without_the_couch(patient: Patient) -> None:
    body = body_of(patient.ct)
    assert body is not None
    assert body.lungs_mm == pytest.approx(LUNGS_Z, abs=12)
    k = body.slice_at(300.0)
    assert (body.middle_x_mm[k], body.middle_y_mm[k]) == pytest.approx(MIDDLE, abs=9)
    assert body.area_mm2[k] == pytest.approx(np.pi * 200 * 110, rel=0.05)
    chest = body.slice_at(600.0)
    assert body.area_mm2[chest] == pytest.approx(np.pi * 200 * 110, rel=0.05)  # lungs belong to it


def test_lesions_are_found_exactly_the_largest_first(patient: Patient) -> None:
    small = patient.hot(LUNG_SPOT, 8.0, 12.0)
    large = patient.hot(BACK, 14.0, 6.0)
    found = patient.found()
    assert len(found) == 2
    assert np.array_equal(found[0], large)
    assert np.array_equal(found[1], small)
    assert codes(patient.proposal()) == ["region-automatic"]


def test_a_region_ends_at_41_percent_of_its_own_maximum(patient: Patient) -> None:
    rim = patient.hot(BACK, 16.0, 4.5)
    core = patient.hot(BACK, 10.0, 12.0)
    assert np.array_equal(patient.found()[0], core)
    patient.suv.array[rim] = 3.0  # below 4.0, above 41 % of 7.0
    patient.suv.array[core] = 7.0
    assert np.array_equal(patient.found()[0], rim)


@pytest.mark.parametrize(
    ("organ", "spots"),
    [
        ("brain", [((300.0, 300.0, 880.0), 62.0, 9.0, None)]),
        ("bladder", [(BLADDER, 30.0, 20.0, 5)]),
        ("kidney (2)", [(LEFT_KIDNEY, 20.0, 8.0, None), (RIGHT_KIDNEY, 22.0, 9.0, None)]),
    ],
)
def test_organs_are_set_aside_and_named(
    patient: Patient, organ: str, spots: Sequence[tuple[Point, float, float, int | None]]
) -> None:
    for spot in spots:
        patient.hot(*spot)
    lesion = patient.hot(LUNG_SPOT, 9.0, 6.0)
    proposal = patient.proposal()
    assert [r.full(lesion.shape).sum() for r in proposal.regions] == [lesion.sum()]
    assert codes(proposal) == ["physiologic-uptake-set-aside", "region-automatic"]
    assert organ in proposal.cautions[0].text


def test_a_hollow_uptake_left_in_front_in_the_chest_is_the_heart(patient: Patient) -> None:
    patient.hot((345.0, 270.0, 530.0), 36.0, 8.0, 45)
    assert len(patient.found()) == 1  # a solid one stays a lesion
    patient.hot((345.0, 270.0, 530.0), 20.0, 1.5)
    assert "heart" in patient.proposal().cautions[0].text
    assert patient.proposal().regions == ()


@pytest.mark.parametrize(
    ("centre", "hu"),
    [(LEFT_KIDNEY, None), (BLADDER, 45), ((300.0, 300.0, 880.0), None), ((200.0, 270.0, 100.0), 5)],
    ids=["one kidney only", "bladder of soft tissue", "small in the head", "urine beside the middle"],
)
def test_what_lacks_one_sign_stays_a_lesion(patient: Patient, centre: Point, hu: int | None) -> None:
    patient.hot(centre, 20.0, 9.0, hu)
    assert len(patient.found()) == 1


def test_no_lesion_is_an_answer(patient: Patient) -> None:
    patient.hot(BACK, 4.0, 30.0)  # one voxel: noise
    patient.hot((550.0, 550.0, 300.0), 20.0, 30.0)  # beside the patient
    proposal = patient.proposal()
    assert proposal.regions == ()
    assert codes(proposal) == ["uptake-outside-body", "no-lesion-found"]


def test_a_faint_lesion_is_looked_for_only_where_there_is_no_hot_one(patient: Patient) -> None:
    faint = patient.hot(BACK, 14.0, 3.5)
    patient.hot(LIVER, 70.0, 2.6)
    (found,) = patient.found()
    assert np.array_equal(found, faint)
    assert "threshold-lowered" in codes(patient.proposal())
    patient.hot(LUNG_SPOT, 10.0, 8.0)
    assert len(patient.found()) == 1


def test_growth_into_warm_surroundings_is_stopped(patient: Patient) -> None:
    patient.hot(LIVER, 70.0, 2.5)
    core = patient.hot(LIVER, 12.0, 6.0)  # 41 % is 2.46: the whole liver
    proposal = patient.proposal()
    assert np.array_equal(proposal.regions[0].full(core.shape), core)
    assert "region-growth-stopped" in codes(proposal)


def test_many_lesions_are_bounded(patient: Patient) -> None:
    for n in range(MOST_LESIONS + 5):
        patient.hot((200.0 + 40 * (n % 6), 300.0, 200.0 + 50 * (n // 6)), 8.0, 9.0)
    proposal = patient.proposal()
    assert len(proposal.regions) == MOST_LESIONS
    assert "lesions-left-out" in codes(proposal)


def test_without_lungs_nothing_is_taken_for_an_organ(patient: Patient) -> None:
    cut = slice(0, 88)
    patient.hot(BLADDER, 30.0, 20.0, 5)
    legs = Volume(patient.suv.array[cut], patient.suv.affine, "")
    proposal = proposed(legs, Volume(patient.ct.array[cut], patient.ct.affine, ""))
    assert len(proposal.regions) == 1
    assert "physiologic-uptake-not-assessed" in codes(proposal)


def test_sagittal_slices_give_a_proposal_without_organs(patient: Patient) -> None:
    lesion = patient.hot(BACK, 14.0, 6.0)

    def turned(volume: Volume) -> Volume:
        affine = volume.affine[:, [2, 1, 0, 3]]
        return Volume(np.ascontiguousarray(volume.array.transpose(2, 1, 0)), affine, "")

    proposal = proposed(turned(patient.suv), turned(patient.ct))
    assert [r.mask.sum() for r in proposal.regions] == [lesion.sum()]
    assert "physiologic-uptake-not-assessed" in codes(proposal)


def test_a_whole_body_takes_tenths_of_a_second(patient: Patient) -> None:
    rng = np.random.default_rng(0)
    suv = grid((300, 200, 200), (3.27, 4.07, 4.07))
    suv.array[:] = 0.8 + 0.2 * rng.standard_normal(suv.array.shape, np.float32)
    suv.array[100:120, 90:110, 90:110] += 6.0
    proposed(patient.suv, patient.ct)  # imports
    began = process_time()
    proposed(suv, patient.ct)
    assert process_time() - began < 1.5
