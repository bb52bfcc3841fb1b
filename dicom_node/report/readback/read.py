"""Read a result back from the DICOM file alone, for ``petct-node report``: what any other system can know of it.

pydicom is imported when a file is read, not before.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.report.readback.kinds import CLASSES, kind_of, kinds_of
from dicom_node.report.readback.said import is_for_viewers, said
from dicom_node.report.readback.summary import Named, PatientSummary, ResultSummary
from inference.facts import Refused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

REPORTS = ("sr", "sr_viewer")


def read_result(path: Path, *, patient: bool = False) -> ResultSummary:
    """Summary of one file written by this node; with ``patient`` also whose it is.

    Raises ``Refused``: "unreadable-file" where it is not DICOM or damaged, "not-a-result" where this node did not
    write it.
    """
    try:
        with _quietly():
            return _summary(path, _read(path), patient=patient)
    except Refused:
        raise
    except Exception as fault:  # pydicom meets damage in whatever it happens to do: struct.error, OSError, its own
        text = f"{path.name} is a result of petct-node, but damaged; export or send it again from its archive."
        raise Refused("unreadable-file", text, file=path.name) from fault


@contextmanager
def _quietly() -> Iterator[None]:
    """What pydicom says of an odd value holds the value, which may be a patient's."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _read(path: Path) -> Dataset:
    import pydicom

    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as fault:  # as in ``read_result``
        raise Refused(
            "unreadable-file", f"{path.name} cannot be read, or is not a DICOM file (PS3.10).", file=path.name
        ) from fault


def _summary(path: Path, ds: Dataset, *, patient: bool) -> ResultSummary:
    if "SOPClassUID" not in ds and ds.file_meta.get("MediaStorageSOPClassUID") in (None, *CLASSES):
        raise Refused("unreadable-file", f"{path.name} is cut short.", file=path.name)
    kind = kind_of(ds)
    if not kind:
        text = f"{path.name} is not a result written by petct-node, but {_what(ds)}."
        raise Refused("not-a-result", text, file=path.name)
    fields = said(ds) if kind in REPORTS else {}
    if kind in REPORTS and is_for_viewers(fields):
        kind = "sr_viewer"
    equipment = ds.get("ContributingEquipmentSequence") or []
    model = equipment[1] if len(equipment) > 1 else None
    summary = ResultSummary(
        path=str(path),
        kind=kind,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        study_instance_uid=str(ds.StudyInstanceUID),
        series_description=str(ds.get("SeriesDescription", "")),
        created=_created(ds),
        node_version=_first(ds.get("SoftwareVersions")),
        model=f"{model.ManufacturerModelName} {_first(model.SoftwareVersions)}" if model else "",
        model_statement=_statement(model),
        research_use_only="research use only" in str(ds.get("SeriesDescription", "")).lower(),
        content=_CONTENTS[kind](ds) if kind in _CONTENTS else "",
        replaces=tuple(_named(ds.get("PredecessorDocumentsSequence"))),
        **{**fields, "members": fields.get("members") or _members(ds, kind)},
    )
    return replace(summary, patient=_patient(ds)) if patient else summary


def _what(ds: Dataset) -> str:
    """What a stranger's file is, by its SOP class: nothing that could be a patient's."""
    from pydicom.uid import UID

    uid = UID(str(ds.get("SOPClassUID", "")))
    name = uid.name if uid in CLASSES or uid.type == "SOP Class" else "of no known SOP class"
    return f"{name} of another system" if name != "of no known SOP class" else name


def _first(value: object) -> str:
    return str(value if isinstance(value, str) or not isinstance(value, Iterable) else next(iter(value), ""))


def _statement(model: Dataset | None) -> str:
    """The model's statement, behind the "For research use only. " that opens every contribution."""
    return str(model.get("ContributionDescription", "")).partition(". ")[2] if model else ""


def _created(ds: Dataset) -> str:
    """ISO 8601, by the time of our contribution, which has its offset; else by the content's, which may have none."""
    import pydicom

    contributions = ds.get("ContributingEquipmentSequence") or []
    told = str(contributions[0].get("ContributionDateTime", "")) if contributions else ""
    if not told:
        told = f"{ds.get('ContentDate') or ''}{ds.get('ContentTime') or ''}{ds.get('TimezoneOffsetFromUTC') or ''}"
    when = pydicom.valuerep.DT(told) if told else None
    return when.isoformat() if isinstance(when, datetime) else ""


def _patient(ds: Dataset) -> PatientSummary:
    keywords = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
    return PatientSummary(*(str(ds.get(k) or "") for k in (*keywords, "StudyDate", "AccessionNumber")))


def _members(ds: Dataset, kind: str) -> tuple[Named, ...]:
    """Of a key object selection, and a main report of version 0.1.0, which lists no set: what of ours it refers to.

    A source that is of such a class (a person's SEG) has no UID of our making.
    """
    from dicom_node.identity import is_derived

    if kind not in ("sr", "ko"):
        return ()
    evidence = ds.get("CurrentRequestedProcedureEvidenceSequence")
    return tuple(named for named in _named(evidence) if named.kind and is_derived(named.sop_instance_uid))


def _named(studies: Iterable[Dataset] | None) -> Iterable[Named]:
    """Those of a Hierarchical SOP Instance Reference (PS3.3 table C.17-3)."""
    for study in studies or []:
        for series in study.ReferencedSeriesSequence:
            for ref in series.ReferencedSOPSequence:
                kinds = " or ".join(kind.name for kind in kinds_of(str(ref.ReferencedSOPClassUID)))
                yield Named(
                    kinds,
                    str(ref.ReferencedSOPClassUID),
                    str(ref.ReferencedSOPInstanceUID),
                    str(study.StudyInstanceUID),
                )


def _segments(ds: Dataset) -> str:
    labels = [str(segment.SegmentLabel) for segment in ds.SegmentSequence if segment.SegmentNumber]  # 0: background
    return f"{_counted(len(labels), 'segment')} ({', '.join(labels)}) on {_counted(int(ds.NumberOfFrames), 'frame')}"


def _frames(ds: Dataset) -> str:
    frames = _counted(int(ds.get("NumberOfFrames", 1)), "frame")
    return f"{frames} of {ds.Columns} × {ds.Rows}: {ds.get('DerivationDescription', '')}"


def _contours(ds: Dataset) -> str:
    named = {int(roi.ROINumber): str(roi.ROIName) for roi in ds.StructureSetROISequence}
    drawn = {int(c.ReferencedROINumber): len(c.get("ContourSequence") or []) for c in ds.ROIContourSequence}
    return "; ".join(f"{name}: {_counted(drawn.get(number, 0), 'contour')}" for number, name in named.items())


def _page(ds: Dataset) -> str:
    return f"{ds.get('DocumentTitle', '')}, {ds.get('EncapsulatedDocumentLength', 0)} bytes of PDF"


def _marked(ds: Dataset) -> str:
    studies = ds.get("CurrentRequestedProcedureEvidenceSequence")
    return f"{_counted(len(list(_named(studies))), 'object')} marked"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' if number != 1 else ''}"


_CONTENTS: dict[str, Callable[[Any], str]] = {
    "seg": _segments,
    "label_map": _segments,
    "key_image": _frames,
    "heatmap": _frames,
    "captures": _frames,
    "mip": _frames,
    "parametric_map": _frames,
    "rtstruct": _contours,
    "pdf": _page,
    "ko": _marked,
}
