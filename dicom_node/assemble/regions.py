"""Which region object of a study is taken: a person's, drawn where the PET lies, that names a lesion, the newest."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.assemble.series import Fault
from dicom_node.assemble.story import Record
from inference.facts import Caution, Instance
from inference.regions.region_names import TUMOUR_NAMES, labels_of, names_a_lesion

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
REGION_CLASSES = frozenset([RTSTRUCT, SEG, LABEL_MAP])
MOST_ITEMS = 1000  # of references that are looked through
# The object's own date, newest wins; each keyword is absent in some makers' objects.
REGION_TIMES = (("StructureSetDate", "StructureSetTime"), ("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime"))


def choose_region(
    regions: Sequence[Instance], frame: str, record: Record, names: Sequence[str] = TUMOUR_NAMES, what: str = "PET"
) -> Instance | None:
    """The region object drawn by a person in this Frame of Reference, None where there is none.

    Of several the newest of those in which ``lesions_among`` finds a lesion; where it finds one in none, the newest.
    RTSTRUCT and SEG count alike.  ``what``: whose Frame of Reference it is, for people.
    """
    usable: list[Instance] = []
    elsewhere = 0
    for region in regions:
        if fault := _region_fault(region, frame, what):
            record.left_out((region,), fault)
            elsewhere += fault.code == "frame-of-reference-differs"
        else:
            usable.append(region)
    if not usable:
        record.cautions.extend(regions_left_out(elsewhere, f"whose Frame of Reference is not the {what}'s"))
        return None
    ranked = sorted(usable, key=lambda i: (_names_a_lesion(i, names), _region_time(i), i.sop_instance_uid))
    taken = ranked[-1]
    for other in ranked[:-1]:
        if _names_a_lesion(other, names) == _names_a_lesion(taken, names):
            record.left_out((other,), Fault("older-region", "a newer region of the same study is there"))
        else:
            record.left_out((other,), Fault("region-names-no-lesion", "it names no lesion, and another region does"))
    record.chosen((taken,), f"the newest region drawn by a person in the {what}'s Frame of Reference")
    record.cautions.extend(_one_of_several(taken, len(usable), "PET/CT" if what == "PET" else what))
    return taken


def regions_left_out(count: int, which: str) -> tuple[Caution, ...]:
    """A person drew something and it is not used: the reader of the result must know."""
    text = f"{count} region object(s) of the study, {which}, could not be used."
    return (Caution("region-left-out", text),) if count else ()


def _one_of_several(taken: Instance, count: int, what: str) -> tuple[Caution, ...]:
    kind = "RTSTRUCT" if taken.sop_class_uid == RTSTRUCT else "SEG"
    text = (
        f"The study has {count} region objects that a person drew on this {what}; the newest that names a lesion "
        f"was taken, of Modality {kind}."
    )
    return (Caution("several-regions", text),) if count > 1 else ()


def is_region(instance: Instance) -> bool:
    """Whether it is an RTSTRUCT or a SEG."""
    return instance.sop_class_uid in REGION_CLASSES


def drawn_on(regions: Sequence[Instance]) -> tuple[frozenset[str], frozenset[str]]:
    """Frames of Reference in which people drew regions, and the series on whose images they say that they did."""
    by_people = [region for region in regions if _why_not_a_persons(region) is None]
    frames = {frame for region in by_people for frame in _frames(region)} - {""}
    return frozenset(frames), frozenset(uid for region in by_people for uid in _series_of(region))


def _region_fault(region: Instance, frame: str, what: str) -> Fault | None:
    if fault := _why_not_a_persons(region):
        return fault
    if frame not in _frames(region):
        return Fault("frame-of-reference-differs", f"its Frame of Reference is not the {what}'s")
    return None


def _why_not_a_persons(region: Instance) -> Fault | None:
    if _is_a_programs(region):
        return Fault("automatic-region", "drawn by a program (AUTOMATIC): only a person's region is taken")
    if str(region.get("ApprovalStatus", "")).strip().upper() == "REJECTED":
        return Fault("rejected-region", "a person rejected it (Approval Status)")
    return None


def _is_a_programs(region: Instance) -> bool:
    """Whether no region in it is a person's: single AUTOMATIC ones are left out later."""
    try:
        labels = labels_of(region)
    except (TypeError, ValueError):
        return False  # malformed: refused with that reason where it is read
    return bool(labels) and all(label.automatic for label in labels)


def _names_a_lesion(region: Instance, names: Sequence[str]) -> bool:
    try:
        return names_a_lesion(labels_of(region), names)
    except (TypeError, ValueError):
        return False


def _frames(region: Instance) -> set[str]:
    own = {str(region.get("FrameOfReferenceUID", "")).strip()}
    items = region.get("ReferencedFrameOfReferenceSequence", [])
    return own | {str(item.get("FrameOfReferenceUID") or "").strip() for item in items}


def _series_of(region: Instance) -> set[str]:
    """Series Instance UIDs that an RTSTRUCT (in its frames) or a SEG refers to, at any depth it may keep them."""
    found: set[str] = set()
    open_items = [*region.get("ReferencedFrameOfReferenceSequence", []), *region.get("ReferencedSeriesSequence", [])]
    for _ in range(MOST_ITEMS):
        if not open_items:
            break
        item = open_items.pop()
        found.add(str(item.get("SeriesInstanceUID") or "").strip())
        for keyword in ("RTReferencedStudySequence", "RTReferencedSeriesSequence"):
            open_items += item.get(keyword) or []
    return found - {""}


def _region_time(region: Instance) -> str:
    for date, time in REGION_TIMES:
        if region.get(date):
            return f"{region.get(date)}{region.get(time, '')}"
    return ""
