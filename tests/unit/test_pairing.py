"""A pair is whole, of one patient, in one place; or it is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.assemble import assemble
from inference.facts import Instance, Refused
from inference.reading.instance import scan_folder
from tests.studies import STUDY, ct, pet, rtstruct


def code_of(instances: list[Instance], set_aside: list[tuple[str, Refused]] | None = None) -> str:
    with pytest.raises(Refused) as caught:
        assemble(instances, set_aside or [])
    assert caught.value.reason.endswith(".")
    return caught.value.code


@given(st.permutations([*pet(), *ct(20, start_mm=-18.0), rtstruct()]))
@settings(max_examples=30, deadline=None)
def test_the_order_of_arrival_changes_nothing(instances: list[Instance]) -> None:
    pair = assemble(instances)
    heights = [i.attributes["ImagePositionPatient"][2] for i in pair.pet.instances]
    assert heights == sorted(heights)
    assert pair.digest == assemble([*pet(), *ct(20, start_mm=-18.0), rtstruct()]).digest


def test_ct_slices_beyond_the_pet_and_its_margin_do_not_belong() -> None:
    near, far = ct(20, start_mm=-18.0), ct(60, start_mm=-78.0)
    heights = [i.attributes["ImagePositionPatient"][2] for i in assemble([*pet(), *far]).ct.instances]
    assert (min(heights), max(heights)) == (-21.0, 42.0)  # PET from -1.5 to 22.5, 20 mm either side
    assert assemble([*pet(), *near]).digest != assemble([*pet(), *far]).digest
    late = [i for i in ct(80, start_mm=-78.0) if i not in far]
    assert assemble([*pet(), *far, *late]).digest == assemble([*pet(), *far]).digest


def tilted(slices: list[Instance], degrees: float) -> list[Instance]:
    """The slices leaning about their middle, as a tilted gantry takes them."""
    a = math.radians(degrees)
    out = []
    for instance in slices:
        x, y, z = instance.attributes["ImagePositionPatient"]
        lean = {
            "ImagePositionPatient": [x, y * math.cos(a), z - y * math.sin(a)],
            "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, math.cos(a), -math.sin(a)],
        }
        out.append(replace(instance, attributes={**instance.attributes, **lean}))
    return out


def test_a_tilted_ct_counts_as_far_as_it_reaches() -> None:
    whole = assemble([*pet(20), *tilted(ct(60, start_mm=-60.0), 15.0)])
    assert [c.code for c in whole.cautions] == ["gantry-tilt-regridded"]
    # slices whose middle lies within the PET, but whose lower end does not: a corner of the PET has no CT
    ends = assemble([*pet(20), *tilted(ct(20), 15.0)])
    assert {c.code for c in ends.cautions} == {"gantry-tilt-regridded", "ct-shorter-than-pet"}
    assert code_of([*pet(20), *tilted(ct(17), 15.0)]) == "ct-does-not-cover-pet"


def test_a_slice_belongs_where_some_of_it_lies_near_the_pet() -> None:
    slices = tilted(ct(60, start_mm=-78.0), 20.0)
    kept = assemble([*pet(), *slices]).ct.instances
    reach = 15 * math.sin(math.radians(20.0))  # half the field of view, along the PET's normal
    heights = [i.attributes["ImagePositionPatient"][2] - reach for i in kept]  # of the middle
    assert -21.5 - reach <= min(heights) < -21.5 - reach + 3
    assert 42.5 + reach - 3 < max(heights) <= 42.5 + reach


@pytest.mark.parametrize("attribute", ["PatientID", "PatientName", "PatientBirthDate", "PatientSex"])
def test_two_patients_are_never_combined(attribute: str) -> None:
    other = {"PatientSex": "M", "PatientBirthDate": "19700101"}.get(attribute, "Other")
    assert code_of([*pet(), *ct(**{attribute: other})]) == "patient-mismatch"
    assert code_of([*pet(), *ct(), rtstruct(**{attribute: other})]) == "patient-mismatch"


def test_an_id_that_only_one_of_them_has_is_no_agreement() -> None:
    assert code_of([*pet(), *ct(PatientID=...)]) == "patient-mismatch"


@pytest.mark.parametrize(
    "written", [{"PatientName": "DOE^JANE^^"}, {"PatientName": "Doe^Jane "}, {"PatientBirthDate": ...}]
)
def test_the_same_patient_may_be_written_in_several_ways(written: dict[str, object]) -> None:
    assert assemble([*pet(), *ct(**written)])


@pytest.mark.parametrize(
    ("instances", "code"),
    [
        ([*pet(8)[:7], *ct()], "pet-incomplete"),
        ([*pet(8)[:4], *pet(8)[5:], *ct()], "missing-slices"),
        ([*pet(), *ct()[:4], *ct()[5:]], "missing-slices"),
        ([*pet(), *ct(start_mm=500.0)], "no-overlap"),
        ([*pet(), *ct(4)], "ct-does-not-cover-pet"),
        ([*pet(), *ct()[:1]], "single-slice"),
    ],
)
def test_half_a_volume_is_refused(instances: list[Instance], code: str) -> None:
    assert code_of(instances) == code


def test_two_studies_are_refused() -> None:
    def moved(instance: Instance) -> Instance:
        parts = {name: getattr(instance, name) for name in Instance.__slots__}
        return Instance(**{**parts, "study_instance_uid": STUDY + ".9"})

    assert code_of([*pet(), *map(moved, ct())]) == "several-studies"


def test_a_ct_that_ends_a_slice_early_is_flagged() -> None:
    pair = assemble([*pet(20), *ct(19)])
    assert [c.code for c in pair.cautions] == ["ct-shorter-than-pet"]


def test_more_slices_than_stated_are_flagged() -> None:
    assert [c.code for c in assemble([*pet(NumberOfSlices=7), *ct()]).cautions] == ["pet-more-than-stated"]


def test_an_unreadable_instance_of_the_pair_makes_it_incomplete() -> None:
    def lost(**facts: str) -> list[tuple[str, Refused]]:
        return [("x", Refused("pixel-data-short", "It is cut short.", **facts))]

    whole = [*pet(), *ct()]
    assert code_of(whole, lost(series_instance_uid=f"{STUDY}.1", modality="PT")) == "pixel-data-short"
    assert code_of(whole, lost(modality="CT")) == "pixel-data-short"
    assert code_of(whole, lost()) == "pixel-data-short"
    assert assemble(whole, lost(series_instance_uid=f"{STUDY}.77", modality="CT"))
    assert assemble(whole, lost(modality="OT"))
    again = lost(series_instance_uid=f"{STUDY}.1", sop_instance_uid=whole[0].sop_instance_uid)
    assert assemble(whole, again)
    assert assemble(whole, [("notes.txt", Refused("not-dicom", "Text."))])


@pytest.mark.parametrize("modality", ["RTSTRUCT", "SEG"])
def test_a_region_that_could_not_be_read_is_said(modality: str) -> None:
    refused = Refused("unreadable-truncated", "Cut.", modality=modality, sop_instance_uid="1.2.9")
    pair = assemble([*ct(), *pet()], [("r.dcm", refused)])
    assert (pair.region, [c.code for c in pair.cautions]) == (None, ["region-left-out"])
    assert assemble([*ct(), *pet(), rtstruct()], [("r.dcm", refused)]).region is not None


def test_a_uid_used_twice_is_never_forgiven() -> None:
    whole = [*pet(), *ct()]
    twice = Refused(
        "sop-instance-conflict",
        "Two objects.",
        series_instance_uid=f"{STUDY}.1",
        sop_instance_uid=whole[0].sop_instance_uid,
    )
    assert code_of(whole, [("x", twice)]) == "sop-instance-conflict"


def cases(shared: Path) -> list[Path]:
    return [path for folder in ("geometry", "robustness") for path in sorted((shared / folder).iterdir())]


@pytest.mark.data
def test_every_shared_case_ends_in_a_pair_or_a_plain_reason(shared_data: Path) -> None:
    """What assembly alone can tell; a case whose fault lies in SUV or pixels may become a pair here."""
    later = {"dose_missing", "weight_missing", "units_cnts_no_factor", "units_propcps"}
    wrong = []
    for case in cases(shared_data):
        if not case.is_dir():
            continue
        decision = expected(case)
        try:
            scan = scan_folder(case)
            assemble(scan.instances, scan.set_aside)
            found = {"used", "used_with_flag"}
        except Refused as refused:
            found = {"refused"} if refused.reason.endswith(".") else {"no sentence"}
        if not found & decision and case.name not in later:
            wrong.append((case.name, decision, found))
    assert not wrong


def expected(case: Path) -> set[str]:
    decision = json.loads((case / "case.json").read_text())["expected"]["decision"]
    return {decision} if isinstance(decision, str) else set(decision)


@pytest.mark.data
def test_a_real_study_with_two_pets_and_two_regions(shared_data: Path) -> None:
    pair = assemble(scan_folder(shared_data / "study_sts_001").instances)
    assert pair.pet.instances[0].attributes["Units"] == "BQML"
    assert (len(pair.pet.instances), len(pair.ct.instances)) == (59, 59)
    assert pair.region is not None
    assert pair.region.path.endswith("rtstruct_pet.dcm")  # drawn last
    assert any("Bq/ml" in line or "original" in line for line in pair.story)
