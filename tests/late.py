"""What comes after a phantom's study, and what the ledger and the archive then hold of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.identity import derived_uid
from dicom_node.ledger import Ledger
from tests.images import square, structures
from tests.node_run import events, objects, wait_for


def runs(node: NodeProcess, study: str) -> list[Any]:
    ledger = Ledger(node.index_file)
    try:
        return list(ledger.runs(study))
    finally:
        ledger.close()


def wait_until_confirmed(node: NodeProcess, study: str, count: int) -> None:
    wait_for(lambda: events(node, study).count("confirmed") == count)


def region(folder: Path, name: str) -> Path:
    """A person's contour in the phantom: an RTSTRUCT of its study and its patient."""
    images = [pydicom.dcmread(file, stop_before_pixels=True) for file in (folder / "PET").iterdir()]
    image = images[0]
    path = folder.parent / f"{folder.name}_{name}.dcm"
    heights = sorted(float(i.ImagePositionPatient[2]) for i in images)[40:44]
    structures(path, [square(height, -30.0, 30.0) for height in heights], frame=image.FrameOfReferenceUID)
    ds = pydicom.dcmread(path)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"):
        ds[keyword] = image[keyword]
    ds.SeriesInstanceUID = derived_uid("test", str(image.StudyInstanceUID), name)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("test", ds.SeriesInstanceUID)
    reference = Dataset()
    reference.FrameOfReferenceUID = image.FrameOfReferenceUID
    ds.ReferencedFrameOfReferenceSequence = [reference]
    ds.StructureSetDate = "20260102"
    ds.save_as(path)
    return path


def more_ct(folder: Path, first: int, last: int) -> list[Path]:
    """Further slices at the head end of the phantom's CT, numbered from its last on."""
    slices = list((folder / "CT").iterdir())
    top = max(slices, key=lambda path: pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])
    made = []
    for n in range(first, last + 1):
        ds = pydicom.dcmread(top)
        ds.InstanceNumber = len(slices) + n
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, f"{z + 3.27 * n:.6g}"]
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("test", ds.SOPInstanceUID, str(n))
        path = folder.parent / f"{folder.name}_CT_{n:02}.dcm"
        ds.save_as(path)
        made.append(path)
    return made


def reports(orthanc: PrivateOrthanc, study: str, number: int = 9001) -> dict[str, Dataset]:
    """The main reports in the archive (9002: those for viewers), by SOP Instance UID."""
    found = [pydicom.dcmread(DicomBytesIO(data)) for data in objects(orthanc.http_url, study).values()]
    return {str(ds.SOPInstanceUID): ds for ds in found if ds.Modality == "SR" and int(ds.SeriesNumber) == number}


def replaced(report: Dataset) -> list[str]:
    """The SOP Instance UIDs in its Predecessor Documents Sequence."""
    return [
        str(document.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence") or []
        for series in study.ReferencedSeriesSequence
        for document in series.ReferencedSOPSequence
    ]
