"""Which refusals become results, and which are told by the story alone."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dicom_node import errors
from dicom_node.deliver import is_answered, why_refusal_withheld
from dicom_node.sections import Deliver

EXPECTED, ALL, NONE = (Deliver(refusals=choice) for choice in ("expected", "all", "none"))


def test_every_routine_code_is_a_row_and_no_fault_of_a_study_is_routine() -> None:
    assert {code for code, row in errors.ROWS.items() if row.routine} == errors.ROUTINE <= errors.ROWS.keys()
    for code in ("dose-missing", "missing-slices", "no-ct", "patient-mismatch", "analysis-failed", "pet-incomplete"):
        assert not errors.row(code).routine


@pytest.mark.parametrize(
    ("settings", "code", "has_pet", "answered"),
    [
        (EXPECTED, "dose-missing", True, True),
        (EXPECTED, "no-ct", True, True),
        (EXPECTED, "no-pet", False, False),
        (EXPECTED, "sop-instance-conflict", False, False),
        (EXPECTED, "pet-reprojection", True, False),
        (EXPECTED, "pet-not-static", True, False),
        (ALL, "no-pet", False, True),
        (ALL, "pet-reprojection", True, True),
        (Deliver(refusals_except=("no-ct",)), "no-ct", True, False),
        (Deliver(refusals="all", refusals_except=("no-ct",)), "no-ct", True, False),
        (Deliver(refusals_except=("no-ct",)), "dose-missing", True, True),
    ],
)
def test_who_gets_an_answer(settings: Deliver, code: str, has_pet: bool, answered: bool) -> None:
    assert is_answered(code, settings, has_pet=has_pet) is answered


def test_an_answer_that_is_withheld_says_by_which_setting() -> None:
    assert why_refusal_withheld("dose-missing", EXPECTED, replaces=False) == ""
    assert why_refusal_withheld("dose-missing", NONE, replaces=False) == "deliver.refusals is none"
    except_dose = Deliver(refusals_except=("dose-missing",))
    assert "refusals_except names dose-missing" in why_refusal_withheld("dose-missing", except_dose, replaces=False)
    assert "pet-not-static is routine" in why_refusal_withheld("pet-not-static", EXPECTED, replaces=False)


def test_whoever_has_earlier_results_hears_that_they_no_longer_hold() -> None:
    settings = Deliver(refusals_except=("dose-missing",))
    assert why_refusal_withheld("dose-missing", settings, replaces=True) == ""
    assert why_refusal_withheld("pet-not-static", settings, replaces=True) == ""
    assert why_refusal_withheld("dose-missing", NONE, replaces=True) == "deliver.refusals is none"


@pytest.mark.parametrize(
    ("written", "means"),
    [(True, "expected"), (False, "none"), ("true", "expected"), ("false", "none"), ("all", "all")],
)
def test_true_and_false_of_older_configurations_still_say_the_same(written: object, means: str) -> None:
    assert Deliver.model_validate({"refusals": written}).refusals == means


def test_a_setting_that_nobody_knows_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ValidationError, match="'expected', 'all' or 'none'"):
        Deliver.model_validate({"refusals": "some"})
    with pytest.raises(ValidationError, match="'expected', 'all' or 'none'"):
        Deliver.model_validate({"refusals": ["all"]})
    with pytest.raises(ValidationError, match="did you mean dose-missing"):
        Deliver.model_validate({"refusals_except": ["dose-mising"]})
