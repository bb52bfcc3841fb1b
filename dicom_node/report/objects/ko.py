"""The Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010): flags what to look at first, where flags are shown."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import ko
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from dicom_node.report import codes
from dicom_node.report.document import observer, order_answered
from dicom_node.report.evidence import Evidence
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.objects.sr_viewer import largest_slice
from dicom_node.report.references import image_references, shell
from dicom_node.report.source import ALWAYS
from dicom_node.report.words import verdict
from inference.facts import Analysis, Instance

SERIES = (9040, "AI key objects (research use only)")


def key_objects(analysis: Analysis, evidence: Evidence, parts: Sequence[Segment]) -> list[Dataset]:
    """Of interest: the PET slice on which each lesion is largest, the key image, and the main report.

    Key image and report are named by their derived UIDs: the report names this object in turn, and is written before.
    """
    slices = sorted({largest_slice(part.lesion.region) for part in parts})
    images = [analysis.pair.reference.instances[k] for k in slices]
    objects = [
        *_each_once(images, analysis),
        _result(evidence, "key_image", SecondaryCaptureImageStorage, {"Modality": "OT", "Rows": 1, "Columns": 1}),
        _result(evidence, "sr", Comprehensive3DSRStorage, {"Modality": "SR"}),
    ]
    say = evidence.say
    what = say("key-objects", image=verdict.image(evidence.images, say))
    content = ko.KeyObjectSelection(
        document_title=codes.OF_INTEREST,
        referenced_objects=objects,
        observer_device_context=observer(evidence),
        description=" ".join([what, *_replacing(evidence)]),
    )
    order = order_answered(evidence.source)
    ds: Dataset = ko.KeyObjectSelectionDocument(
        evidence=objects,
        content=content,
        requested_procedures=[order] if order is not None else None,
        **evidence.for_highdicom("ko", SERIES[0]),
    )
    _tidy_references(ds, images)
    ds.CodingSchemeIdentificationSequence = [codes.private_scheme()]
    evidence.stamp(ds, "ko", SERIES[1])
    return [ds]


def _replacing(evidence: Evidence) -> list[str]:
    return [evidence.say("picture-replaces")] if evidence.run.predecessors else []


def _each_once(images: Sequence[Instance], analysis: Analysis) -> list[Dataset]:
    """Several frames of one object are one reference."""
    shells = {image.sop_instance_uid: shell(image) for image in images}
    for ds in shells.values():
        ds.Rows, ds.Columns = analysis.grid.array.shape[1:]  # highdicom tells images from other objects by these
    return list(shells.values())


def _result(evidence: Evidence, kind: str, sop_class_uid: str, more: dict[str, object]) -> Dataset:
    """What highdicom must know of another object of this result set to refer to it."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, evidence.uid(kind)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = evidence.source.StudyInstanceUID, evidence.uid(f"{kind} series")
    for keyword, value in {**dict.fromkeys(ALWAYS), **more}.items():  # ``Evidence.stamp`` fills the patient in
        setattr(ds, keyword, value)
    return ds


def _tidy_references(ds: Dataset, images: Sequence[Instance]) -> None:
    """What highdicom does otherwise than the template.

    Rows 8 to 10 of TID 2010 have no Concept Name, and of a multi-frame PET the key frames alone are meant (Referenced
    Frame Number, PS3.3 table 10-3).
    """
    named = {str(reference.ReferencedSOPInstanceUID): reference for reference in image_references(images)}
    for item in ds.ContentSequence:
        for reference in item.get("ReferencedSOPSequence") or []:
            item.pop("ConceptNameCodeSequence", None)
            reference.update(named.get(str(reference.ReferencedSOPInstanceUID), {}))
