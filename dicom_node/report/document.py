"""The frame all our structured reports share: observer, procedure, evidence, request (PS3.16 TID 1500)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import datetime
from typing import TypeAlias

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.report import codes
from dicom_node.report.evidence import Evidence
from dicom_node.report.listed import (
    MOST_NAMED,
    NO_RESULTS,
    Part,
    ResultObjects,
    evidence_item,
    listed,
    named_results,
    referred,
    stand_ins,
)
from dicom_node.report.references import shell
from inference.facts import Instance, Occasion, Predecessor

Group: TypeAlias = (
    sr.MeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)


def document(
    evidence: Evidence,
    name: str,
    series: tuple[int, str],
    groups: Sequence[Group],
    images: Sequence[Instance],
    results: ResultObjects = NO_RESULTS,
    values: sr.ContainerContentItem | None = None,
) -> Dataset:
    """A Comprehensive 3D SR of ``groups``.

    ``series``: number and description.  ``images``: the source instances that are its evidence (at least one).
    ``results``: the other objects of this result set by kind, where this is the report that names them all.
    ``values``: what the model took beside the images, where this is the report that says so.
    """
    number, description = series
    others = named_results(results)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer(evidence)),
        procedure_reported=_procedures(evidence),
        imaging_measurements=groups,
        title=codes.IMAGING_MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            codes.LANGUAGES[evidence.run.language]
        ),
    )
    if values is not None:
        report[0].ContentSequence.append(values)
    if others:
        report[0].ContentSequence.append(_result_set(results))
    images, parts = listed(report, images, others)
    add(groups[0], _in_part(parts, evidence))
    ds: Dataset = sr.Comprehensive3DSR(
        evidence=[*map(shell, referred(report, images)), *others],
        content=report[0],
        is_complete=True,
        is_final=False,
        **evidence.for_highdicom(name, number),
    )
    # highdicom would want a whole data set for each of some hundred images
    study = str(evidence.source.StudyInstanceUID)
    own = [image for image in images if image.study_instance_uid == study]
    elsewhere = sorted({image.study_instance_uid for image in images} - {study})  # a CT of another study
    ds.CurrentRequestedProcedureEvidenceSequence = [evidence_item(study, own, others)]
    ds.PertinentOtherEvidenceSequence = [
        evidence_item(uid, [image for image in images if image.study_instance_uid == uid]) for uid in elsewhere
    ]
    if not elsewhere:
        del ds.PertinentOtherEvidenceSequence
    if predecessors := _predecessors(name, evidence):
        ds.PredecessorDocumentsSequence = _predecessor_items(predecessors)
    ds.CodingSchemeIdentificationSequence = [codes.private_scheme()]
    ds.AuthorObserverSequence = [_author(evidence)]
    ds.ReferencedPerformedProcedureStepSequence = deepcopy(
        evidence.source.get("ReferencedPerformedProcedureStepSequence") or []
    )
    order = order_answered(evidence.source)
    if order is not None:
        ds.ReferencedRequestSequence = [order]
    evidence.stamp(ds, name, description)
    return ds


def text(name: Code, value: str) -> sr.TextContentItem:
    """A free-text item of a group; highdicom's own evaluations take codes only."""
    return sr.TextContentItem(name=name, value=value, relationship_type="CONTAINS")


def about_pictures(evidence: Evidence) -> list[sr.TextContentItem]:
    """That the pictures are in another language than the report, where they are."""
    say = evidence.say
    return [] if evidence.say_in_pictures == say else [text(codes.COMMENT, say("pictures-in-english"))]


def replacing(evidence: Evidence) -> list[sr.TextContentItem]:
    """What a report says of those that its result set replaces: why, and which; nothing where it is the first."""
    say = evidence.say
    replaced = [p for p in evidence.run.predecessors if p.kind == "sr"]  # a result set is counted by its main report
    if not replaced:
        return []
    key = "replaces-one" if len(replaced) == 1 else "replaces-many"
    which = [", ".join(filter(None, (_when(p.created), p.model))) for p in replaced]
    return [
        text(codes.COMMENT, say(key, number=len(replaced), reasons=_reasons(evidence))),
        *(text(codes.COMMENT, say("replaced-report", which=one)) for one in which if one),
    ]


def _when(created: str) -> str:
    return datetime.fromisoformat(created).isoformat(" ", "seconds") if created else ""


def _predecessors(name: str, evidence: Evidence) -> list[Predecessor]:
    """The reports that the one called ``name`` replaces: the main report those of all kinds, another its own kind.

    Where there was none of its kind, it names the main ones.
    """
    replaced = evidence.run.predecessors
    same_kind = [p for p in replaced if p.kind == name]
    return list(replaced) if name == "sr" else same_kind or list(replaced)


def _reasons(evidence: Evidence) -> str:
    say = evidence.say
    occasions = evidence.run.occasions or (Occasion("content"),)  # all there was before it was written down
    said = [say(f"occasion-{o.kind}-because", text=o.text) if o.text else say(f"occasion-{o.kind}") for o in occasions]
    return say("occasion-separator").join(said)


def number(name: Code, value: float, unit: Code, **more: object) -> sr.Measurement:
    """A measurement with six significant digits."""
    return sr.Measurement(name=name, value=float(f"{value:.6g}"), unit=unit, **more)


def add(group: Group, items: Iterable[sr.ContentItem]) -> None:
    """Append items to a measurement group's container."""
    group[0].ContentSequence.extend(items)


def _in_part(parts: Sequence[Part], evidence: Evidence) -> list[sr.TextContentItem]:
    """That not all source images are listed, for each series."""
    say = evidence.say
    return [
        text(codes.COMMENT, say("evidence-in-part", series=p.series_instance_uid, listed=p.listed, found=p.found))
        for p in parts
    ]


def _result_set(results: ResultObjects) -> sr.ContainerContentItem:
    """What makes the report the root of its set: every other object, by what it is to a reader.

    TID 1500 is extensible and has no row for it: an image library lists what was measured on, not what came of it.
    Images and segmentations are IMAGE items, all else is COMPOSITE (PS3.3 C.17.3.2.4); so is a label map, since DCMTK
    refuses a whole report for one IMAGE item of a SOP class that is newer than itself (3.6.7: "Invalid Value").
    Of very many of a kind first, middle and last are named, and behind them how many there are in their series.
    """
    container = sr.ContainerContentItem(codes.RESULT_SET, is_content_continuous=False, relationship_type="CONTAINS")
    container.ContentSequence = sr.ContentSequence()
    for kind, found in results.items():
        for ds in stand_ins(found):
            is_image = "Rows" in ds and kind != "label_map"
            item_type = sr.ImageContentItem if is_image else sr.CompositeContentItem
            name = codes.RESULTS.get(kind, codes.OTHER_RESULT)
            item = item_type(name, ds.SOPClassUID, ds.SOPInstanceUID, relationship_type="CONTAINS")
            container.ContentSequence.append(item)
        if len(found) > MOST_NAMED:
            count = sr.NumContentItem(codes.RESULT_COUNT, len(found), codes.INSTANCES, relationship_type="CONTAINS")
            container.ContentSequence.append(count)
    return container


def observer(evidence: Evidence) -> sr.ObserverContext:
    """Who says so: this installation (TID 1004)."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=evidence.run.device_uid,
        name="petct-node",
        manufacturer_name=codes.MANUFACTURER,
        model_name="petct-node",
        serial_number=evidence.run.serial,
    )
    return sr.ObserverContext(codes.DEVICE, device)


def _author(evidence: Evidence) -> Dataset:
    item = Dataset()
    item.ObserverType, item.StationName, item.DeviceUID = "DEV", "petct-node", evidence.run.device_uid
    item.Manufacturer, item.ManufacturerModelName = codes.MANUFACTURER, "petct-node"
    item.InstitutionName, item.InstitutionCodeSequence = evidence.source.get("InstitutionName", ""), []
    return item


def main_series(evidence: Evidence) -> tuple[int, str]:
    """Number and description of the main report's series."""
    return 9001, f"AI {evidence.images} results (research use only)"


def _procedures(evidence: Evidence) -> list[Code]:
    named = [
        Code(str(item.get("CodeValue") or item.LongCodeValue), item.CodingSchemeDesignator, item.CodeMeaning)
        for item in evidence.source.get("ProcedureCodeSequence") or []
        if "URNCodeValue" not in item  # highdicom writes none with a scheme beside it
    ]
    return named or [codes.PET_ANY_REGION if evidence.images == "PET/CT" else codes.CT_ANY_REGION]


def order_answered(source: Dataset) -> Dataset | None:
    """The order this report answers, where the source tells of one."""
    orders = source.get("RequestAttributesSequence") or []
    order = orders[0] if orders else Dataset()
    if not orders and not source.get("AccessionNumber"):
        return None
    item = Dataset()
    item.StudyInstanceUID, item.ReferencedStudySequence = source.StudyInstanceUID, []
    item.AccessionNumber = source.get("AccessionNumber", "")
    item.PlacerOrderNumberImagingServiceRequest = item.FillerOrderNumberImagingServiceRequest = ""
    item.RequestedProcedureID = order.get("RequestedProcedureID", "")
    item.RequestedProcedureDescription = order.get("RequestedProcedureDescription", "")
    item.RequestedProcedureCodeSequence = deepcopy(order.get("RequestedProcedureCodeSequence") or [])
    return item


def _predecessor_items(predecessors: Sequence[Predecessor]) -> list[Dataset]:
    """PS3.3 table C.17-3, Hierarchical SOP Instance Reference, for Predecessor Documents Sequence (0040,A360)."""
    by_study: dict[str, Dataset] = {}
    for predecessor in predecessors:
        report, series = Dataset(), Dataset()
        report.ReferencedSOPClassUID = predecessor.sop_class_uid
        report.ReferencedSOPInstanceUID = predecessor.sop_instance_uid
        series.SeriesInstanceUID, series.ReferencedSOPSequence = predecessor.series_instance_uid, [report]
        study = by_study.setdefault(predecessor.study_instance_uid, Dataset())
        study.StudyInstanceUID = predecessor.study_instance_uid
        study.ReferencedSeriesSequence = [*study.get("ReferencedSeriesSequence", []), series]
    return list(by_study.values())
