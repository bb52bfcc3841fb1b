"""Which objects a report names and lists as its evidence, so that it stays small (PS3.3 C.17.2.3).

The final report of a procedure lists all that was made for it; ours is never final (Preliminary Flag), and such a one
must list at least what its content refers to.  So all source images stand there as long as there is room for them; of
a series without room those that the content refers to, its first, middle and last, and the content says how many there
are.  Of many objects of one kind (single captures) the same three stand for their series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node.report.references import references_by_series
from inference.facts import Instance

ResultObjects: TypeAlias = Mapping[str, Sequence[Dataset]]  # kind of result → its data sets
NO_RESULTS: ResultObjects = {}
MOST_BYTES = 248_000  # of content and evidence; a report is to stay within 256 KB, and its header takes some KB
MOST_NAMED = 24  # objects of one kind that are named one by one: more than the label maps of 20 lesions


@dataclass(frozen=True, slots=True)
class Part:
    """A series of which the evidence lists ``listed`` objects of ``found``."""

    series_instance_uid: str
    listed: int
    found: int


def stand_ins(found: Sequence[Dataset]) -> Sequence[Dataset]:
    """The objects of one kind that a report names: all, or first, middle and last of very many."""
    return found if len(found) <= MOST_NAMED else [found[n] for n in _ends_and_middle(len(found))]


def named_results(results: ResultObjects) -> list[Dataset]:
    """Every object of the set that a report names."""
    return [ds for found in results.values() for ds in stand_ins(found)]


def referred(report: sr.MeasurementReport, images: Sequence[Instance]) -> list[Instance]:
    """The source images that the content tree names; the first one where it names none."""
    named: set[str] = set()
    pending = list(report)
    while pending:
        item = pending.pop()
        named.update(str(ref.ReferencedSOPInstanceUID) for ref in item.get("ReferencedSOPSequence") or [])
        pending.extend(item.get("ContentSequence") or [])
    by_uid = {image.sop_instance_uid: image for image in images}
    return [image for uid, image in by_uid.items() if uid in named] or [images[0]]


def listed(
    report: sr.MeasurementReport, images: Sequence[Instance], others: Sequence[Dataset]
) -> tuple[list[Instance], list[Part]]:
    """The source images to list, and the series that are listed in part: the last of ``images`` first.

    ``others``: what is listed beside them.
    """
    room = MOST_BYTES - _bytes(report[0]) - _bytes(evidence_item("", [], others))
    series: dict[str, list[Instance]] = {}
    for image in {image.sop_instance_uid: image for image in images}.values():
        series.setdefault(image.series_instance_uid, []).append(image)
    sizes = {uid: _bytes(evidence_item("", found)) for uid, found in series.items()}
    named = {image.sop_instance_uid for image in referred(report, images)}
    parts = []
    for uid, found in reversed(series.items()):
        kept = [i for n, i in enumerate(found) if n in _ends_and_middle(len(found)) or i.sop_instance_uid in named]
        if sum(sizes.values()) <= room or len(kept) == len(found):
            continue
        parts.append(Part(uid, len(kept), len(found)))
        series[uid], sizes[uid] = kept, _bytes(evidence_item("", kept))
    return [image for found in series.values() for image in found], parts


def evidence_item(study: str, images: Sequence[Instance], others: Sequence[Dataset] = ()) -> Dataset:
    """An item of PS3.3 table C.17-3, Hierarchical SOP Instance Reference, of one study."""
    by_series = references_by_series(images)
    for other in others:
        ref = Dataset()
        ref.ReferencedSOPClassUID, ref.ReferencedSOPInstanceUID = other.SOPClassUID, other.SOPInstanceUID
        by_series.setdefault(str(other.SeriesInstanceUID), []).append(ref)
    item = Dataset()
    item.StudyInstanceUID, item.ReferencedSeriesSequence = study, []
    for series_instance_uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = series_instance_uid, references
        item.ReferencedSeriesSequence.append(series)
    return item


def _ends_and_middle(count: int) -> tuple[int, int, int]:
    return 0, count // 2, count - 1


def _bytes(ds: Dataset) -> int:
    """As the file will hold it."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, ds, "utf8")
    return len(file.getvalue())
