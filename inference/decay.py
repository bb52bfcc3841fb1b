"""The dose that belongs to a PET slice's values: injected dose, half-life, and the time to which the scanner corrected.

Decay Correction (0054,1102) says which: ADMIN (to the injection), START (to the start of the scan) or NONE.  Times are
the scanner's clock, whole days included, so a scan past midnight needs no special case once the injection has a date.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from inference.facts import Caution, Instance, Refused
from inference.header import listed, moment, number, same_text, zoned_moment
from inference.injection import SAME_TIME_S, Injection, injection_of

# After six half-lives under 2 % of the dose is left: a date or a time is wrong, nobody images then.
MOST_HALF_LIVES = 6.0


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


def decay_of(instances: Sequence[Instance]) -> Decay:
    """The dose per slice.  Raises ``Refused`` naming the attribute that is missing or implausible."""
    correction = same_text(instances, "DecayCorrection")
    injection = injection_of(instances)
    dose_by = {"ADMIN": _to_administration, "START": _to_start, "NONE": _uncorrected}.get(correction)
    if dose_by is None:
        raise Refused(
            "decay-correction-unsupported",
            f"Decay Correction (0054,1102) is {correction[:16] or '(missing)'}; START, ADMIN or NONE is needed to know "
            "which dose belongs to the values.",
        )
    decay = dose_by(instances, injection)
    return replace(decay, cautions=(*decay.cautions, *_contradiction(instances, correction)))


def _contradiction(instances: Sequence[Instance], correction: str) -> tuple[Caution, ...]:
    """Corrected Image lists DECY exactly where values were decay-corrected (PS3.3 C.8.9.1)."""
    listing = {"DECY" in [str(v).strip().upper() for v in listed(i.get("CorrectedImage"))] for i in instances}
    text = (
        f"Decay Correction (0054,1102) says {correction}, but Corrected Image (0028,0051) says otherwise about DECY; "
        "Decay Correction was followed."
    )
    return () if listing == {correction != "NONE"} else (Caution("decay-correction-contradicted", text),)


def _to_administration(instances: Sequence[Instance], injection: Injection) -> Decay:
    doses = (injection.dose_bq,) * len(instances)
    reference = _text(injection.at) if injection.at else ""
    return Decay(
        doses, "injected dose, Decay Correction ADMIN", _inputs(injection, "ADMIN"), reference, injection.cautions
    )


def _to_start(instances: Sequence[Instance], injection: Injection) -> Decay:
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


def _uncorrected(instances: Sequence[Instance], injection: Injection) -> Decay:
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
    instances: Sequence[Instance], injection: Injection
) -> tuple[list[datetime], str, tuple[Caution, ...]]:
    """The start of the scan for each slice, by the QIBA order, and where it came from."""
    acquired = [t for t in map(_acquired, instances) if t is not None]
    series = moment(same_text(instances, "SeriesDate") or None, same_text(instances, "SeriesTime") or None)
    private = zoned_moment(
        same_text(instances, "GEScanDateTime") or None, same_text(instances, "TimezoneOffsetFromUTC") or None
    )
    computed = _back_computed(instances, injection)
    count = len(instances)
    if series and acquired and len(acquired) == count and series <= min(acquired):
        return [series] * count, "Series Time", _agreement(series, computed)
    if private and all((private - t).total_seconds() <= SAME_TIME_S for t in acquired):
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


def _back_computed(instances: Sequence[Instance], injection: Injection) -> list[datetime]:
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
    return (Caution("reference-times-disagree", text),) if apart > SAME_TIME_S else ()


def _injected_at(injection: Injection, scan: datetime) -> tuple[datetime, tuple[Caution, ...]]:
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


def _check_interval(seconds: float, injection: Injection) -> None:
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
    injection: Injection, correction: str, injected: datetime | None = None, seconds: float | None = None
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
