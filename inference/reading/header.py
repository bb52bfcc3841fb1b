"""Typed reading of an ``Instance``'s header values, which are as trustworthy as their sender."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from inference.facts import Instance, Refused

YEARS = range(1800, 3000)  # de-identified dates lie far back; a day before year 1 or after 9999 cannot be computed


def listed(value: Any) -> list[Any]:
    """An attribute of any multiplicity as a list; absent or empty gives an empty one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def number(attributes: Mapping[str, Any], keyword: str) -> float | None:
    """A single finite number; ``None`` where the attribute is absent, empty or no number."""
    value = attributes.get(keyword)
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def whole(instance: Instance, keyword: str, default: int) -> int:
    """A single whole number.  Raises ``Refused`` where the attribute is something else."""
    value = instance.get(keyword, default)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Refused(
            "value-malformed",
            f"{keyword} of an image is not one whole number. Send the series again from its source.",
            sop_instance_uid=instance.sop_instance_uid,
            keyword=keyword,
        ) from None


def same_text(instances: Sequence[Instance], keyword: str) -> str:
    """The upper-case text that all instances agree on, "" where absent.  Raises ``Refused`` where they differ."""
    found = {str(i.get(keyword, "")).strip().upper() for i in instances}
    if len(found) > 1:
        raise Refused("pet-header-mixed", f"The slices of the PET series disagree about {keyword}.", keyword=keyword)
    return found.pop() if found else ""


def same_number(instances: Sequence[Instance], keyword: str) -> float | None:
    """The number that all instances agree on, ``None`` where none has it.  Raises ``Refused`` where they differ."""
    found = {number(i.attributes, keyword) for i in instances}
    if len(found) > 1:
        raise Refused("pet-header-mixed", f"The slices of the PET series disagree about {keyword}.", keyword=keyword)
    return found.pop()


def time_missing(what: str) -> Refused:
    """The refusal for a time without which the dose at the scan is unknown; ``what`` names its attributes."""
    return Refused("time-missing", f"The PET does not state {what}; the decay of the dose cannot be computed.")


def moment(date: Any, time: Any) -> datetime | None:
    """DICOM DA and TM (PS3.5 6.2) as a moment without zone; ``None`` where either is absent or malformed."""
    if date is None or time is None:
        return None
    return _moment(str(date), str(time))


@lru_cache(maxsize=1024)  # a bed position's slices share theirs
def _moment(date: str, time: str) -> datetime | None:
    date, time = date.strip().replace(".", ""), time.strip().replace(":", "")
    whole_seconds, _, fraction = time.partition(".")
    digits = date + whole_seconds.ljust(6, "0") + fraction[:6].ljust(6, "0")
    if len(date) != 8 or len(whole_seconds) not in (2, 4, 6) or not (digits.isascii() and digits.isdigit()):
        return None  # strptime would find a day in a date that lacks a digit
    try:
        found = datetime.strptime(digits, "%Y%m%d%H%M%S%f")  # noqa: DTZ007
    except ValueError:
        return None
    return found if found.year in YEARS else None


def zoned_moment(text: Any, offset_from_utc: Any) -> datetime | None:
    """DICOM DT as a moment in the clock of the data set, whose offset is Timezone Offset From UTC (0008,0201).

    A zone in the DT is used only where the data set names its own: else both are taken as one clock.
    """
    if text is None:
        return None
    text = str(text).strip()
    sign = max(text.rfind("+"), text.rfind("-"))
    clock, own = (text[:sign], _offset(text[sign:])) if sign > 0 else (text, None)
    found = moment(clock[:8], clock[8:])
    data_set = _offset(str(offset_from_utc).strip()) if offset_from_utc is not None else None
    if found is None or own is None or data_set is None:
        return found
    return found.replace(tzinfo=own).astimezone(data_set).replace(tzinfo=None)


def _offset(text: str) -> timezone | None:
    try:
        minutes = int(text[1:3]) * 60 + int(text[3:5])
        return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
    except (ValueError, IndexError):
        return None
