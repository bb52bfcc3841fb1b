"""SUVbw from the header: every rule against a value from elsewhere, every trap, every refusal."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from inference.facts import Instance, Refused
from inference.suv.nuclide import HALF_LIVES_S
from inference.suv.rule import suv_rule
from tests.images import DOSE_BQ, HALF_LIFE_S, WEIGHT_KG, image, pet_header

AN_HOUR_LATER = WEIGHT_KG * 1000 / (DOSE_BQ * math.exp(-math.log(2) * 3600 / HALF_LIFE_S))


QUANTITATIVE = ["ATTN", "NORM", "SCAT", "DTIM", "RAN", "DECY"]
CPS = {"CorrectedImage": QUANTITATIVE, "SliceThickness": 3.0, "DoseCalibrationFactor": 40.0}
TWO_NUCLIDES = [{"CodeValue": "C-111A1"}, {"CodeValue": "C-131A3"}]
AT_TEN_PAST = {"RadiopharmaceuticalStartTime": "101000"}


def pet(count: int = 3, injection: dict[str, Any] | None = None, **attributes: Any) -> list[Instance]:
    item = {**pet_header()["RadiopharmaceuticalInformationSequence"][0], **(injection or {})}
    told = {"RadiopharmaceuticalInformationSequence": [item], **attributes}
    return [image(n, (0.0, 0.0, 3.0 * n), "PT", **told) for n in range(count)]


def refusal(instances: list[Instance]) -> str:
    with pytest.raises(Refused) as refused:
        suv_rule(instances)
    assert refused.value.reason.endswith((".", "known."))
    return refused.value.code


def codes(instances: list[Instance]) -> list[str]:
    return [c.code for c in suv_rule(instances).cautions]


def test_bqml_decayed_from_injection_to_the_series_time() -> None:
    rule = suv_rule(pet())
    assert rule.factors == pytest.approx((AN_HOUR_LATER,) * 3, rel=1e-12)
    assert rule.suv_type == "BW"
    assert rule.reference_time == "20260101110000.000000"
    assert rule.inputs["injection_time"] == "20260101100000.000000"
    assert rule.inputs["seconds_injection_to_reference"] == 3600
    assert rule.inputs["uptake_time_min"] == 60
    assert rule.inputs["nuclide"] == "F-18"
    assert rule.cautions == ()


def test_bqml_to_administration_takes_the_dose_as_it_is() -> None:
    rule = suv_rule(pet(DecayCorrection="ADMIN", SeriesTime=None))
    assert rule.factors == pytest.approx((WEIGHT_KG * 1000 / DOSE_BQ,) * 3, rel=1e-12)


@pytest.mark.parametrize("suv_type", ["BW", None])
def test_gml_is_suvbw_already(suv_type: str | None) -> None:
    rule = suv_rule(pet(Units="GML", SUVType=suv_type, PatientWeight=None, RadiopharmaceuticalInformationSequence=None))
    assert rule.factors == (1.0, 1.0, 1.0)
    assert rule.reference_time == ""


@pytest.mark.parametrize(
    ("suv_type", "sex", "body_kg"),  # by hand for 70 kg and 175 cm
    [
        ("LBM", "M", 57.8),
        ("LBM", "F", 51.22),
        ("LBM", "O", 54.51),
        ("LBMJAMES128", "M", 56.52),
        ("LBMJAMES128", "F", 51.22),
        ("LBMJAMES128", "O", 53.87),
        ("LBMJANMA", "M", 55.857108),
        ("LBMJANMA", "F", 45.197015),
        ("LBMJANMA", "O", 50.527062),
        ("IBW", "M", 72.38),
        ("IBW", "F", 66.43),
        ("IBW", "O", 69.405),
    ],
)
def test_lean_and_ideal_body_mass_are_exchanged_for_weight(suv_type: str, sex: str, body_kg: float) -> None:
    rule = suv_rule(pet(Units="GML", SUVType=suv_type, PatientSex=sex, PatientSize=1.75))
    assert rule.factors == pytest.approx((70.0 / body_kg,) * 3, rel=1e-7)
    grams = suv_rule(pet(Units="GML", SUVType=suv_type, PatientSex=sex, PatientSize=1.75, PatientWeight=70000.0))
    assert grams.factors == rule.factors


def test_body_surface_is_exchanged_for_weight() -> None:
    rule = suv_rule(pet(Units="CM2ML", PatientSize=1.75))
    assert rule.factors == pytest.approx((70_000 / 18_481.430,) * 3, rel=1e-6)


def test_philips_counts_by_their_own_factor_to_suv_else_to_activity() -> None:
    both = pet(Units="CNTS", PhilipsSUVScaleFactor=0.0005, PhilipsActivityConcentrationScaleFactor=2.5)
    assert suv_rule(both).factors == (0.0005,) * 3
    zero = pet(Units="CNTS", PhilipsSUVScaleFactor=0.0, PhilipsActivityConcentrationScaleFactor=2.5)
    assert suv_rule(zero).factors == pytest.approx((2.5 * AN_HOUR_LATER,) * 3, rel=1e-12)


def test_philips_activity_factors_count_slice_by_slice() -> None:
    instances = pet(Units="CNTS", PhilipsActivityConcentrationScaleFactor=2.5)
    other = {**instances[1].attributes, "PhilipsActivityConcentrationScaleFactor": 5.0}
    instances[1] = replace(instances[1], attributes=other)
    assert suv_rule(instances).factors == pytest.approx([n * AN_HOUR_LATER for n in (2.5, 5.0, 2.5)], rel=1e-12)


def test_counts_per_second_by_voxel_volume_and_calibration() -> None:
    """A voxel of 2 × 2 × 3 mm is 0.012 ml."""
    not_yet = suv_rule(pet(Units="CPS", **CPS))
    assert not_yet.factors == pytest.approx((40.0 / 0.012 * AN_HOUR_LATER,) * 3, rel=1e-12)
    done = suv_rule(pet(Units="CPS", **{**CPS, "CorrectedImage": [*QUANTITATIVE, "DCAL"]}))
    assert done.factors == pytest.approx((1.0 / 0.012 * AN_HOUR_LATER,) * 3, rel=1e-12)
    assert [c.code for c in done.cautions] == ["counts-per-second-converted"]


def test_uncorrected_slices_take_the_dose_of_their_own_frame() -> None:
    """Values of a constant activity in the body fall with the tracer's decay, averaged over each frame."""
    rate = math.log(2) / HALF_LIFE_S
    beds_s = (0.0, 300.0, 600.0)
    times = [(datetime(2026, 1, 1, 11) + timedelta(seconds=s)).strftime("%H%M%S") for s in beds_s]
    instances = [
        image(n, (0.0, 0.0, 3.0 * n), "PT", DecayCorrection="NONE", CorrectedImage=["ATTN", "NORM"], AcquisitionTime=t)
        for n, t in enumerate(times)
    ]
    steps = np.arange(180_000) / 1000 + 0.0005  # the frame's 180 s, by milliseconds
    left = [float(np.exp(-rate * (3600 + s + steps)).mean()) for s in beds_s]
    rule = suv_rule(instances)
    assert rule.factors == pytest.approx([WEIGHT_KG * 1000 / (DOSE_BQ * part) for part in left], rel=1e-9)
    assert rule.cautions == ()


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("weight-in-grams", {"PatientWeight": WEIGHT_KG * 1000}),
        ("dose-in-mbq", {"injection": {"RadionuclideTotalDose": DOSE_BQ / 1e6}}),
        ("half-life-from-nuclide", {"injection": {"RadionuclideHalfLife": None}}),
        ("normalisation-not-stated", {"CorrectedImage": ["ATTN", "DECY"]}),
        ("reference-times-disagree", {"FrameReferenceTime": 1_000_000.0}),
        ("reference-time-from-acquisition", {"SeriesTime": "140000", "NumberOfSlices": 3}),
        ("decay-correction-contradicted", {"CorrectedImage": ["ATTN", "NORM"]}),
        ("height-implausible", {"PatientSize": 175.0}),
        ("weight-height-implausible", {"PatientSize": 0.5}),
        (
            "injection-times-differ",
            {"injection": {"RadiopharmaceuticalStartDateTime": "20260101100000", **AT_TEN_PAST}},
        ),
    ],
)
def test_a_guess_is_a_caution_and_changes_nothing(code: str, changed: dict[str, Any]) -> None:
    rule = suv_rule(pet(**changed))
    assert [c.code for c in rule.cautions] == [code]
    assert rule.factors == pytest.approx((AN_HOUR_LATER,) * 3, rel=1e-9)


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("weight-missing", {"PatientWeight": None}),
        ("weight-missing", {"PatientWeight": 0.0}),
        ("dose-missing", {"injection": {"RadionuclideTotalDose": None}}),
        ("dose-missing", {"RadiopharmaceuticalInformationSequence": None}),
        ("dose-implausible", {"injection": {"RadionuclideTotalDose": 3e5}}),
        ("dose-implausible", {"injection": {"RadionuclideTotalDose": 3e12}}),
        ("dose-implausible", {"injection": {"RadionuclideTotalDose": 10.0}}),  # millicuries
        ("weight-implausible", {"PatientWeight": 1.75, "PatientSize": 70.0}),  # exchanged
        ("weight-implausible", {"PatientWeight": 0.07}),
        ("weight-implausible", {"PatientWeight": 7e8}),
        ("weight-missing", {"PatientWeight": None, "PatientSize": 70.0}),  # kg, or inches
        ("half-life-missing", {"injection": {"RadionuclideHalfLife": None, "RadionuclideCodeSequence": None}}),
        ("half-life-implausible", {"injection": {"RadionuclideHalfLife": 109.77}}),
        ("half-life-implausible", {"injection": {"RadionuclideHalfLife": 4062.6}}),  # Ga-68, and F-18 is named
        ("half-life-implausible", {"injection": {"RadionuclideHalfLife": 1.8, "RadionuclideCodeSequence": None}}),
        ("half-life-missing", {"injection": {"RadionuclideHalfLife": None, "RadionuclideCodeSequence": TWO_NUCLIDES}}),
        ("time-missing", {"injection": {"RadiopharmaceuticalStartTime": None}}),
        ("time-missing", {"injection": {"RadiopharmaceuticalStartTime": "25:99"}}),
        ("time-missing", {"SeriesTime": "140000"}),  # later than the acquisition, and slices may have been cut away
        ("time-missing", {"SeriesTime": None, "AcquisitionTime": None}),
        ("injection-after-scan", {"injection": {"RadiopharmaceuticalStartDateTime": "20260102100000"}}),
        ("uptake-time-implausible", {"injection": {"RadiopharmaceuticalStartDateTime": "20251230100000"}}),
        ("injection-ambiguous", {"injection": {"RadiopharmaceuticalStartDateTime": "20260101093000"}}),
        ("injection-ambiguous", {"injection": {"RadiopharmaceuticalStartDateTime": "20260101070010"}}),  # a zone
        ("uptake-time-implausible", {"injection": {"RadiopharmaceuticalStartTime": "2350"}}),  # the evening before
        ("decay-correction-unsupported", {"DecayCorrection": None}),
        ("not-attenuation-corrected", {"CorrectedImage": ["NORM", "DECY"]}),
        ("not-attenuation-corrected", {"CorrectedImage": None}),
        ("reprojection", {"SeriesType": ["WHOLE BODY", "REPROJECTION"]}),
        ("reprojection", {"SeriesType": ["STATIC", "MIP"]}),
        ("pet-intercept-not-zero", {"RescaleIntercept": 100.0}),
        ("pet-slope-invalid", {"RescaleSlope": None}),
        ("pet-slope-invalid", {"RescaleSlope": -1.0}),
        ("units-unsupported", {"Units": "PROPCPS"}),
        ("units-unsupported", {"Units": None}),
        ("counts-without-factor", {"Units": "CNTS"}),
        ("counts-without-factor", {"Units": "CNTS", "PhilipsSUVScaleFactor": -0.0005}),
        ("suv-type-unsupported", {"Units": "GML", "SUVType": "XYZ"}),
        ("suv-type-unsupported", {"Units": "GML", "SUVType": "BSA", "PatientSize": 1.7}),
        ("suv-type-unsupported", {"Units": "CM2ML", "SUVType": "BW", "PatientSize": 1.7}),
        ("body-factor-implausible", {"Units": "GML", "SUVType": "IBW", "PatientSize": 1.0, "PatientSex": "F"}),
        ("units-unsupported", {"Units": "PROPCNTS"}),
        ("units-unsupported", {"Units": "1CM"}),
        ("counts-not-quantitative", {"Units": "CPS", **CPS, "CorrectedImage": ["ATTN", "NORM", "DECY", "DTIM"]}),
        (
            "counts-not-quantitative",
            {"Units": "CPS", **CPS, "CorrectedImage": ["ATTN", "NORM", "SCAT", "DTIM", "DECY"]},
        ),
        ("counts-not-quantitative", {"Units": "CPS", **CPS, "SliceThickness": 5.0}),  # slices 3 mm apart
        ("counts-not-quantitative", {"Units": "CPS", **CPS, "SliceThickness": None}),
        ("counts-not-quantitative", {"Units": "CPS", **CPS, "PixelSpacing": "wide"}),
        ("counts-not-quantitative", {"Units": "CPS", **CPS, "PixelSpacing": [1e-200, 1e-200]}),
        ("counts-without-factor", {"Units": "CPS", **CPS, "DoseCalibrationFactor": None}),
        ("counts-without-factor", {"Units": "CPS", **CPS, "DoseCalibrationFactor": 1.0}),  # none was applied
        ("counts-without-factor", {"Units": "CNTS", **CPS, "CorrectedImage": [*QUANTITATIVE, "DCAL"]}),
        ("height-missing", {"Units": "GML", "SUVType": "LBM", "PatientSex": "F"}),
        ("sex-missing", {"Units": "GML", "SUVType": "LBM", "PatientSize": 1.7}),
        ("height-missing", {"Units": "CM2ML", "PatientSize": 170.0}),
    ],
)
def test_what_cannot_be_known_is_refused(code: str, changed: dict[str, Any]) -> None:
    assert refusal(pet(**changed)) == code


@pytest.mark.parametrize("nuclide", ["Zr-89", "I-124"])
def test_tracers_that_live_for_days_are_given_in_few_megabecquerels(nuclide: str) -> None:
    """37 MBq of Zr-89 are a usual dose; 37 mCi nobody gives."""
    long_lived = {"RadionuclideHalfLife": HALF_LIVES_S[nuclide], "RadionuclideCodeSequence": None}
    dated = {"RadiopharmaceuticalStartDateTime": "20260101100000"}
    rule = suv_rule(pet(injection=long_lived | dated | {"RadionuclideTotalDose": 37.0}))
    assert rule.inputs["dose_bq"] == 37e6
    assert [c.code for c in rule.cautions] == ["dose-in-mbq"]
    assert refusal(pet(injection=long_lived | dated | {"RadionuclideTotalDose": 2.0})) == "dose-implausible"  # mCi?
    assert refusal(pet(injection={"RadionuclideTotalDose": 37.0})) == "dose-implausible"  # of F-18


def test_a_half_life_of_no_nuclide_we_know_is_said() -> None:
    unnamed = {"RadionuclideCodeSequence": None}
    assert codes(pet(injection={"RadionuclideHalfLife": 6588.0, **unnamed})) == []
    assert codes(pet(injection={"RadionuclideHalfLife": 12345.0, **unnamed})) == ["half-life-not-checked"]


def test_a_date_that_lacks_a_digit_is_no_date() -> None:
    """Read leniently, 2026011 at 11:00 becomes the eleventh at 10:00: an hour of decay lost."""
    cut = pet(SeriesDate="2026011", AcquisitionDate="2026011")
    assert refusal(cut) == "time-missing"


def test_an_empty_series_is_refused() -> None:
    assert refusal([]) == "no-images"


@pytest.mark.parametrize(
    "changed",
    [
        {"Units": "GML"},
        {"DecayCorrection": "ADMIN"},
        {"PatientWeight": 71.0},
        {"SeriesTime": "105000"},
        {"RadiopharmaceuticalInformationSequence": [{"RadionuclideTotalDose": 1e8}]},
        {"RadiopharmaceuticalInformationSequence": None},
    ],
)
def test_slices_that_disagree_are_refused(changed: dict[str, Any]) -> None:
    instances = pet()
    instances[1] = replace(instances[1], attributes={**instances[1].attributes, **changed})
    assert refusal(instances) in ("pet-header-mixed", "injection-ambiguous")
