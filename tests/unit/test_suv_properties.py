"""SUV from headers of every kind, made from a known SUV by the physics of decay: what went in must come out."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.facts import Instance, Refused
from inference.suv.nuclide import HALF_LIVES_S, NUCLIDE_OF_CODE
from inference.suv.rule import suv_rule
from tests.images import image

CODE_OF = {name: code for code, name in NUCLIDE_OF_CODE.items()}
TRACERS = ("F-18", "C-11", "N-13", "O-15", "Ga-68", "Cu-64", "Zr-89", "Rb-82", "I-124", "Y-90", "Sc-44", "Tc-94m")
BODY_KG = {  # of a man of 175 cm, by hand for W kg
    "BW": lambda w: w,
    "LBM": lambda w: 1.10 * w - 120 * w * w / 30625,
    "LBMJAMES128": lambda w: 1.10 * w - 128 * w * w / 30625,
    "LBMJANMA": lambda w: 9270 * w / (6680 + 216 * w / 3.0625),
    "IBW": lambda _: 72.38,
}
TIME_FORMATS = ("%H%M%S", "%H%M%S.%f", "%H:%M:%S", "%H%M%S.00")


@dataclass(frozen=True)
class Scan:
    """One patient's scan, before anybody wrote it down."""

    suv: float
    weight_kg: float
    mbq_per_kg: float
    nuclide: str
    uptake_s: int
    frame_s: int
    beds_s: tuple[int, int, int]  # starts of the three slices after the first
    injected: datetime

    @property
    def half_life_s(self) -> float:
        return HALF_LIVES_S[self.nuclide]

    @property
    def dose_bq(self) -> float:
        return self.mbq_per_kg * self.weight_kg * 1e6

    @property
    def start(self) -> datetime:
        return self.injected + timedelta(seconds=self.uptake_s)

    @property
    def acquired(self) -> list[datetime]:
        return [self.start + timedelta(seconds=s) for s in self.beds_s]

    def left(self, seconds: float) -> float:
        """Share of the activity that has not decayed."""
        return math.pow(2.0, -seconds / self.half_life_s)

    def bq_per_ml(self, correction: str, reference: datetime) -> list[float]:
        """The concentration as a scanner writes it, for each slice."""
        injected = self.suv * self.dose_bq / (self.weight_kg * 1000.0)
        if correction == "ADMIN":
            return [injected] * 3
        if correction == "START":
            return [injected * self.left((reference - self.injected).total_seconds())] * 3
        rate, length = math.log(2) / self.half_life_s, self.frame_s
        since = [(t - self.injected).total_seconds() for t in self.acquired]  # the mean over each slice's own frame
        return [injected * (self.left(s) - self.left(s + length)) / (rate * length) for s in since]


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    nuclide = draw(st.sampled_from(TRACERS))
    longest = min(4.5 * HALF_LIVES_S[nuclide], 20 * 3600.0)
    beds = draw(st.lists(st.integers(0, int(longest / 10)), min_size=2, max_size=2))
    return Scan(
        suv=draw(st.floats(0.05, 60.0)),
        weight_kg=draw(st.floats(40.0, 150.0)),
        mbq_per_kg=draw(st.floats(1.5, 12.0)),
        nuclide=nuclide,
        uptake_s=draw(st.integers(0, int(longest))),
        frame_s=draw(st.integers(10, 600)),
        beds_s=(0, *beds),
        injected=draw(st.datetimes(datetime(1950, 1, 1), datetime(2099, 1, 1))).replace(microsecond=0),
    )


def clock(draw: st.DrawFn, when: datetime) -> str:
    return when.strftime(draw(st.sampled_from(TIME_FORMATS)))


def injection_times(draw: st.DrawFn, scan: Scan) -> tuple[dict[str, Any], str | None]:
    """The injection's time in one of the ways that senders write it, and the data set's zone."""
    stamp, time = scan.injected.strftime("%Y%m%d%H%M%S.%f"), clock(draw, scan.injected)
    how = draw(st.sampled_from(["date-time", "both", "zone", *(["time"] if scan.half_life_s < 86400 else [])]))
    if how == "zone":
        hours = draw(st.integers(-11, 11))
        elsewhere = scan.injected + timedelta(hours=hours)
        return {"RadiopharmaceuticalStartDateTime": f"{elsewhere:%Y%m%d%H%M%S}{hours:+03d}00"}, "+0000"
    told = {"RadiopharmaceuticalStartDateTime": stamp} if how != "time" else {}
    return told | ({"RadiopharmaceuticalStartTime": time} if how != "date-time" else {}), None


def scan_times(draw: st.DrawFn, scan: Scan, correction: str, late: datetime) -> list[dict[str, Any]]:
    """For each slice the attributes that tell of its acquisition and of the scan's start."""
    duration = {"ActualFrameDuration": scan.frame_s * 1000}
    acquired = [duration | {"AcquisitionDate": f"{t:%Y%m%d}", "AcquisitionTime": clock(draw, t)} for t in scan.acquired]
    source = draw(st.sampled_from(["series", "ge", "frame", "decay", "first"]))
    series = scan.start if source == "series" else late
    begun = {"SeriesDate": f"{series:%Y%m%d}", "SeriesTime": clock(draw, series), "FrameReferenceTime": 0.0}
    told: list[dict[str, Any]] = [dict(begun) for _ in acquired]
    rate = math.log(2) / scan.half_life_s
    for one, at_s in zip(told, scan.beds_s, strict=True):
        if source == "ge":
            one["GEScanDateTime"] = f"{scan.start:%Y%m%d%H%M%S.00}"
        if source == "decay":
            one["DecayCorrectionDateTime"] = f"{scan.start:%Y%m%d%H%M%S}"
        if source == "first":
            one["NumberOfSlices"] = 3
        if source == "frame" and correction == "START":
            mean_s = math.log(rate * scan.frame_s / (1 - math.exp(-rate * scan.frame_s))) / rate
            one["FrameReferenceTime"] = (at_s + mean_s) * 1000.0
    return [a | t for a, t in zip(acquired, told, strict=True)]


def in_units(draw: st.DrawFn, scan: Scan, activity: list[float]) -> tuple[list[float], dict[str, Any]]:
    """Pixel values in one of the units, and the attributes that go with it."""
    units = draw(st.sampled_from(["BQML", "CNTS-SUV", "CNTS-BQML", "CPS", "CPS-DCAL", "CM2ML", *BODY_KG, "GML"]))
    if units == "BQML":
        return activity, {"Units": "BQML"}
    if units == "CNTS-SUV":
        factor = draw(st.floats(1e-5, 1e-2))
        return [scan.suv / factor] * 3, {"Units": "CNTS", "PhilipsSUVScaleFactor": factor}
    if units == "CNTS-BQML":
        return [a / 2.5 for a in activity], {"Units": "CNTS", "PhilipsActivityConcentrationScaleFactor": 2.5}
    if units.startswith("CPS"):
        done = ["ATTN", "NORM", "SCAT", "DTIM", "RANSNG"] + (["DCAL"] if "DCAL" in units else [])
        told = {"Units": "CPS", "CorrectedImage": done, "SliceThickness": 3.0, "DoseCalibrationFactor": 40.0}
        return [a * 0.012 / (1 if "DCAL" in units else 40) for a in activity], told
    if units == "CM2ML":
        surface_cm2 = 0.007184 * 175**0.725 * scan.weight_kg**0.425 * 1e4
        return [scan.suv * surface_cm2 / (scan.weight_kg * 1000)] * 3, {"Units": "CM2ML"}
    kind = "BW" if units == "GML" else units
    value = scan.suv * BODY_KG[kind](scan.weight_kg) / scan.weight_kg
    return [value] * 3, {"Units": "GML"} | ({"SUVType": kind} if units != "GML" else {})


@st.composite
def series(draw: st.DrawFn) -> tuple[Scan, list[Instance], list[float]]:
    """A scan, its PET series and the stored values."""
    scan = draw(scans())
    correction = draw(st.sampled_from(["START", "ADMIN", "NONE"]))
    values, told = in_units(draw, scan, scan.bq_per_ml(correction, scan.start))
    times, zone = injection_times(draw, scan)
    nuclide = [{"CodeValue": CODE_OF[scan.nuclide], "CodingSchemeDesignator": "SRT"}]
    dose = scan.dose_bq / (1e6 if draw(st.booleans()) else 1)
    half_life = draw(st.sampled_from([scan.half_life_s, None]))
    injection = {"RadionuclideTotalDose": dose, "RadionuclideHalfLife": half_life, "RadionuclideCodeSequence": nuclide}
    grams = draw(st.booleans())
    common = {
        "DecayCorrection": correction,
        "CorrectedImage": ["ATTN", "NORM"] + (["DECY"] if correction != "NONE" else []),
        "PatientWeight": scan.weight_kg * (1000 if grams else 1),
        "PatientSize": 1.75,
        "PatientSex": "M",
        "TimezoneOffsetFromUTC": zone,
        "RadiopharmaceuticalInformationSequence": [injection | times],
        **told,
    }
    slopes = draw(st.lists(st.floats(1e-4, 1e4), min_size=3, max_size=3))
    each = scan_times(draw, scan, correction, scan.start + timedelta(hours=30))
    instances = [
        image(n, (0.0, 0.0, 3.0 * n), "PT", **{**common, **each[n], "RescaleSlope": slopes[n]}) for n in range(3)
    ]
    return scan, instances, [v / s for v, s in zip(values, slopes, strict=True)]


@settings(deadline=None, max_examples=300)
@given(series())
def test_what_went_in_comes_out(made: tuple[Scan, list[Instance], list[float]]) -> None:
    scan, instances, stored = made
    rule = suv_rule(instances)
    found = [
        value * instance.get("RescaleSlope") * factor
        for value, instance, factor in zip(stored, instances, rule.factors, strict=True)
    ]
    by_frame = "mean decay time" in rule.rule  # whose moments are rounded to microseconds
    tolerance = 1e-9 + (1e-6 * math.log(2) / scan.half_life_s if by_frame else 0.0)
    assert found == pytest.approx([scan.suv] * 3, rel=tolerance)
    assert rule.inputs["uptake_time_min"] == pytest.approx(scan.uptake_s / 60)


MISSING = {
    "PatientWeight": "weight-missing",
    "RadionuclideTotalDose": "dose-missing",
    "RadionuclideHalfLife": "half-life-missing",
    "RadiopharmaceuticalStartTime": "time-missing",
    "RadiopharmaceuticalInformationSequence": "dose-missing",
    "DecayCorrection": "decay-correction-unsupported",
    "Units": "units-unsupported",
    "CorrectedImage": "not-attenuation-corrected",
    "RescaleSlope": "pet-slope-invalid",
    "AcquisitionDate": "time-missing",
    "AcquisitionTime": "time-missing",
    "SeriesTime": "time-missing",
    "SeriesDate": "time-missing",
}
NOTHING = st.sampled_from([None, "", "n/a", [], 0.0, -1.0, float("nan"), float("inf"), "1e400", {}])


@settings(deadline=None)
@given(st.sampled_from(sorted(MISSING)), NOTHING)
def test_without_one_of_them_there_is_a_named_refusal(keyword: str, nothing: Any) -> None:
    item = image(0, (0.0, 0.0, 0.0), "PT").get("RadiopharmaceuticalInformationSequence")[0]
    item = {k: v for k, v in item.items() if k != "RadionuclideCodeSequence"}
    changed = {keyword: nothing} if keyword not in item else {}
    item |= {keyword: nothing} if keyword in item else {}
    told = {"RadiopharmaceuticalInformationSequence": [item], **changed}
    with pytest.raises(Refused) as refused:
        suv_rule([image(n, (0.0, 0.0, 3.0 * n), "PT", **told) for n in range(3)])
    assert refused.value.code == MISSING[keyword]


WILD = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.floats(),
    st.integers(-(10**30), 10**30),
    st.sampled_from(["00010101", "99991231", "235959.999999", "1e308", "5e-324", "20260101110000+9999", "-0", "2400"]),
    st.lists(st.one_of(st.none(), st.text(max_size=4), st.floats()), max_size=3),
    st.just({}),
)
HEADER = (
    *("PatientWeight", "PatientSize", "PatientSex", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime"),
    *("FrameReferenceTime", "ActualFrameDuration", "RescaleSlope", "RescaleIntercept", "CorrectedImage", "SeriesType"),
    *("DecayCorrectionDateTime", "GEScanDateTime", "TimezoneOffsetFromUTC", "SUVType", "DoseCalibrationFactor"),
    *("NumberOfSlices", "PhilipsSUVScaleFactor", "SliceThickness", "PixelSpacing", "ImageOrientationPatient"),
)
ITEM = (
    *("RadionuclideTotalDose", "RadionuclideHalfLife", "RadiopharmaceuticalStartTime", "RadionuclideCodeSequence"),
    "RadiopharmaceuticalStartDateTime",
)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(st.sampled_from(HEADER), WILD, max_size=4),
    st.dictionaries(st.sampled_from(ITEM), WILD, max_size=3),
    st.sampled_from(["BQML", "GML", "CNTS", "CPS", "CM2ML"]),
    st.sampled_from(["START", "ADMIN", "NONE"]),
)
def test_nonsense_ends_as_a_refusal_or_as_finite_factors(
    header: dict[str, Any], item: dict[str, Any], units: str, correction: str
) -> None:
    usual = image(0, (0.0, 0.0, 0.0), "PT").get("RadiopharmaceuticalInformationSequence")[0]
    told = {"Units": units, "DecayCorrection": correction, **header}
    told["RadiopharmaceuticalInformationSequence"] = [{**usual, **item}]
    instances = [image(n, (0.0, 0.0, 3.0 * n), "PT", **told) for n in range(2)]
    factors: tuple[float, ...] = ()
    with suppress(Refused):
        factors = suv_rule(instances).factors
    assert all(math.isfinite(f) and f > 0 for f in factors)
