"""Evidence first, silence last, and never part of a volume."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.assemble import Complete, GiveUp, Traffic, Verdict, Wait, judge
from dicom_node.config import Assemble
from inference.facts import Instance
from tests.images import CT_IMAGE
from tests.studies import STUDY, ct, one, pet, rtstruct

RULES = Assemble()
LAST = 1000.0  # Unix time of the last arrival


def verdict(instances: list[Instance], quiet_s: float, open_associations: int = 0, gap_s: float = 0.0) -> Verdict:
    """What is said ``quiet_s`` after the last arrival, the CT slices having come ``gap_s`` apart."""
    slices = [i for i in instances if i.modality == "CT"]
    arrivals = {f"{STUDY}.2": [LAST - gap_s * n for n in reversed(range(len(slices)))]}
    return judge(instances, Traffic(LAST, arrivals, open_associations), LAST + quiet_s, RULES)


def test_the_count_of_the_pet_and_an_unbroken_ct_are_enough() -> None:
    assert isinstance(verdict([*pet(), *ct()], 0.31), Complete)


def test_the_ct_may_still_grow_for_a_moment() -> None:
    waits = verdict([*pet(), *ct()], 0.1)
    assert isinstance(waits, Wait)
    assert waits.until == pytest.approx(LAST + 0.3)


def test_a_slow_sender_is_given_five_of_its_gaps() -> None:
    waits = verdict([*pet(), *ct()], 9.9, gap_s=2.0)
    assert isinstance(waits, Wait)
    assert waits.until == pytest.approx(LAST + 10.0)
    assert isinstance(verdict([*pet(), *ct()], 10.1, gap_s=2.0), Complete)


def test_an_open_association_holds_it_back_but_not_for_ever() -> None:
    whole = [*pet(), *ct()]
    assert isinstance(verdict(whole, 59.0, open_associations=1), Wait)
    assert isinstance(verdict(whole, 61.0, open_associations=1), Complete)


@pytest.mark.parametrize(
    "instances",
    [
        [*pet(NumberOfSlices=...), *ct()],
        [*pet(NumberOfSlices=7), *ct()],
        [*pet(), *ct(InstanceNumber=None)],
        [*pet(), *(s for n, s in enumerate(ct(40, start_mm=-60.0)) if n != 1)],
    ],
    ids=["no count", "another count", "no instance numbers", "a hole beyond the PET"],
)
def test_without_evidence_only_silence_counts(instances: list[Instance]) -> None:
    assert isinstance(verdict(instances, 14.0), Wait)
    assert isinstance(verdict(instances, 16.0), Complete)


def test_a_ct_that_ends_early_may_have_been_cut_off() -> None:
    assert isinstance(verdict([*pet(20), *ct(19)], 59.0), Wait)
    assert isinstance(verdict([*pet(20), *ct(19)], 61.0), Complete)


@given(missing=st.integers(0, 7), quiet_s=st.floats(0, 10_000), open_associations=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_part_of_a_pet_is_never_analysed(missing: int, quiet_s: float, open_associations: int) -> None:
    slices = pet()
    said = verdict([*slices[:missing], *slices[missing + 1 :], *ct()], quiet_s, open_associations)
    if quiet_s < RULES.give_up_s:
        assert isinstance(said, Wait)
        assert said.until > LAST + quiet_s
    else:
        assert isinstance(said, GiveUp)
        assert said.refused.code in ("pet-incomplete", "missing-slices")


@given(st.sets(st.integers(0, 7), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_part_of_a_ct_is_never_analysed_without_a_warning(missing: set[int]) -> None:
    slices = [s for n, s in enumerate(ct()) if n not in missing]
    assert not isinstance(verdict([*pet(), *slices], 5.0), Complete)


def test_a_ct_with_uneven_slices_may_lack_some() -> None:
    heights = [-3.0, 0.0, 3.0, 7.5, 10.5, 13.5, 18.0, 21.0, 24.0]
    slices = [s for h in heights for s in ct(1, start_mm=h)]
    uneven = [one(CT_IMAGE, 2, n, **{**s.attributes, "InstanceNumber": n + 1}) for n, s in enumerate(slices)]
    assert isinstance(verdict([*pet(), *uneven], 59.0), Wait)
    said = verdict([*pet(), *uneven], 61.0)
    assert isinstance(said, Complete)
    assert "irregular-spacing-interpolated" in {c.code for c in said.pair.cautions}


def test_a_ct_alone_waits_and_is_then_given_up() -> None:
    assert isinstance(verdict(ct(), 599.0), Wait)
    said = verdict(ct(), 601.0)
    assert isinstance(said, GiveUp)
    assert said.refused.code == "no-pet"


def test_what_waiting_cannot_mend_is_refused_soon() -> None:
    said = verdict([*pet(), *ct(PatientID="Other")], 15.1)
    assert isinstance(said, GiveUp)
    assert said.refused.code == "patient-mismatch"


def test_a_region_that_comes_with_the_study_is_part_of_it() -> None:
    said = verdict([*pet(), *ct(), rtstruct()], 1.0)
    assert isinstance(said, Complete)
    assert said.pair.region is not None
