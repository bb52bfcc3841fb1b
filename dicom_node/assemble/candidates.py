"""Of the series that might be used: those without a fault, and why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicom_node import errors
from dicom_node.assemble.series import Fault
from dicom_node.assemble.story import Record
from inference.facts import Instance, Refused

Group = tuple[Instance, ...]


def usable_of(
    groups: Sequence[Group], fault_of: Callable[[Sequence[Instance]], Fault | None], record: Record
) -> list[Group]:
    """Those without a fault; the others are left out with theirs."""
    usable = []
    for group in groups:
        fault = fault_of(group)
        if fault is None:
            usable.append(group)
        else:
            record.left_out(group, fault)
    return usable


def nearest(groups: Sequence[Group], record: Record) -> Refused | None:
    """The refusal that names why the last candidate was left out, None where there was no candidate.

    One that nobody meant to have analysed (a MIP, say) is named only where there is no other.
    """
    uids = {g[0].series_instance_uid for g in groups}
    left_out = [c for c in record.choices if c.series_instance_uid in uids and c.code != "localizer"]
    reasons = [c for c in left_out if not errors.row(c.code).routine] or left_out
    return Refused(reasons[-1].code, reasons[-1].sentence, series=reasons[-1].series_instance_uid) if reasons else None
