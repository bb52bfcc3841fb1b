"""The injection that a PET header tells of: dose, half-life, time (PS3.3 C.8.9.2)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inference.facts import Caution, Instance, Refused
from inference.header import listed, moment, number, zoned_moment

# Doses given to patients: 1 MBq to 100 GBq.  A number below 1e4 can only be MBq (the manual found two clear peaks, near
# 4e2 and 4e8); between the two it is neither.
LEAST_DOSE_BQ, MOST_DOSE_BQ, MBQ_BELOW = 1e6, 1e11, 1e4
# A stated half-life may differ from the nuclide's by rounding (6586.2 and 6588 s for F-18), not by more.
HALF_LIFE_RELATIVE_TOLERANCE = 0.02
# F-18 decays by 0.6 % in a minute: two statements of one time that lie farther apart contradict each other.
SAME_TIME_S = 60.0

ZONED = re.compile(r"[+-]\d{4}$")  # the offset that ends a DT (PS3.5 6.2)
START_TIMES = ("RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime")

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
class Injection:
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


def injection_of(instances: Sequence[Instance]) -> Injection:
    """The one injection of a series.  Raises ``Refused`` naming what is missing, implausible or contradictory."""
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
    item = items[0] if items else {}
    dose_bq, dose_cautions = _dose_bq(item)
    half_life_s, half_life_cautions = _half_life_s(item)
    zone, time_of_day = instances[0].get("TimezoneOffsetFromUTC"), item.get(START_TIMES[1])
    at = zoned_moment(item.get(START_TIMES[0]), zone)
    _check_one_time(at, time_of_day)
    unplaced = _unplaced_zone(str(item.get(START_TIMES[0]) or "")) if zone is None and time_of_day is None else ()
    return Injection(dose_bq, half_life_s, at, time_of_day, (*dose_cautions, *half_life_cautions, *unplaced))


def _unplaced_zone(start: str) -> tuple[Caution, ...]:
    """A Start DateTime with a zone of its own, where neither the data set's zone nor a Start Time can confirm it."""
    text = (
        "Radiopharmaceutical Start DateTime (0018,1078) names a time zone and the images name none: both were taken "
        "as one clock. If they are not, SUV is wrong."
    )
    return (Caution("injection-zone-unconfirmed", text),) if ZONED.search(start) else ()


def _check_one_time(at: datetime | None, time_of_day: Any) -> None:
    """Start DateTime and Start Time, where both are there, are one time of day."""
    other = moment(at.strftime("%Y%m%d"), time_of_day) if at else None
    if at and other and abs((at - other).total_seconds()) > SAME_TIME_S:
        raise Refused(
            "injection-ambiguous",
            "Radiopharmaceutical Start DateTime (0018,1078) and Start Time (0018,1072) state different times of the "
            "injection; which is right cannot be known. Correct the series and send it again.",
        )


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
    return stated, () if known is not None else _unchecked(stated)


def _unchecked(half_life_s: float) -> tuple[Caution, ...]:
    """Without a nuclide we know a slip (minutes, milliseconds) shows only if no tracer of ours has such a half-life."""
    usual = any(abs(half_life_s / known - 1.0) <= HALF_LIFE_RELATIVE_TOLERANCE for known in HALF_LIVES_S.values())
    text = (
        f"Radionuclide Half Life (0018,1075) is {half_life_s:g} s, which is that of no nuclide we know, and none is "
        "named beside it; it was taken as it is."
    )
    return () if usual else (Caution("half-life-not-checked", text),)
