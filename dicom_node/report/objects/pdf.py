"""The page to print, as Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from dicom_node.report import codes
from dicom_node.report.document import replacing
from dicom_node.report.evidence import Evidence, code_item
from dicom_node.report.objects.segmentation import Segment
from dicom_node.report.pictures import key_image as drawn
from dicom_node.report.pictures import views
from dicom_node.report.pictures.colours import Pixels
from dicom_node.report.pictures.page import page
from dicom_node.report.references import reference
from inference.facts import Analysis

SERIES = (9050, "AI report PDF (research use only)")


def printed_report(
    analysis: Analysis, evidence: Evidence, _parts: Sequence[Segment], key_image: Pixels | None = None
) -> list[Dataset]:
    """One page.  ``key_image``: of this analysis, where it is drawn already."""
    if key_image is None:
        key_image = drawn.key_image(analysis, evidence.say_in_pictures, replaces=bool(evidence.run.predecessors))
    content = page(
        analysis,
        key_image,
        evidence.say_in_pictures,
        " ".join(str(item.TextValue) for item in replacing(evidence)),
        evidence.uid("sr"),
        evidence.clock.started,
        f"petct-node {evidence.run.node_version}",
    )
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = EncapsulatedPDFStorage, evidence.uid("pdf")
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = evidence.uid("pdf series"), SERIES[0], 1
    ds.Modality, ds.ConversionType, ds.AcquisitionDateTime = "DOC", "SYN", ""
    ds.BurnedInAnnotation, ds.VerificationFlag = "NO", "UNVERIFIED"
    ds.DocumentTitle = SERIES[1]
    ds.ConceptNameCodeSequence = [code_item(codes.IMAGING_MEASUREMENT_REPORT)]
    ds.SourceInstanceSequence = [reference(analysis.pair.reference.instances[views.key_slice(analysis)])]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(content)
    ds.EncapsulatedDocument = content + b"\0" * (len(content) % 2)  # OB is of even length (PS3.5 8.1.1)
    evidence.stamp(ds, "pdf", SERIES[1])
    return [ds]
