"""Which models look at a pair, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dicom_node.assemble import assemble
from dicom_node.assemble.routing import Router, seen_of
from dicom_node.config import Settings
from dicom_node.rules import Route, When
from inference.facts import Instance, Pair
from tests.studies import ct, pet

FDG = {"RadiopharmaceuticalInformationSequence": [{"Radiopharmaceutical": "FDG"}]}
PSMA = {"RadiopharmaceuticalInformationSequence": [{"Radiopharmaceutical": "68Ga-PSMA-11"}]}
SENDERS = [("PETCT1", "10.0.0.7")]


def told(instances: list[Instance], **header: Any) -> list[Instance]:
    return [replace(i, attributes={**i.attributes, **header}) for i in instances]


def pair(pet_header: dict[str, Any] | None = None, ct_header: dict[str, Any] | None = None) -> Pair:
    return assemble([*told(pet(), **(pet_header or {})), *told(ct(), **(ct_header or {}))])


def router(*rules: dict[str, Any]) -> Router:
    return Router([Route.model_validate(rule) for rule in rules], ["demo"])


LUNG = {"name": "lung", "bundle": "lung-fdg", "when": {"tracer": "fdg", "body_part_examined": ["*CHEST*", "LUNG"]}}
PROSTATE = {"name": "prostate", "bundle": "psma", "when": {"tracer": "psma*"}}
ALL = {"name": "all", "bundle": "suv-only"}


def test_without_rules_everything_goes_to_the_one_bundle() -> None:
    routed = Router.of(Settings()).models(pair(), [])
    assert routed.bundles == ("demo",)
    assert len(routed.why) == 1


def test_all_rules_that_match_run_and_each_bundle_once() -> None:
    again = {"name": "again", "bundle": "lung-fdg", "when": {"calling_ae_title": "PETCT?"}}
    routed = router(LUNG, PROSTATE, again, ALL).models(pair(FDG, {"BodyPartExamined": "CHEST"}), SENDERS)
    assert routed.bundles == ("lung-fdg", "suv-only")
    assert len(routed.why) == 4


def test_stop_ends_the_search() -> None:
    answers = router({**LUNG, "stop": True}, ALL).assignments(pair(FDG | {"BodyPartExamined": "LUNG"}), SENDERS)
    assert [a.matched for a in answers] == [True, False]
    assert "'lung' matched and stops" in answers[1].why
    answers = router({**LUNG, "stop": True}, ALL).assignments(pair(PSMA), SENDERS)
    assert [a.matched for a in answers] == [False, True]


def test_no_rule_matches_and_the_story_says_on_what_each_failed() -> None:
    routed = router(LUNG, PROSTATE).models(pair(FDG | {"BodyPartExamined": "HEAD"}), SENDERS)
    assert routed.bundles == ()
    assert routed.why[0] == "Rule 'lung' does not match: Body Part Examined is HEAD, not *CHEST* or LUNG."
    assert routed.why[1] == "Rule 'prostate' does not match: the tracer is fdg, not psma*."


def test_what_is_not_known_matches_nothing_and_its_absence_can_be_asked_for() -> None:
    unknown = pair({"RadiopharmaceuticalInformationSequence": []})
    routed = router(LUNG, PROSTATE, {"name": "rest", "bundle": "x", "when": {"not": {"tracer": "fdg"}}}).models(
        unknown, SENDERS
    )
    assert routed.bundles == ()
    assert "the tracer is not known" in routed.why[2]
    assert router({"name": "none", "bundle": "x", "when": {"tracer": ""}}).models(unknown, []).bundles == ("x",)
    sender = {"name": "sender", "bundle": "x", "when": {"calling_ae_title": "PETCT1"}}
    assert router(sender).models(unknown, []).bundles == ()
    assert "the sender's AE title is not known" in router(sender).models(unknown, []).why[0]


@pytest.mark.parametrize(
    ("header", "key", "value"),
    [
        ({"StationName": "CT1 "}, "station_name", ("CT1",)),
        ({"StudyDescription": "PET-CT"}, "study_description", ("PET-CT",)),
        ({"InstitutionName": ["A", "B"]}, "institution_name", ("A", "B")),
        ({"SeriesDescription": "WB AC"}, "series_description", ("WB AC",)),
        ({"PatientSex": "F"}, "patient_sex", ("F",)),
        ({"PatientAge": "063Y"}, "patient_age", 63.0),
        ({"PatientWeight": 71.5}, "patient_weight", 71.5),
        ({"PatientSize": None}, "patient_size", None),
        ({"SliceThickness": "3"}, "pet_slice_thickness", 3.0),
        ({}, "pet_slices", 8.0),
    ],
)
def test_what_the_rules_look_at(header: dict[str, Any], key: str, value: object) -> None:
    seen = seen_of(pair({"PatientBirthDate": None} | header), [])
    assert (seen.texts.get(key) if key in seen.texts else seen.numbers[key]) == value


def test_every_key_of_the_rules_is_looked_at() -> None:
    seen = seen_of(pair(FDG), SENDERS)
    assert {*seen.texts, *seen.numbers} == {k for k in When.model_fields if not k.endswith("_")}


def test_the_pets_value_counts_and_the_cts_where_it_has_none() -> None:
    both = seen_of(pair({"BodyPartExamined": "CHEST"}, {"BodyPartExamined": "ABDOMEN"}), [])
    assert both.texts["body_part_examined"] == ("CHEST",)
    only_ct = seen_of(pair({"BodyPartExamined": None}, {"BodyPartExamined": "ABDOMEN"}), [])
    assert only_ct.texts["body_part_examined"] == ("ABDOMEN",)


def test_slices_that_disagree_about_a_number_leave_it_unknown() -> None:
    made = pet()
    mixed = [*told(made[:4], PatientWeight=70.0), *told(made[4:], PatientWeight=80.0)]
    assert seen_of(assemble([*mixed, *ct()]), []).numbers["patient_weight"] is None
