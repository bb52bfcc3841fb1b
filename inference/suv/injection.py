"""The injection that a PET header tells of: dose, half-life, time (PS3.3 C.8.9.2)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from inference.facts import Caution, Instance, Refused
from inference.reading.header import listed, moment, number, time_missing, zoned_moment
from inference.suv.nuclide import DAY, HALF_LIVES_S, HOUR, NUCLIDE_OF_CODE, nuclide_named, same_half_life

# Doses given to patients: 1 MBq to 100 GBq.  A number below 1e4 can only be MBq (the manual found two clear peaks, near
# 4e2 and 4e8); between the two it is neither.
LEAST_DOSE_BQ, MOST_DOSE_BQ, MBQ_BELOW = 1e6, 1e11, 1e4
# A number that gives less than this, read as MBq, may be millicuries instead: 10 mCi of FDG are 370 MBq.  Read as MBq
# and above it, it would be at least 37 MBq/kg as millicuries, which no tracer is given in.  Of those that live for days
# 37 MBq are a usual dose (Zr-89: Dijkers et al., Clin Pharmacol Ther 2010;87:586), and 7 MBq/kg are far above any.
LEAST_MBQ_PER_KG, LEAST_MBQ_PER_KG_LASTING = 1.0, 0.2
LASTING = ("Zr-89", "I-124")
# From O-14's 71 s to Na-22's 2.6 years there is room to both sides.
LEAST_HALF_LIFE_S, MOST_HALF_LIFE_S = 30.0, 1e9
# F-18 decays by 0.6 % in a minute: two statements of one time that lie farther apart contradict each other.  Injections
# are noted by the minute, so a scan that seems to begin less before one began with it.
SAME_TIME_S = 60.0
# Clocks of two time zones differ by whole or half hours, and a quarter in Nepal and the Chathams: too rare to count.
ZONE_STEP_S = 1800.0
# Images of F-18 begin so long after the injection; of other tracers within MOST_HALF_LIVES_UNDATED.
LIKELY_F18_S = (1800.0, 10800.0)
# De-identification moves dates by weeks to years; a date that is off by less may as well be an error.
DATES_MOVED_DAYS = 7
# Where only the time of day is known: with a half-life from the first on the day before would do as well, and is said;
# from the second on a scan is as likely days later, and the day must be known.
DAY_IN_DOUBT_S, DAY_NEEDED_S = 4 * HOUR, DAY
# With dates moved the time of day must be enough: half-lives after which a scan of a short-lived tracer is over.
MOST_HALF_LIVES_UNDATED = 3.0

ZONED = re.compile(r"[+-]\d{4}$")  # the offset that ends a DT (PS3.5 6.2)
START_TIMES = ("RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime")


@dataclass(frozen=True, slots=True)
class Injection:
    """The injection as the header tells it; where ``at`` is ``None``, at most its time of day is known.

    ``nuclide``: "F-18", "" where the header names none that we know.
    """

    dose_bq: float
    half_life_s: float
    nuclide: str
    at: datetime | None
    time_of_day: Any
    cautions: tuple[Caution, ...]

    @property
    def per_second(self) -> float:
        """The decay constant, 1/s."""
        return math.log(2.0) / self.half_life_s


def injection_of(instances: Sequence[Instance], weight_kg: float) -> Injection:
    """The one injection of a series.  Raises ``Refused`` naming what is missing, implausible or contradictory."""
    item = injection_item(instances)
    dose_bq, dose_cautions = _dose_bq(item, weight_kg)
    half_life_s, nuclide, half_life_cautions = half_life(item)
    at, time_of_day, time_cautions = _start(item, instances[0].get("TimezoneOffsetFromUTC"))
    cautions = (*dose_cautions, *half_life_cautions, *time_cautions)
    return Injection(dose_bq, half_life_s, nuclide, at, time_of_day, cautions)


def injection_item(instances: Sequence[Instance]) -> Mapping[str, Any]:
    """The item of Radiopharmaceutical Information Sequence that all slices agree on; empty where there is none."""
    stories = [listed(i.get("RadiopharmaceuticalInformationSequence")) for i in instances]
    items = [item for story in stories for item in story if isinstance(item, Mapping)]
    told = {
        tuple(str(item.get(k)) for k in ("RadionuclideTotalDose", "RadionuclideHalfLife", *START_TIMES))
        for item in items
    }
    if len(told) > 1 or (told and not all(stories)):
        raise Refused(
            "injection-ambiguous",
            "The PET names more than one injection (Radiopharmaceutical Information Sequence (0054,0016)), or its "
            "slices disagree about it; which dose belongs to the values cannot be known.",
        )
    return items[0] if items else {}


def injected_at(
    at: datetime | None, time_of_day: Any, scan: datetime, half_life_s: float
) -> tuple[datetime, tuple[Caution, ...]]:
    """The moment of injection: as stated (``at``), else its time of day on the scan's date, or on the day before.

    Where the stated date lies a week or more from the scan's, de-identification moved one of them: the time of day
    counts, if it fits a tracer short-lived enough for the day to be in no doubt.  Raises ``Refused`` where no time is
    told, or two that differ as time zones do and of which the one beside ``at`` is as likely.
    """
    if at is None:
        placed, cautions = _last_before(scan, time_of_day)
        return placed, (*cautions, *_day_in_doubt(half_life_s))
    _refuse_two_clocks(at, time_of_day, scan, half_life_s)
    if abs((scan.date() - at.date()).days) < DATES_MOVED_DAYS:
        return at, ()
    moved, _ = _last_before(scan, at.strftime("%H%M%S.%f"))
    longest_s = MOST_HALF_LIVES_UNDATED * half_life_s
    if (scan - moved).total_seconds() > longest_s or longest_s > timedelta(days=1).total_seconds():
        return at, ()  # its interval will be refused
    text = (
        "Radiopharmaceutical Start DateTime (0018,1078) lies a week or more from the scan, as where de-identification "
        "moves only some dates: its time of day was taken on the scan's date."
    )
    return moved, (Caution("injection-date-moved", text),)


def _last_before(scan: datetime, time_of_day: Any) -> tuple[datetime, tuple[Caution, ...]]:
    same_day = moment(scan.strftime("%Y%m%d"), time_of_day)
    if same_day is None:
        raise time_missing("Radiopharmaceutical Start DateTime (0018,1078) or Start Time (0018,1072)")
    if same_day <= scan + timedelta(seconds=SAME_TIME_S):
        return same_day, ()
    text = "The injection's time of day lies after the scan's and has no date: taken as the day before."
    return same_day - timedelta(days=1), (Caution("injection-day-before", text),)


def _day_in_doubt(half_life_s: float) -> tuple[Caution, ...]:
    """What the time of day alone leaves open."""
    if half_life_s >= DAY_NEEDED_S:
        raise Refused(
            "time-missing",
            "The PET states the injection's time of day (0018,1072) but no Radiopharmaceutical Start DateTime "
            "(0018,1078), and the tracer lives for days: how many days lie between them cannot be known.",
        )
    text = (
        "The injection has a time of day and no date; it was taken as within the last 24 hours, but this tracer may be "
        "imaged a day later. If it was, SUV is wrong."
    )
    return (Caution("injection-day-assumed", text),) if half_life_s >= DAY_IN_DOUBT_S else ()


def _start(item: Mapping[str, Any], zone: Any) -> tuple[datetime | None, Any, tuple[Caution, ...]]:
    """Start DateTime, else Start Time (manual section 4), and what to say where they differ."""
    stated, time_of_day = item.get(START_TIMES[0]), item.get(START_TIMES[1])
    at = zoned_moment(stated, zone)
    other = moment(at.strftime("%Y%m%d"), time_of_day) if at else None
    if at is None or other is None:
        unplaced = at is not None and zone is None and time_of_day is None
        return at, time_of_day, _unplaced_zone(str(stated)) if unplaced else ()
    apart_s = _apart_s(at, other)
    if apart_s <= SAME_TIME_S:
        return at, time_of_day, ()
    text = (
        f"Radiopharmaceutical Start DateTime (0018,1078) and Start Time (0018,1072) differ by {apart_s / 60:.0f} "
        "minutes: the DateTime was used."
    )
    return at, time_of_day, (Caution("injection-times-differ", text),)


def _refuse_two_clocks(at: datetime, time_of_day: Any, scan: datetime, half_life_s: float) -> None:
    """The DateTime goes before the Time, unless they are clocks of two zones and the Time's fits the scan too."""
    other = moment(at.strftime("%Y%m%d"), time_of_day)
    apart_s = _apart_s(at, other) if other else 0.0
    as_zones = abs(apart_s - ZONE_STEP_S * round(apart_s / ZONE_STEP_S)) <= SAME_TIME_S
    if apart_s <= SAME_TIME_S or not as_zones:
        return
    waited_s = (scan - _last_before(scan, time_of_day)[0]).total_seconds()
    likely_s = LIKELY_F18_S if same_half_life(half_life_s, "F-18") else (0.0, MOST_HALF_LIVES_UNDATED * half_life_s)
    if likely_s[0] <= waited_s <= likely_s[1]:
        raise Refused(
            "injection-ambiguous",
            f"Radiopharmaceutical Start DateTime (0018,1078) and Start Time (0018,1072) differ by {apart_s / 3600:.1f} "
            "hours, as clocks of two time zones do, and the Time fits the scan as well; which is the scanner's cannot "
            "be known. Correct the series and send it again.",
        )


def _apart_s(one: datetime, other: datetime) -> float:
    """Between two times of one day, over midnight where that is shorter: 23:50 and 00:10 lie 20 minutes apart."""
    apart_s = abs((one - other).total_seconds())
    return min(apart_s, 86400.0 - apart_s)


def _unplaced_zone(start: str) -> tuple[Caution, ...]:
    """A Start DateTime with a zone of its own, where neither the data set's zone nor a Start Time can confirm it."""
    text = (
        "Radiopharmaceutical Start DateTime (0018,1078) names a time zone and the images name none: both were taken "
        "as one clock. If they are not, SUV is wrong."
    )
    return (Caution("injection-zone-unconfirmed", text),) if ZONED.search(start.strip()) else ()


def _dose_bq(item: Mapping[str, Any], weight_kg: float) -> tuple[float, tuple[Caution, ...]]:
    dose = number(item, "RadionuclideTotalDose")
    if dose is None or dose <= 0:
        raise Refused(
            "dose-missing",
            "Radionuclide Total Dose (0018,1074) is missing or zero; SUVbw cannot be computed. Enter it at the scanner "
            "or correct the series, and send it again.",
        )
    if dose < MBQ_BELOW:
        lasting = any(same_half_life(half_life(item)[0], nuclide) for nuclide in LASTING)
        if dose / weight_kg < (LEAST_MBQ_PER_KG_LASTING if lasting else LEAST_MBQ_PER_KG):
            raise Refused(
                "dose-implausible",
                f"Radionuclide Total Dose (0018,1074) is {dose:g}: for this weight it may be MBq or millicuries, and "
                "which cannot be known. Enter it in Bq.",
            )
        return dose * 1e6, (Caution("dose-in-mbq", f"Radionuclide Total Dose (0018,1074) is {dose:g}: taken as MBq."),)
    if not LEAST_DOSE_BQ <= dose <= MOST_DOSE_BQ:
        raise Refused(
            "dose-implausible",
            f"Radionuclide Total Dose (0018,1074) is {dose:g}, which is neither a patient's dose in Bq nor in MBq.",
        )
    return dose, ()


def half_life(item: Mapping[str, Any]) -> tuple[float, str, tuple[Caution, ...]]:
    """Half-life in seconds, the nuclide ("" where unknown) and what to say; the file's number before the nuclide's."""
    named = _nuclides(item)
    stated = number(item, "RadionuclideHalfLife")
    if stated is None or stated <= 0:
        if len(named) != 1:
            raise Refused(
                "half-life-missing",
                "Radionuclide Half Life (0018,1075) is missing and Radionuclide Code Sequence (0054,0300) does not "
                "name one nuclide that we know.",
            )
        (nuclide,) = named
        known = HALF_LIVES_S[nuclide]
        text = f"Radionuclide Half Life (0018,1075) is missing: {known:g} s taken from the nuclide, {nuclide}."
        return known, nuclide, (Caution("half-life-from-nuclide", text),)
    if not LEAST_HALF_LIFE_S <= stated <= MOST_HALF_LIFE_S:
        raise Refused(
            "half-life-implausible",
            f"Radionuclide Half Life (0018,1075) is {stated:g} s, which is that of no tracer.",
        )
    if others := sorted(n for n in named if not same_half_life(stated, n)):
        raise Refused(
            "half-life-implausible",
            f"Radionuclide Half Life (0018,1075) is {stated:g} s, but the nuclide named beside it, {others[0]}, has "
            f"{HALF_LIVES_S[others[0]]:g} s. One of them is wrong, and with it the decay correction.",
        )
    return stated, min(named, default=""), () if named else _unchecked(stated)


def _nuclides(item: Mapping[str, Any]) -> set[str]:
    """What Radionuclide Code Sequence names, by its codes, or by a meaning where the code is nobody's."""
    codes = [c for c in listed(item.get("RadionuclideCodeSequence")) if isinstance(c, Mapping)]
    known = {
        NUCLIDE_OF_CODE.get(str(c.get("CodeValue") or "").strip()) or nuclide_named(str(c.get("CodeMeaning") or ""))
        for c in codes
    }
    return known - {""}


def _unchecked(half_life_s: float) -> tuple[Caution, ...]:
    """Without a nuclide we know a slip (minutes, milliseconds) shows only if no tracer of ours has such a half-life."""
    usual = any(same_half_life(half_life_s, nuclide) for nuclide in HALF_LIVES_S)
    text = (
        f"Radionuclide Half Life (0018,1075) is {half_life_s:g} s, which is that of no nuclide we know, and none is "
        "named beside it; it was taken as it is."
    )
    return () if usual else (Caution("half-life-not-checked", text),)
