"""When a PET slice was acquired, and the moment to which the scanner corrected its decay (Decay Correction START).

The order is QIBA's (manual section 5), but for its weakest source: the earliest Acquisition Time comes last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from inference.facts import Caution, Instance, Refused
from inference.reading.header import moment, number, same_text, time_missing, zoned_moment
from inference.suv.injection import DATES_MOVED_DAYS, SAME_TIME_S

# A series begins when its scan does, or is older by preparation and CT; not by half a day.
LONGEST_BEFORE_ACQUISITION = timedelta(hours=12)
SHORTEST_S, LONGEST_S = 1e-3, 86400.0  # of a frame


@dataclass(frozen=True, slots=True)
class ReferenceTimes:
    """One moment a slice, in the order of the instances, and what it was taken from."""

    moments: tuple[datetime, ...]
    origin: str
    cautions: tuple[Caution, ...] = ()


def acquired_at(instance: Instance) -> datetime | None:
    """The start of the slice's acquisition."""
    found = moment(instance.get("AcquisitionDate"), instance.get("AcquisitionTime"))
    return found or zoned_moment(instance.get("AcquisitionDateTime"), instance.get("TimezoneOffsetFromUTC"))


def frame_s(instance: Instance) -> float | None:
    """Actual Frame Duration in seconds; ``None`` where it is absent or no duration."""
    duration_ms = number(instance.attributes, "ActualFrameDuration")
    return duration_ms / 1000.0 if duration_ms and SHORTEST_S <= duration_ms / 1000.0 <= LONGEST_S else None


def first_acquired(instances: Sequence[Instance]) -> datetime | None:
    """The start of the earliest slice; ``None`` where a slice does not tell."""
    acquired = [acquired_at(i) for i in instances]
    return None if None in acquired else min(t for t in acquired if t is not None)


def reference_times(instances: Sequence[Instance], per_second: float) -> ReferenceTimes:
    """The start of the scan for each slice.  ``per_second``: decay constant, 1/s.  Raises ``Refused`` where unknown."""
    count = len(instances)
    stated = _decay_correction_moments(instances)
    if stated:
        return ReferenceTimes(stated, "Decay Correction DateTime (0018,9701)")
    first = first_acquired(instances)
    computed = _back_computed(instances, per_second)
    for told, latest_s, origin in (
        (_series(instances) if first else None, 0.0, "Series Time"),
        (_ge_scan(instances), SAME_TIME_S, "GE scan date-time (0009,xx0D)"),
    ):
        start, moved = _on_date_of(first, told)
        if start and _begins(start, first, latest_s):
            return ReferenceTimes((start,) * count, origin, (*moved, *_agreement(start, computed)))
    if computed:
        return ReferenceTimes(computed, "Acquisition Time + mean decay time − Frame Reference Time")
    slices = number(instances[0].attributes, "NumberOfSlices")
    if first and slices is not None and count >= slices:
        text = (
            "The start of the scan is taken from the earliest Acquisition Time: Series Time is later and Frame "
            "Reference Time is absent or 0."
        )
        caution = Caution("reference-time-from-acquisition", text)
        return ReferenceTimes((first,) * count, "earliest Acquisition Time", (caution,))
    raise time_missing(
        "a start of the scan: Series Time not after the earliest Acquisition Time, or Frame Reference Time"
    )


def _decay_correction_moments(instances: Sequence[Instance]) -> tuple[datetime, ...]:
    """Decay Correction DateTime of each frame (PS3.3 C.8.22.4); empty where none has one."""
    if not any(i.get("DecayCorrectionDateTime") for i in instances):
        return ()
    found = [zoned_moment(i.get("DecayCorrectionDateTime"), i.get("TimezoneOffsetFromUTC")) for i in instances]
    if None in found:
        raise Refused(
            "pet-header-mixed",
            "Some frames of the PET have no readable Decay Correction DateTime (0018,9701), others have one.",
        )
    return tuple(t for t in found if t is not None)


def _series(instances: Sequence[Instance]) -> datetime | None:
    return moment(same_text(instances, "SeriesDate") or None, same_text(instances, "SeriesTime") or None)


def _ge_scan(instances: Sequence[Instance]) -> datetime | None:
    zone = same_text(instances, "TimezoneOffsetFromUTC") or None
    return zoned_moment(same_text(instances, "GEScanDateTime") or None, zone)


def _on_date_of(first: datetime | None, told: datetime | None) -> tuple[datetime | None, tuple[Caution, ...]]:
    """``told`` on the date of the first acquisition where de-identification moved only one of the two."""
    if first is None or told is None or abs((first.date() - told.date()).days) < DATES_MOVED_DAYS:
        return told, ()
    text = (
        "The dates of series and acquisition lie a week or more apart, as where de-identification moves only some: the "
        "scan's start was taken on the date of the acquisition."
    )
    return datetime.combine(first.date(), told.time()), (Caution("scan-date-moved", text),)


def _begins(start: datetime, first: datetime | None, latest_s: float) -> bool:
    """Whether ``start`` can be the start of a scan whose first slice was acquired at ``first``."""
    return first is None or timedelta(seconds=-latest_s) <= first - start <= LONGEST_BEFORE_ACQUISITION


def _back_computed(instances: Sequence[Instance], per_second: float) -> tuple[datetime, ...]:
    """t_acq + T_ave − Frame Reference Time per slice; empty where a slice lacks one.  0 means absent (GE)."""
    starts = []
    for instance in instances:
        acquired, duration_s = acquired_at(instance), frame_s(instance)
        reference_ms = number(instance.attributes, "FrameReferenceTime")
        if acquired is None or duration_s is None or not reference_ms or abs(reference_ms) > LONGEST_S * 1000.0:
            return ()
        decayed = per_second * duration_s
        mean_s = math.log(decayed / -math.expm1(-decayed)) / per_second
        starts.append(acquired + timedelta(seconds=mean_s - reference_ms / 1000.0))
    return tuple(starts)


def _agreement(chosen: datetime, computed: Sequence[datetime]) -> tuple[Caution, ...]:
    apart = max((abs((t - chosen).total_seconds()) for t in computed), default=0.0)
    text = (
        f"The scan's start by its header differs by {apart:.0f} s from the one that Acquisition and Frame Reference "
        "Time give; the header's was used."
    )
    return (Caution("reference-times-disagree", text),) if apart > SAME_TIME_S else ()
