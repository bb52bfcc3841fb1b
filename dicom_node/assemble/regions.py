"""Which region object of a study is taken: a person's, drawn where the PET lies, the newest."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.assemble.series import Fault
from dicom_node.assemble.story import Record
from inference.facts import Caution, Instance

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
# The object's own date, newest wins; each keyword is absent in some makers' objects.
REGION_TIMES = (("StructureSetDate", "StructureSetTime"), ("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime"))


def choose_region(regions: Sequence[Instance], frame: str, record: Record) -> Instance | None:
    """The newest region drawn by a person in this Frame of Reference, None where there is none."""
    usable: list[Instance] = []
    elsewhere = 0
    for region in regions:
        if fault := _region_fault(region, frame):
            record.left_out((region,), fault)
            elsewhere += fault.code == "frame-of-reference-differs"
        else:
            usable.append(region)
    usable.sort(key=lambda i: (_region_time(i), i.sop_instance_uid))
    for older in usable[:-1]:
        record.left_out((older,), Fault("older-region", "a newer region of the same study is there"))
    if not usable:
        record.cautions.extend(regions_left_out(elsewhere, "whose Frame of Reference is not the PET's"))
        return None
    record.chosen(usable[-1:], "the newest region drawn by a person in the PET's Frame of Reference")
    return usable[-1]


def regions_left_out(count: int, which: str) -> tuple[Caution, ...]:
    """A person drew something and it is not used: the reader of the result must know."""
    text = f"{count} region object(s) of the study, {which}, could not be used."
    return (Caution("region-left-out", text),) if count else ()


def _region_fault(region: Instance, frame: str) -> Fault | None:
    if "AUTOMATIC" in _algorithms(region):
        return Fault("automatic-region", "drawn by a program (AUTOMATIC): only a person's region is taken")
    if frame not in _frames(region):
        return Fault("frame-of-reference-differs", "its Frame of Reference is not the PET's")
    return None


def _algorithms(region: Instance) -> set[str]:
    """A SEG with any AUTOMATIC segment is a program's; an RTSTRUCT only if all of its regions are."""
    if region.sop_class_uid == SEG:
        return _of_items(region, "SegmentSequence", "SegmentAlgorithmType")
    of_regions = _of_items(region, "StructureSetROISequence", "ROIGenerationAlgorithm")
    return of_regions if of_regions == {"AUTOMATIC"} else set()


def _frames(region: Instance) -> set[str]:
    own = {str(region.get("FrameOfReferenceUID", "")).strip()}
    return own | _of_items(region, "ReferencedFrameOfReferenceSequence", "FrameOfReferenceUID")


def _of_items(instance: Instance, sequence: str, keyword: str) -> set[str]:
    return {str(item.get(keyword) or "").strip().upper() for item in instance.get(sequence, [])}


def _region_time(region: Instance) -> str:
    for date, time in REGION_TIMES:
        if region.get(date):
            return f"{region.get(date)}{region.get(time, '')}"
    return ""
