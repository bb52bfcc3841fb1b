"""The moment of injection and of the scan's start, where the header makes them hard to tell."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.facts import Instance, Refused
from inference.suv.nuclide import HALF_LIVES_S
from inference.suv.rule import suv_rule
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
    both = pet({"RadiopharmaceuticalStartDateTime": other})
    assert refusal(both) == "injection-ambiguous"
    administered = [replace(i, attributes={**i.attributes, "DecayCorrection": "ADMIN"}) for i in both]
    assert found(administered)[0] == pytest.approx(factor_after(0), rel=1e-9)  # the dose needs no time there


@pytest.mark.parametrize("other", ["110000", "103100", "073000", "113000", "220000"])
def test_a_time_that_does_not_fit_the_scan_gives_way_to_the_date_time(other: str) -> None:
    """Half an hour to three hours lie between the injection of FDG and its images."""
    both = {"RadiopharmaceuticalStartDateTime": "20260101100000", "RadiopharmaceuticalStartTime": other}
    assert found(pet(both)) == (AN_HOUR, ["injection-times-differ"])


def test_without_a_rule_for_the_tracer_both_clocks_are_taken_to_fit() -> None:
    """Images of other tracers begin at once, or after hours."""
    gallium = {"RadionuclideHalfLife": 4062.6, "RadionuclideCodeSequence": [{"CodeMeaning": "Ga-68"}]}
    both = {"RadiopharmaceuticalStartDateTime": "20260101100000", "RadiopharmaceuticalStartTime": "110000"}
    assert refusal(pet(gallium | both)) == "injection-ambiguous"


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


def test_the_private_start_of_ge_counts_up_to_a_minute_after_the_first_slice() -> None:
    late = {"SeriesTime": "140000"}
    expected = pytest.approx(factor_after(3660), rel=1e-9)
    assert found(pet(**late, GEScanDateTime="20260101110100.00")) == (expected, [])
    assert refusal(pet(**late, GEScanDateTime="20260101110101.00")) == "time-missing"


def test_a_day_before_the_first_of_the_calendar_is_no_crash() -> None:
    first = {"SeriesDate": "00010101", "AcquisitionDate": "00010101"}
    assert refusal(pet({"RadiopharmaceuticalStartTime": "2350"}, **first)) == "time-missing"


def test_the_waiting_time_is_known_without_a_dose() -> None:
    rule = suv_rule(pet({"RadionuclideTotalDose": None}, Units="GML"))
    assert rule.inputs["uptake_time_min"] == 60
    late = suv_rule(pet(start_date_time("20260101120000"), Units="GML"))
    assert late.inputs["uptake_time_min"] == -60
    unnamed = {"RadionuclideHalfLife": None, "RadionuclideCodeSequence": None}
    assert suv_rule(pet(unnamed, Units="GML")).inputs["uptake_time_min"] == 60
    untold = suv_rule(pet(start_date_time("soon"), Units="GML"))
    assert "uptake_time_min" not in untold.inputs


def test_frame_reference_time_zero_is_absent() -> None:
    """GE writes 0; taken at its word it would move the reference by half a frame."""
    cut_away = pet(SeriesTime="140000", FrameReferenceTime=0.0)
    assert refusal(cut_away) == "time-missing"
    given_ge = pet(SeriesTime="140000", FrameReferenceTime=0.0, GEScanDateTime="20260101110000.00")
    assert suv_rule(given_ge).factors == pytest.approx((factor_after(3600),) * 3, rel=1e-12)


def test_a_private_start_after_the_first_acquisition_is_not_believed() -> None:
    later = pet(SeriesTime="140000", GEScanDateTime="20260101123000.00")
    assert refusal(later) == "time-missing"
    instances = pet(SeriesTime="140000", GEScanDateTime="20260101110000.00")
    other = {**instances[1].attributes, "GEScanDateTime": "20260101103000.00"}
    instances[1] = replace(instances[1], attributes=other)
    assert refusal(instances) == "pet-header-mixed"


def test_back_computed_start_of_a_whole_body_scan() -> None:
    """Beds acquired later, corrected to the scan's start: each slice's times must lead back to it."""
    rate = math.log(2) / HALF_LIFE_S
    instances = []
    for n, later_s in enumerate((0.0, 180.0, 360.0)):
        mean_s = math.log(rate * 180 / (1 - math.exp(-rate * 180))) / rate
        acquired = datetime(2026, 1, 1, 11) + timedelta(seconds=later_s)
        instances.append(
            image(
                n,
                (0.0, 0.0, 3.0 * n),
                "PT",
                SeriesTime="150000",
                AcquisitionTime=acquired.strftime("%H%M%S.%f"),
                FrameReferenceTime=(later_s + mean_s) * 1000,
            )
        )
    assert suv_rule(instances).factors == pytest.approx((factor_after(3600),) * 3, rel=1e-9)


@settings(deadline=None)
@given(
    start=st.datetimes(datetime(1960, 1, 1), datetime(2099, 1, 1)),
    wait_s=st.integers(0, 5 * int(HALF_LIFE_S)),
    dated=st.booleans(),
)
def test_midnight_changes_nothing(start: datetime, wait_s: int, dated: bool) -> None:
    scan = start + timedelta(seconds=wait_s)
    injection: dict[str, Any] = {"RadiopharmaceuticalStartTime": start.strftime("%H%M%S.%f")}
    if dated:
        injection["RadiopharmaceuticalStartDateTime"] = start.strftime("%Y%m%d%H%M%S.%f")
    day, time = scan.strftime("%Y%m%d"), scan.strftime("%H%M%S.%f")
    series = pet(injection=injection, SeriesDate=day, SeriesTime=time, AcquisitionDate=day, AcquisitionTime=time)
    rule = suv_rule(series)
    wanted = WEIGHT_KG * 1000 / (DOSE_BQ * 0.5 ** (wait_s / HALF_LIFE_S))
    assert rule.factors == pytest.approx((wanted,) * 3, rel=1e-9)
    guessed = not dated and start.date() != scan.date()
    assert ("injection-day-before" in [c.code for c in rule.cautions]) == guessed


def test_zones_are_compared_only_where_both_are_known() -> None:
    injected = {"RadiopharmaceuticalStartDateTime": "20260101090000+0000", "RadiopharmaceuticalStartTime": None}
    with_zone = pet(injection=injected, TimezoneOffsetFromUTC="+0100")
    assert suv_rule(with_zone).factors[0] == pytest.approx(factor_after(3600), rel=1e-12)
    without = pet(injection={**injected, "RadiopharmaceuticalStartDateTime": "20260101100000+0000"})
    assert suv_rule(without).factors[0] == pytest.approx(factor_after(3600), rel=1e-12)
    assert (found(with_zone)[1], found(without)[1]) == ([], ["injection-zone-unconfirmed"])
    confirmed = {"RadiopharmaceuticalStartDateTime": "20260101100000+0000"}
    assert found(pet(injection=confirmed))[1] == []
    universal = {"RadiopharmaceuticalStartDateTime": "20260101090000+0000"}
    assert refusal(pet(injection=universal)) == "injection-ambiguous"
