"""Evidence first, silence last, and never part of a volume."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.assemble import Before, Complete, GiveUp, Traffic, Verdict, Wait, assemble, judge, not_before
from dicom_node.sections import Assemble
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
    whole, unnumbered = [*pet(), *ct()], [*pet(), *ct(InstanceNumber=None)]
    assert isinstance(verdict(whole, 14.9, open_associations=1), Wait)
    said = verdict(whole, 15.1, open_associations=1)
    assert isinstance(said, Complete)
    assert "still open" in said.why
    assert isinstance(verdict(unnumbered, 59.0, open_associations=1), Wait)
    assert isinstance(verdict(unnumbered, 61.0, open_associations=1), Complete)


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


def test_a_pet_that_does_not_say_how_long_it_is_is_given_five_of_its_gaps() -> None:
    instances = [*pet(NumberOfSlices=...), *ct()]
    slow = Traffic(LAST, {f"{STUDY}.1": [LAST - 20.0 * n for n in range(8)]})
    assert isinstance(judge(instances, slow, LAST + 99.0, RULES), Wait)
    assert isinstance(judge(instances, slow, LAST + 101.0, RULES), Complete)
    slowest = Traffic(LAST, {f"{STUDY}.1": [LAST - 3600.0 * n for n in range(8)]})
    assert isinstance(judge(instances, slowest, LAST + RULES.give_up_s + 1.0, RULES), Complete)


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


def after(before: Before, instances: list[Instance], quiet_s: float, open_associations: int = 0) -> Verdict:
    """What is said of a study that was decided before, ``quiet_s`` after the last arrival."""
    return judge(instances, Traffic(LAST, {}, open_associations), LAST + quiet_s, RULES, before=before)


DECIDED = Before(1, frozenset([assemble([*pet(), *ct()]).digest]))


@pytest.mark.parametrize(("times", "patience_s"), [(1, 15.0), (2, 30.0), (4, 120.0), (7, 600.0), (2000, 600.0)])
def test_images_after_a_decision_are_waited_for_longer_each_time(times: int, patience_s: float) -> None:
    before, grown = replace(DECIDED, times=times), [*pet(), *ct(9)]
    waits = after(before, grown, patience_s - 0.1)
    assert isinstance(waits, Wait)
    assert waits.until == pytest.approx(LAST + patience_s)
    assert waits.pair == assemble(grown)
    assert isinstance(after(before, grown, patience_s + 0.1), Complete)


def test_a_new_region_and_what_changes_nothing_are_not_waited_for() -> None:
    for instances in ([*pet(), *ct(), rtstruct()], [*pet(), *ct()], [*pet(), *ct(), *ct(40)[30:]]):
        before = replace(DECIDED, times=5)
        doubt = len(instances) > 17  # the far slices leave a hole in the Instance Numbers
        assert isinstance(after(before, instances, 15.1 if doubt else 0.4), Complete)


def test_a_first_pair_after_a_refusal_is_not_waited_for() -> None:
    assert isinstance(after(Before(), [*pet(), *ct()], 0.31), Complete)


def test_what_is_no_pair_at_the_moment_waits_without_one() -> None:
    waits = after(DECIDED, [*pet()[:4], *pet()[5:], *ct()], 1.0)
    assert isinstance(waits, Wait)
    assert waits.pair is None


def test_the_ct_of_another_study_is_no_evidence_that_the_pets_own_will_not_come() -> None:
    rules = RULES.model_copy(update={"two_studies": True})
    instances = [*pet(), *(replace(i, study_instance_uid=f"{STUDY}.9") for i in ct())]
    assert isinstance(judge(instances, Traffic(LAST), LAST + 14.0, rules), Wait)
    assert isinstance(judge(instances, Traffic(LAST), LAST + 16.0, rules), Complete)


STUDIES = [[*pet(), *ct()], pet(), ct(), [*pet(7), *ct()], [*pet(), *ct(PatientID="Other")], [*pet(20), *ct(19)]]


@given(
    st.sampled_from(STUDIES),
    st.floats(0, 700),
    st.integers(0, 2),
)
def test_nothing_is_said_before_it_can_be(instances: list[Instance], quiet_s: float, open_associations: int) -> None:
    traffic = Traffic(LAST, {}, open_associations)
    if LAST + quiet_s < not_before(traffic, RULES):
        assert isinstance(judge(instances, traffic, LAST + quiet_s, RULES), Wait)
    assert not_before(Traffic(LAST), RULES) <= LAST
