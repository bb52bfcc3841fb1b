"""Lean mass, ideal weight and surface as their papers give them, and the scales from SUVbw to the other kinds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference.facts import Instance, Refused
from inference.suv.body_size import OFFERS, suv_scale, suv_scales
from inference.suv.rule import suv_rule
from tests.images import image


def patient(**attributes: Any) -> list[Instance]:
    told = {"PatientWeight": 70.0, "PatientSize": 1.75, "PatientSex": "M", **attributes}
    return [image(n, (0.0, 0.0, 3.0 * n), "PT", **told) for n in range(2)]


@pytest.mark.parametrize(
    ("name", "sex", "factor"),  # by hand for 70 kg and 175 cm
    [
        ("lbm-janma", "M", 55.857108 / 70),
        ("lbm-janma", "F", 45.197015 / 70),
        ("lbm-janma", "O", 50.527062 / 70),
        ("lbm-james", "M", 56.52 / 70),
        ("lbm-james", "F", 51.22 / 70),
        ("ibw", "M", 72.38 / 70),
        ("ibw", "F", 66.43 / 70),
        ("bsa", "M", 18_481.430 / 70_000),
        ("bsa", "", 18_481.430 / 70_000),
    ],
)
def test_scales_by_hand(name: str, sex: str, factor: float) -> None:
    assert suv_scale(name, patient(PatientSex=sex)).factor == pytest.approx(factor, rel=1e-7)


@given(st.sampled_from(sorted(OFFERS)), st.floats(45, 110), st.floats(1.5, 2.0), st.sampled_from("MFO"))
def test_a_scale_undoes_what_the_sender_of_that_kind_did(name: str, weight: float, height: float, sex: str) -> None:
    """SUVbw × scale, sent as GML or CM2ML of that type, is read back as the SUVbw it was."""
    series = patient(PatientWeight=weight, PatientSize=height, PatientSex=sex)
    (scales, cautions) = suv_scales([name], series)
    assume(not cautions)  # James in the obese
    (scale,) = scales
    units = "CM2ML" if name == "bsa" else "GML"
    told = {"PatientWeight": weight, "PatientSize": height, "PatientSex": sex}
    sent = patient(Units=units, SUVType=scale.suv_type, **told)
    assert [f * scale.factor for f in suv_rule(sent).factors] == pytest.approx([1.0, 1.0], rel=1e-12)


def test_james_is_not_given_where_it_falls_with_weight() -> None:
    """His parabola turns at a body mass index of 43 in men, 36 in women."""
    scales, cautions = suv_scales(["lbm-james", "lbm-janma"], patient(PatientWeight=120.0, PatientSex="F"))
    assert [s.name for s in scales] == ["lbm-janma"]
    assert [c.code for c in cautions] == ["suv-type-unavailable"]


@pytest.mark.parametrize(
    ("missing", "left"),
    [({"PatientSize": None}, []), ({"PatientSex": None}, ["bsa"]), ({"PatientWeight": None}, []), ({}, list(OFFERS))],
)
def test_what_is_missing_costs_a_caution_and_not_the_study(missing: dict[str, Any], left: list[str]) -> None:
    scales, cautions = suv_scales(list(OFFERS), patient(**missing))
    assert [s.name for s in scales] == left
    assert len(cautions) == len(OFFERS) - len(left)
    assert suv_scales([], patient(**missing)) == ((), ())


def test_a_refusal_names_what_is_missing() -> None:
    with pytest.raises(Refused, match=r"\(0010,1020\)"):
        suv_scale("bsa", patient(PatientSize=175.0))
