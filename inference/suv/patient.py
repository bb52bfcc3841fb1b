"""What the header says of the patient, for routing rules and input contracts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from inference.facts import Instance
from inference.reading.header import moment

_AGE = re.compile(r"(\d{3})([DWMY])")  # AS, PS3.5 6.2
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7.0, "M": 12.0, "Y": 1.0}
OLDEST = 130.0
SAME_AGE_YEARS = 1.5  # Patient's Age is rounded down, and dates moved by de-identification need not fit it exactly


def age_years(instances: Sequence[Instance]) -> float | None:
    """The patient's age in completed years (below two: in part of years); None where unknown or contradictory.

    Patient's Age (0010,1010), and Patient's Birth Date (0010,0030) with Study Date (0008,0020).
    """
    stated = {_stated(i) for i in instances}
    reckoned = {_reckoned(i) for i in instances}
    if len(stated) != 1 or len(reckoned) != 1:
        return None
    by_age, by_date = stated.pop(), reckoned.pop()
    if by_age is not None and by_date is not None and abs(by_age - by_date) > SAME_AGE_YEARS:
        return None
    return by_age if by_age is not None else by_date


def _stated(instance: Instance) -> float | None:
    match = _AGE.fullmatch(str(instance.get("PatientAge", "")).strip().upper())
    return _plausible(int(match[1]) / _PER_YEAR[match[2]]) if match else None


def _reckoned(instance: Instance) -> float | None:
    born, now = (moment(instance.get(k), "000000") for k in ("PatientBirthDate", "StudyDate"))
    return _plausible(_completed(born, now)) if born and now else None


def _completed(born: datetime, now: datetime) -> float:
    years = now.year - born.year - ((now.month, now.day) < (born.month, born.day))
    return float(years) if years >= 2 else (now - born).days / 365.25  # noqa: PLR2004


def _plausible(years: float) -> float | None:
    return years if 0.0 <= years <= OLDEST else None
