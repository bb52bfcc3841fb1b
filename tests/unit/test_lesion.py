"""The automatic proposal on a simple patient: lesions found, organs set aside by several signs, floods stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from inference.facts import ReferenceUptake, Tracer, Volume
from inference.lesions.body import body_of
from inference.lesions.lesion import MOST_LESIONS, Proposal, find_lesions
from inference.lesions.organs import organs_of
from tests.images import ball, grid

Point = tuple[float, float, float]
# a patient of 1 m from the thighs (z = 0) to the vertex, 400 mm wide in a field of 600 mm; x to the left, y to the back
MIDDLE = (300.0, 300.0)
LUNGS_Z = (480.0, 700.0)
LIVER, LUNG_SPOT, BACK = (230.0, 300.0, 420.0), (220.0, 300.0, 600.0), (300.0, 350.0, 300.0)
BLADDER, LEFT_KIDNEY, RIGHT_KIDNEY = (300.0, 270.0, 100.0), (360.0, 340.0, 380.0), (240.0, 345.0, 390.0)


def proposed(suv: Volume, ct: Volume, tracer: str = "fdg", references: Sequence[ReferenceUptake] = ()) -> Proposal:
    body = body_of(ct)
    organs = None if body is None else organs_of(body)
    return find_lesions(suv, body, organs, Tracer(tracer, "F-18"), references)


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

    def proposal(self, tracer: str = "fdg", references: Sequence[ReferenceUptake] = ()) -> Proposal:
        return proposed(self.suv, self.ct, tracer, references)

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
        ("kidney", [(LEFT_KIDNEY, 20.0, 8.0, None), (RIGHT_KIDNEY, 22.0, 9.0, None)]),
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
    assert len(proposal.unsure) == 1


LIVER_UPTAKE = ReferenceUptake("liver", 2.0, 0.2, 14.0, (0.0, 0.0, 0.0))
BLOOD_UPTAKE = ReferenceUptake("blood pool", 1.5, 0.1, 1.5, (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("tracer", "references", "threshold", "why"),
    [
        ("fdg", (LIVER_UPTAKE, BLOOD_UPTAKE), 3.4, "1.5 × liver mean 2.00 + 2 SD 0.20"),
        ("fdg", (BLOOD_UPTAKE,), 3.2, "2 × blood pool mean 1.50 + 2 SD 0.10"),
        ("fdg", (), 4.0, "fixed"),
        ("psma-11", (LIVER_UPTAKE,), 4.0, "fixed"),  # PERCIST is FDG's
        ("", (LIVER_UPTAKE,), 4.0, "fixed"),
    ],
)
def test_the_threshold_is_percists_where_it_can_be(
    patient: Patient, tracer: str, references: Sequence[ReferenceUptake], threshold: float, why: str
) -> None:
    patient.hot(BACK, 14.0, threshold + 0.1)
    proposal = patient.proposal(tracer, references)
    assert len(proposal.regions) == 1
    (text,) = [c.text for c in proposal.cautions if c.code == "region-automatic"]
    assert f"{threshold:.3g}" in text
    assert why in text
    assert "threshold-lowered" not in codes(proposal)


def test_what_percist_does_not_call_measurable_is_no_lesion(patient: Patient) -> None:
    patient.hot(BACK, 14.0, 3.3)
    assert len(patient.proposal().regions) == 1  # without a liver the fixed threshold is lowered
    proposal = patient.proposal(references=[LIVER_UPTAKE])
    assert proposal.regions == ()
    assert "PERCIST" in next(c.text for c in proposal.cautions if c.code == "no-lesion-found")


def test_a_lesion_that_touches_an_organ_is_cut_from_it(patient: Patient) -> None:
    patient.hot(LEFT_KIDNEY, 20.0, 8.0)
    patient.hot(RIGHT_KIDNEY, 20.0, 9.0)
    lesion = patient.hot((360.0, 310.0, 290.0), 14.0, 12.0)  # below and in front of the left kidney
    patient.hot((360.0, 325.0, 330.0), 34.0, 5.0)  # uptake between both, that joins them
    patient.hot((360.0, 310.0, 290.0), 14.0, 12.0)
    patient.hot(LEFT_KIDNEY, 20.0, 8.0)
    proposal = patient.proposal()
    assert (proposal.regions[0].full(lesion.shape) & lesion).sum() > 0.9 * lesion.sum()
    assert "lesion-touches-organ" in codes(proposal)


def test_a_lump_beside_a_full_bladder_is_found_although_it_has_no_peak(patient: Patient) -> None:
    patient.hot((300.0, 322.0, 100.0), 20.0, 8.0)  # in soft tissue behind it
    patient.hot(BLADDER, 34.0, 25.0, 5)
    proposal = patient.proposal()
    assert len(proposal.regions) == 1
    centre = patient.suv.to_lps(np.argwhere(proposal.regions[0].mask).mean(axis=0) + proposal.regions[0].start)
    assert centre[1] > BLADDER[1] + 40.0
    assert {"lesion-touches-organ", "physiologic-uptake-set-aside"} <= set(codes(proposal))


def test_a_full_bladder_alone_gives_nothing(patient: Patient) -> None:
    patient.hot(BLADDER, 38.0, 25.0)
    patient.hot(BLADDER, 34.0, 25.0, 5)  # PET sees it 4 mm larger than CT
    assert patient.proposal().regions == ()


def test_a_hot_tube_in_the_belly_is_bowel_and_a_lump_beside_it_comes_last(patient: Patient) -> None:
    for n in range(12):
        patient.hot((215.0, 270.0, 200.0 + 12 * n), 12.0, 6.0)
    fragment = patient.hot((215.0, 270.0, 172.0), 10.0, 5.0)
    lesion = patient.hot(LUNG_SPOT, 8.0, 5.0)
    proposal = patient.proposal()
    assert "bowel" in proposal.cautions[0].text
    assert len(proposal.regions) == 2
    assert np.array_equal(proposal.regions[0].full(lesion.shape), lesion)
    assert np.array_equal(proposal.regions[1].full(lesion.shape), fragment)
    assert "lesion-doubtful" in codes(proposal)
    assert proposal.unsure == ()  # of the first


def test_a_slender_spot_below_the_kidneys_is_the_ureter(patient: Patient) -> None:
    for n in range(8):
        patient.hot((340.0, 330.0, 250.0 + 5 * n), 4.0, 9.0)
    assert "ureter" in patient.proposal().cautions[0].text
    assert patient.proposal().regions == ()


def test_a_spot_in_the_neck_with_a_twin_is_doubtful(patient: Patient) -> None:
    patient.hot((275.0, 300.0, 800.0), 8.0, 6.0)
    single = patient.hot(LUNG_SPOT, 7.0, 5.0)
    assert len(patient.proposal().regions) == 2
    assert "lesion-doubtful" not in codes(patient.proposal())
    patient.hot((325.0, 300.0, 800.0), 8.0, 5.5)
    proposal = patient.proposal()
    assert np.array_equal(proposal.regions[0].full(single.shape), single)
    assert "salivary glands or tonsils" in " ".join(c.text for c in proposal.cautions)
    assert proposal.unsure == ()
    patient.suv.array[single] = 0.8
    (reason,) = patient.proposal().unsure
    assert "salivary glands or tonsils" in reason


def test_another_tracer_has_another_pattern(patient: Patient) -> None:
    patient.hot((345.0, 270.0, 530.0), 36.0, 8.0, 45)
    patient.hot((345.0, 270.0, 530.0), 20.0, 1.5)
    assert patient.proposal().regions == ()  # FDG: the heart
    for tracer in ("psma-11", "dotatate", "fet"):
        proposal = patient.proposal(tracer)
        assert len(proposal.regions) == 1
        assert "physiologic-pattern-differs" in codes(proposal)
        assert tracer in " ".join(proposal.unsure)
    assert "physiologic-pattern-differs" not in codes(patient.proposal())
    assert "physiologic-pattern-assumed" in codes(patient.proposal(""))


def test_liver_and_spleen_are_set_aside_where_the_tracer_goes_there(patient: Patient) -> None:
    belly = patient.ct.array[:96]
    belly[belly > 0] = -90  # fat round the organs
    patient.hot((200.0, 300.0, 440.0), 75.0, 7.0, 60)
    patient.hot((400.0, 330.0, 440.0), 40.0, 9.0, 55)
    lesion = patient.hot((300.0, 350.0, 640.0), 10.0, 8.0)
    proposal = patient.proposal("psma-11")
    assert [r.full(lesion.shape).sum() for r in proposal.regions] == [lesion.sum()]
    said = " ".join(c.text for c in proposal.cautions if c.code == "physiologic-uptake-set-aside")
    assert "liver" in said
    assert "spleen" in said
    assert len(patient.proposal("fdg").regions) == 3  # of FDG's usual uptake it is not


def test_in_a_limb_faint_and_noisy_uptake_is_looked_for_in_the_smoothed_image() -> None:
    rng = np.random.default_rng(5)
    suv, ct = grid((50, 30, 30), (3.0, 4.0, 4.0)), grid((50, 30, 30), (3.0, 4.0, 4.0), fill=-1000)
    ct.array[ball(ct, (60.0, 60.0, 75.0), 200.0) & (np.hypot(*np.ogrid[-60:60:4, -60:60:4]) < 54)[None]] = 40
    suv.array[:] = 0.4
    tumour = ball(suv, (60.0, 60.0, 75.0), 20.0)
    suv.array[tumour] = 1.6
    suv.array[:] *= rng.uniform(0.6, 1.4, suv.array.shape).astype(np.float32)
    proposal = proposed(suv, Volume(ct.array.astype(np.int16), ct.affine, ""))
    assert len(proposal.regions) == 1
    found = proposal.regions[0].full(tumour.shape)
    assert 2 * (found & tumour).sum() > 0.7 * (found.sum() + tumour.sum())
    assert "threshold-lowered" in codes(proposal)
