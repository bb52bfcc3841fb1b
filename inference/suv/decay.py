"""The dose that belongs to a PET slice's values: injected dose, half-life, and the time to which the scanner corrected.

Decay Correction (0054,1102) says which: ADMIN (to the injection), START (to the start of the scan) or NONE.  Times are
the scanner's clock, whole days included, so a scan past midnight needs no special case once the injection has a date.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from inference.facts import Caution, Instance, Refused
from inference.reading.header import listed, same_text, time_missing, zoned_moment
from inference.suv.injection import (
    SAME_TIME_S,
    START_TIMES,
    Injection,
    half_life,
    injected_at,
    injection_item,
    injection_of,
)
from inference.suv.scan_time import acquired_at, first_acquired, frame_s, reference_times

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


def decay_of(instances: Sequence[Instance], weight_kg: float) -> Decay:
    """The dose per slice.  Raises ``Refused`` naming the attribute that is missing or implausible."""
    correction = same_text(instances, "DecayCorrection")
    injection = injection_of(instances, weight_kg)
    dose_by = {"ADMIN": _to_administration, "START": _to_start, "NONE": _uncorrected}.get(correction)
    if dose_by is None:
        raise Refused(
            "decay-correction-unsupported",
            f"Decay Correction (0054,1102) is {correction[:16] or '(missing)'}; START, ADMIN or NONE is needed to know "
            "which dose belongs to the values.",
        )
    decay = dose_by(instances, injection)
    return replace(decay, cautions=(*decay.cautions, *_contradiction(instances, correction)))


def uptake_min(instances: Sequence[Instance]) -> float | None:
    """Minutes from the injection to the earliest acquisition, ``None`` where the header does not tell.

    Known without a dose too, so that values which came as SUV can be judged; negative where the times contradict.
    """
    scan = first_acquired(instances)
    if scan is None:
        return None
    try:
        item = injection_item(instances)
        at = zoned_moment(item.get(START_TIMES[0]), instances[0].get("TimezoneOffsetFromUTC"))
        injected, _ = injected_at(at, item.get(START_TIMES[1]), scan, _known_half_life_s(item))
    except Refused:  # a dose is not asked for here, and its refusal is another's
        return None
    return (scan - injected).total_seconds() / 60.0


def _known_half_life_s(item: Mapping[str, Any]) -> float:
    """Of the tracer in seconds; 0 where unknown, which leaves nothing of the injection's time in doubt."""
    try:
        return half_life(item)[0]
    except Refused:
        return 0.0


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
    times = reference_times(instances, injection.per_second)
    first = min(times.moments)
    injected, guess = injected_at(injection.at, injection.time_of_day, first, injection.half_life_s)
    seconds = [(t - injected).total_seconds() for t in times.moments]
    _check_interval(min(seconds), max(seconds), injection)
    doses = tuple(injection.dose_bq * math.exp(-injection.per_second * s) for s in seconds)
    return Decay(
        doses,
        f"dose decayed from injection to {times.origin}, Decay Correction START",
        _inputs(injection, "START", injected, min(seconds)),
        _text(first),
        (*injection.cautions, *guess, *times.cautions),
    )


def _uncorrected(instances: Sequence[Instance], injection: Injection) -> Decay:
    """Values are means over the frame: the dose is averaged over the same frame (manual section 5)."""
    starts = [t for t in map(acquired_at, instances) if t is not None]
    lengths_s = [s for s in map(frame_s, instances) if s is not None]
    if len(starts) < len(instances):
        raise time_missing("Acquisition Date and Time (0008,0022), (0008,0032)")
    if len(lengths_s) < len(instances):
        raise time_missing("Actual Frame Duration (0018,1242)")
    injected, guess = injected_at(injection.at, injection.time_of_day, min(starts), injection.half_life_s)
    since_s = [(t - injected).total_seconds() for t in starts]
    _check_interval(min(since_s), max(since_s), injection)
    doses = []
    for since, length in zip(since_s, lengths_s, strict=True):
        decayed = injection.per_second * length
        doses.append(injection.dose_bq * math.exp(-injection.per_second * since) * -math.expm1(-decayed) / decayed)
    return Decay(
        tuple(doses),
        "dose averaged over each slice's own frame, Decay Correction NONE",
        _inputs(injection, "NONE", injected, min(since_s)),
        _text(min(starts)),
        (*injection.cautions, *guess),
    )


def _check_interval(least_s: float, most_s: float, injection: Injection) -> None:
    if least_s < -SAME_TIME_S:
        raise Refused(
            "injection-after-scan",
            "Radiopharmaceutical Start DateTime (0018,1078) lies after the start of the scan; one of them is wrong.",
            seconds=least_s,
        )
    if most_s > MOST_HALF_LIVES * injection.half_life_s:
        raise Refused(
            "uptake-time-implausible",
            f"By its times the scan began {most_s / 3600.0:.1f} hours after the injection, more than "
            f"{MOST_HALF_LIVES:.0f} half-lives; a date or time must be wrong.",
            seconds=most_s,
            half_life_s=injection.half_life_s,
        )


def _inputs(
    injection: Injection, correction: str, injected: datetime | None = None, seconds: float | None = None
) -> dict[str, str | float]:
    known: dict[str, str | float] = {
        "dose_bq": injection.dose_bq,
        "half_life_s": injection.half_life_s,
        "decay_correction": correction,
    }
    if injection.nuclide:
        known["nuclide"] = injection.nuclide
    when = injected or injection.at
    if when is not None:
        known["injection_time"] = _text(when)
    if seconds is not None:
        known["seconds_injection_to_reference"] = seconds
    return known


def _text(when: datetime) -> str:
    return when.strftime("%Y%m%d%H%M%S.%f")
