"""The dose that belongs to a PET slice's values: injected dose, half-life, and the time to which the scanner corrected.

Decay Correction (0054,1102) says which: ADMIN (to the injection), START (to the start of the scan) or NONE.  Times are
the scanner's clock, whole days included, so a scan past midnight needs no special case once the injection has a date.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from inference.facts import Caution, Instance, Refused
from inference.header import listed, moment, number, same_text, zoned_moment

# Doses given to patients: 1 MBq to 100 GBq.  A number below 1e4 can only be MBq (the manual found two clear peaks, near
# 4e2 and 4e8); between the two it is neither.
LEAST_DOSE_BQ, MOST_DOSE_BQ, MBQ_BELOW = 1e6, 1e11, 1e4
# After six half-lives under 2 % of the dose is left: a date or a time is wrong, nobody images then.
MOST_HALF_LIVES = 6.0
# A stated half-life may differ from the nuclide's by rounding (6586.2 and 6588 s for F-18), not by more.
HALF_LIFE_RELATIVE_TOLERANCE = 0.02
# F-18 decays by 0.6 % in a minute; two statements of the scan's start farther apart are worth a look.
REFERENCE_TIMES_AGREE_S = 60.0

# Seconds (NNDC evaluations), by the nuclide's code in SNOMED RT and SNOMED CT (PS3.16 CID 4020).
F18, C11, N13, O15, GA68, CU64, ZR89 = 6586.2, 1221.8, 597.9, 122.24, 4062.6, 45723.0, 282276.0
HALF_LIVES_S = {
    "C-111A1": F18,
    "77004003": F18,
    "C-105A1": C11,
    "40565003": C11,
    "C-107A1": N13,
    "21576001": N13,
    "C-B1038": O15,
    "129504001": O15,
    "C-131A3": GA68,
    "35337001": GA68,
    "C-127A2": CU64,
    "3932008": CU64,
    "C-168A4": ZR89,
    "63360001": ZR89,
}


@dataclass(frozen=True, slots=True)
class Decay:
    """``doses_bq``: per slice, the dose at the time to which the slice's values refer; ``rule``: its formula in words.

    ``reference_time``: DICOM DT of that time (of the earliest slice where they differ).
    """

    doses_bq: tuple[float, ...]
    rule: str
    inputs: Mapping[str, str | float]
    reference_time: str
    cautions: tuple[Caution, ...]


@dataclass(frozen=True, slots=True)
class _Injection:
    """The injection as the header tells it; where ``at`` is ``None``, at most its time of day is known."""

    dose_bq: float
    half_life_s: float
    at: datetime | None
    time_of_day: Any
    cautions: tuple[Caution, ...]

    @property
    def per_second(self) -> float:
        """The decay constant, 1/s."""
        return math.log(2.0) / self.half_life_s


def decay_of(instances: Sequence[Instance]) -> Decay:
    """The dose per slice.  Raises ``Refused`` naming the attribute that is missing or implausible."""
    correction = same_text(instances, "DecayCorrection")
    injection = _injection(instances)
    if correction == "ADMIN":
        return _to_administration(instances, injection)
    if correction == "START":
        return _to_start(instances, injection)
    if correction == "NONE":
        return _uncorrected(instances, injection)
    raise Refused(
        "decay-correction-unsupported",
        f"Decay Correction (0054,1102) is {correction[:16] or '(missing)'}; START, ADMIN or NONE is needed to know "
        "which dose belongs to the values.",
    )


def _to_administration(instances: Sequence[Instance], injection: _Injection) -> Decay:
    doses = (injection.dose_bq,) * len(instances)
    reference = _text(injection.at) if injection.at else ""
    return Decay(
        doses, "injected dose, Decay Correction ADMIN", _inputs(injection, "ADMIN"), reference, injection.cautions
    )


def _to_start(instances: Sequence[Instance], injection: _Injection) -> Decay:
    references, origin, cautions = _reference_times(instances, injection)
    injected, guess = _injected_at(injection, min(references))
    seconds = [(t - injected).total_seconds() for t in references]
    _check_interval(min(seconds), injection)
    doses = tuple(injection.dose_bq * math.exp(-injection.per_second * s) for s in seconds)
    return Decay(
        doses,
        f"dose decayed from injection to {origin}, Decay Correction START",
        _inputs(injection, "START", injected, min(seconds)),
        _text(min(references)),
        (*injection.cautions, *guess, *cautions),
    )


def _uncorrected(instances: Sequence[Instance], injection: _Injection) -> Decay:
    """Values are means over the frame: the dose is averaged over the same frame (manual section 5)."""
    acquired = [_acquired(i) for i in instances]
    if any(t is None for t in acquired):
        raise _no_time("Acquisition Date and Time (0008,0022), (0008,0032)")
    starts = [t for t in acquired if t is not None]
    injected, guess = _injected_at(injection, min(starts))
    _check_interval(min((t - injected).total_seconds() for t in starts), injection)
    doses = []
    for instance, start in zip(instances, starts, strict=True):
        decayed = injection.per_second * _frame_s(instance)
        since = (start - injected).total_seconds()
        doses.append(injection.dose_bq * math.exp(-injection.per_second * since) * -math.expm1(-decayed) / decayed)
    return Decay(
        tuple(doses),
        "dose averaged over each slice's own frame, Decay Correction NONE",
        _inputs(injection, "NONE", injected, (min(starts) - injected).total_seconds()),
        _text(min(starts)),
        (*injection.cautions, *guess),
    )


def _reference_times(
    instances: Sequence[Instance], injection: _Injection
) -> tuple[list[datetime], str, tuple[Caution, ...]]:
    """The start of the scan for each slice, by the QIBA order, and where it came from."""
    acquired = [t for t in map(_acquired, instances) if t is not None]
    series = moment(same_text(instances, "SeriesDate") or None, same_text(instances, "SeriesTime") or None)
    private = zoned_moment(instances[0].get("GEScanDateTime"), instances[0].get("TimezoneOffsetFromUTC"))
    computed = _back_computed(instances, injection)
    count = len(instances)
    if series and acquired and len(acquired) == count and series <= min(acquired):
        return [series] * count, "Series Time", _agreement(series, computed)
    if private:
        return [private] * count, "GE scan date-time (0009,xx0D)", _agreement(private, computed)
    if computed:
        return computed, "Acquisition Time + mean decay time − Frame Reference Time", ()
    stated = number(instances[0].attributes, "NumberOfSlices")
    if len(acquired) == count and stated is not None and count >= stated:
        text = (
            "The start of the scan is taken from the earliest Acquisition Time: Series Time is later and Frame "
            "Reference Time is absent or 0."
        )
        return [min(acquired)] * count, "earliest Acquisition Time", (Caution("reference-time-from-acquisition", text),)
    raise _no_time("a start of the scan: Series Time not after the earliest Acquisition Time, or Frame Reference Time")


def _back_computed(instances: Sequence[Instance], injection: _Injection) -> list[datetime]:
    """t_acq + T_ave − Frame Reference Time per slice; empty where a slice lacks one.  0 means absent (GE)."""
    starts = []
    for instance in instances:
        acquired, reference_ms = _acquired(instance), number(instance.attributes, "FrameReferenceTime")
        duration_ms = number(instance.attributes, "ActualFrameDuration")
        if acquired is None or not reference_ms or not duration_ms or duration_ms <= 0:
            return []
        decayed = injection.per_second * duration_ms / 1000.0
        mean_s = math.log(decayed / -math.expm1(-decayed)) / injection.per_second
        starts.append(acquired + timedelta(seconds=mean_s - reference_ms / 1000.0))
    return starts


def _agreement(chosen: datetime, computed: Sequence[datetime]) -> tuple[Caution, ...]:
    apart = max((abs((t - chosen).total_seconds()) for t in computed), default=0.0)
    text = (
        f"The scan's start by its header differs by {apart:.0f} s from the one that Acquisition and Frame Reference "
        "Time give; the header's was used."
    )
    return (Caution("reference-times-disagree", text),) if apart > REFERENCE_TIMES_AGREE_S else ()


def _injection(instances: Sequence[Instance]) -> _Injection:
    stories = [listed(i.get("RadiopharmaceuticalInformationSequence")) for i in instances]
    items = [item for story in stories for item in story if isinstance(item, Mapping)]
    told = {
        tuple(str(item.get(k)) for k in ("RadionuclideTotalDose", "RadionuclideHalfLife", *START_TIMES))
        for item in items
    }
    if len(told) > 1:
        raise Refused(
            "injection-ambiguous",
            "The PET names more than one injection (Radiopharmaceutical Information Sequence (0054,0016)), or its "
            "slices disagree about it; which dose belongs to the values cannot be known.",
        )
    item = items[0] if items else {}
    dose_bq, dose_cautions = _dose_bq(item)
    half_life_s, half_life_cautions = _half_life_s(item)
    at = zoned_moment(item.get(START_TIMES[0]), instances[0].get("TimezoneOffsetFromUTC"))
    return _Injection(dose_bq, half_life_s, at, item.get(START_TIMES[1]), (*dose_cautions, *half_life_cautions))


START_TIMES = ("RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime")


def _dose_bq(item: Mapping[str, Any]) -> tuple[float, tuple[Caution, ...]]:
    dose = number(item, "RadionuclideTotalDose")
    if dose is None or dose <= 0:
        raise Refused(
            "dose-missing",
            "Radionuclide Total Dose (0018,1074) is missing or zero; SUVbw cannot be computed. Enter it at the scanner "
            "or correct the series, and send it again.",
        )
    caution: tuple[Caution, ...] = ()
    if dose < MBQ_BELOW:
        caution = (Caution("dose-in-mbq", f"Radionuclide Total Dose (0018,1074) is {dose:g}: taken as MBq."),)
        dose *= 1e6
    if not LEAST_DOSE_BQ <= dose <= MOST_DOSE_BQ:
        raise Refused(
            "dose-implausible",
            f"Radionuclide Total Dose (0018,1074) is {dose:g}, which is neither a patient's dose in Bq nor in MBq.",
        )
    return dose, caution


def _half_life_s(item: Mapping[str, Any]) -> tuple[float, tuple[Caution, ...]]:
    codes = [c for c in listed(item.get("RadionuclideCodeSequence")) if isinstance(c, Mapping)]
    known = next((HALF_LIVES_S[v] for v in (str(c.get("CodeValue")) for c in codes) if v in HALF_LIVES_S), None)
    stated = number(item, "RadionuclideHalfLife")
    if stated is None or stated <= 0:
        if known is None:
            raise Refused(
                "half-life-missing",
                "Radionuclide Half Life (0018,1075) is missing and Radionuclide Code Sequence (0054,0300) names no "
                "nuclide that we know.",
            )
        text = f"Radionuclide Half Life (0018,1075) is missing: {known:g} s taken from the nuclide's code."
        return known, (Caution("half-life-from-nuclide", text),)
    if known is not None and abs(stated / known - 1.0) > HALF_LIFE_RELATIVE_TOLERANCE:
        raise Refused(
            "half-life-implausible",
            f"Radionuclide Half Life (0018,1075) is {stated:g} s, but the nuclide named beside it has {known:g} s.",
        )
    return stated, ()


def _injected_at(injection: _Injection, scan: datetime) -> tuple[datetime, tuple[Caution, ...]]:
    """The moment of injection: as stated, else its time of day on the scan's date, or on the day before."""
    if injection.at is not None:
        return injection.at, ()
    same_day = moment(scan.strftime("%Y%m%d"), injection.time_of_day)
    if same_day is None:
        raise _no_time("Radiopharmaceutical Start DateTime (0018,1078) or Start Time (0018,1072)")
    if same_day <= scan:
        return same_day, ()
    text = "The injection's time of day lies after the scan's and has no date: taken as the day before."
    return same_day - timedelta(days=1), (Caution("injection-day-before", text),)


def _check_interval(seconds: float, injection: _Injection) -> None:
    if seconds < 0:
        raise Refused(
            "injection-after-scan",
            "Radiopharmaceutical Start DateTime (0018,1078) lies after the start of the scan; one of them is wrong.",
            seconds=seconds,
        )
    if seconds > MOST_HALF_LIVES * injection.half_life_s:
        raise Refused(
            "uptake-time-implausible",
            f"By its times the scan began {seconds / 3600.0:.1f} hours after the injection, more than "
            f"{MOST_HALF_LIVES:.0f} half-lives; a date or time must be wrong.",
            seconds=seconds,
            half_life_s=injection.half_life_s,
        )


def _acquired(instance: Instance) -> datetime | None:
    """The start of the slice's acquisition."""
    found = moment(instance.get("AcquisitionDate"), instance.get("AcquisitionTime"))
    return found or zoned_moment(instance.get("AcquisitionDateTime"), instance.get("TimezoneOffsetFromUTC"))


def _frame_s(instance: Instance) -> float:
    duration_ms = number(instance.attributes, "ActualFrameDuration")
    if duration_ms is None or duration_ms <= 0:
        raise _no_time("Actual Frame Duration (0018,1242)")
    return duration_ms / 1000.0


def _no_time(what: str) -> Refused:
    return Refused("time-missing", f"The PET does not state {what}; the decay of the dose cannot be computed.")


def _inputs(
    injection: _Injection, correction: str, injected: datetime | None = None, seconds: float | None = None
) -> dict[str, str | float]:
    known: dict[str, str | float] = {
        "dose_bq": injection.dose_bq,
        "half_life_s": injection.half_life_s,
        "decay_correction": correction,
    }
    when = injected or injection.at
    if when is not None:
        known["injection_time"] = _text(when)
    if seconds is not None:
        known["seconds_injection_to_reference"] = seconds
    return known


def _text(when: datetime) -> str:
    return when.strftime("%Y%m%d%H%M%S.%f")
