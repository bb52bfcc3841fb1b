"""The moment of injection and of the scan's start, where the header makes them hard to tell."""

from __future__ import annotations

import math
from typing import Any

import pytest

from inference.facts import Instance, Refused
from inference.nuclide import HALF_LIVES_S
from inference.suv import suv_rule
from tests.images import DOSE_BQ, HALF_LIFE_S, WEIGHT_KG, image, pet_header


def pet(injection: dict[str, Any] | None = None, **attributes: Any) -> list[Instance]:
    item = {**pet_header()["RadiopharmaceuticalInformationSequence"][0], **(injection or {})}
    told = {"RadiopharmaceuticalInformationSequence": [item], **attributes}
    return [image(n, (0.0, 0.0, 3.0 * n), "PT", **told) for n in range(3)]


def factor_after(seconds: float, half_life_s: float = HALF_LIFE_S) -> float:
    return WEIGHT_KG * 1000 / (DOSE_BQ * math.pow(2.0, -seconds / half_life_s))


def refusal(instances: list[Instance]) -> str:
    with pytest.raises(Refused) as refused:
        suv_rule(instances)
    return refused.value.code


def found(instances: list[Instance]) -> tuple[float, list[str]]:
    rule = suv_rule(instances)
    assert len(set(rule.factors)) == 1
    return rule.factors[0], [c.code for c in rule.cautions]


def start_date_time(text: str) -> dict[str, Any]:
    return {"RadiopharmaceuticalStartDateTime": text, "RadiopharmaceuticalStartTime": None}


AN_HOUR = pytest.approx(factor_after(3600), rel=1e-9)


@pytest.mark.parametrize("date", ["20260108", "20251225", "19600101", "20991231"])
def test_an_injection_whose_date_was_moved_counts_by_its_time_of_day(date: str) -> None:
    assert found(pet(start_date_time(f"{date}100000"))) == (AN_HOUR, ["injection-date-moved"])


@pytest.mark.parametrize("date", ["20260107", "20251231", "20251226"])
def test_a_date_off_by_days_may_be_an_error_and_is_refused(date: str) -> None:
    assert refusal(pet(start_date_time(f"{date}100000"))) in ("injection-after-scan", "uptake-time-implausible")


def test_a_moved_date_helps_only_where_the_time_of_day_fits() -> None:
    """The evening before would be 13 hours; at noon it would be after the scan."""
    assert refusal(pet(start_date_time("20200101220000"))) == "uptake-time-implausible"
    assert refusal(pet(start_date_time("20300101120000"))) == "injection-after-scan"


def test_a_moved_date_says_nothing_of_a_tracer_imaged_days_later() -> None:
    zirconium = {"RadionuclideHalfLife": None, "RadionuclideCodeSequence": [{"CodeValue": "63360001"}]}
    assert refusal(pet(start_date_time("20200101100000") | zirconium)) == "uptake-time-implausible"
    factor, cautions = found(pet(start_date_time("20251228100000") | zirconium))
    assert factor == pytest.approx(factor_after(4 * 86400 + 3600, HALF_LIVES_S["Zr-89"]), rel=1e-9)
    assert cautions == ["half-life-from-nuclide"]


@pytest.mark.parametrize(
    ("nuclide", "said"),
    [("F-18", []), ("Ga-68", []), ("Cu-64", ["injection-day-assumed"]), ("Sc-44", [])],
)
def test_a_time_of_day_alone_leaves_the_day_open_for_long_lived_tracers(nuclide: str, said: list[str]) -> None:
    code = [{"CodeMeaning": nuclide}]
    known = {"RadionuclideHalfLife": HALF_LIVES_S[nuclide], "RadionuclideCodeSequence": code}
    assert found(pet(known)) == (pytest.approx(factor_after(3600, HALF_LIVES_S[nuclide]), rel=1e-9), said)


@pytest.mark.parametrize("nuclide", ["Zr-89", "I-124", "Y-90"])
def test_a_time_of_day_is_not_enough_for_a_tracer_that_lives_for_days(nuclide: str) -> None:
    code = [{"CodeMeaning": nuclide}]
    assert refusal(pet({"RadionuclideHalfLife": None, "RadionuclideCodeSequence": code})) == "time-missing"


def test_the_date_time_goes_before_the_time() -> None:
    both = {"RadiopharmaceuticalStartDateTime": "20260101100000", "RadiopharmaceuticalStartTime": "094300"}
    assert found(pet(both)) == (AN_HOUR, ["injection-times-differ"])
    around_midnight = {"RadiopharmaceuticalStartDateTime": "20251231235950", "RadiopharmaceuticalStartTime": "000010"}
    early = {"SeriesTime": "010000", "AcquisitionTime": "010000"}
    assert found(pet(around_midnight, **early)) == (pytest.approx(factor_after(3610), rel=1e-9), [])


@pytest.mark.parametrize("other", ["20260101080000", "20260101093000", "20260101053000", "20260101215930"])
def test_times_that_differ_as_zones_do_are_refused(other: str) -> None:
    """With a clock two hours off, believing either one is wrong by half."""
    assert refusal(pet({"RadiopharmaceuticalStartDateTime": other})) == "injection-ambiguous"


def test_a_scan_begun_with_the_injection_is_not_a_day_later() -> None:
    """A time noted by the minute, or microseconds rounded away, must not add 24 hours."""
    for time, seconds in (("110001", -1), ("1101", -60)):
        at_once = pet({"RadiopharmaceuticalStartTime": time})
        assert found(at_once) == (pytest.approx(factor_after(seconds), rel=1e-9), [])
    assert refusal(pet({"RadiopharmaceuticalStartTime": "110101"})) == "uptake-time-implausible"  # the day before
    assert refusal(pet(start_date_time("20260101110101"))) == "injection-after-scan"


def test_the_decay_correction_date_time_of_a_frame_is_its_reference() -> None:
    """Multi-frame PET says it outright (PS3.3 C.8.22); Series Time and the rest do not matter then."""
    stated = {"DecayCorrectionDateTime": "20260101103000.000", "SeriesTime": "140000", "AcquisitionTime": None}
    assert found(pet(**stated)) == (pytest.approx(factor_after(1800), rel=1e-9), [])
    at_injection = pet(DecayCorrectionDateTime="20260101100000")
    assert found(at_injection) == (pytest.approx(factor_after(0), rel=1e-9), [])
    assert "Decay Correction DateTime" in suv_rule(at_injection).rule
    with_zone = pet(DecayCorrectionDateTime="20260101093000+0000", TimezoneOffsetFromUTC="+0100")
    assert found(with_zone) == (pytest.approx(factor_after(1800), rel=1e-9), [])
    mixed = [*pet()[:2], pet(DecayCorrectionDateTime="20260101103000")[2]]
    assert refusal(mixed) == "pet-header-mixed"


def test_a_series_whose_date_was_moved_begins_on_the_day_of_its_acquisition() -> None:
    """An old Series Date is before any acquisition, whatever its time: 14:00 would be believed."""
    assert found(pet(SeriesDate="20010101")) == (AN_HOUR, ["scan-date-moved"])
    assert refusal(pet(SeriesDate="20010101", SeriesTime="140000")) == "time-missing"


def test_a_series_half_a_day_before_its_acquisition_is_not_its_start() -> None:
    assert refusal(pet(SeriesDate="20251231", SeriesTime="220000")) == "time-missing"


def test_the_waiting_time_is_known_without_a_dose() -> None:
    rule = suv_rule(pet({"RadionuclideTotalDose": None}, Units="GML"))
    assert rule.inputs["uptake_time_min"] == 60
    late = suv_rule(pet(start_date_time("20260101120000"), Units="GML"))
    assert late.inputs["uptake_time_min"] == -60
    untold = suv_rule(pet(start_date_time("soon"), Units="GML"))
    assert "uptake_time_min" not in untold.inputs
