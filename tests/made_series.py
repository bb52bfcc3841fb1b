"""Small CT series for tests that need files, not patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def ct_image(number: int, study: str = "1.2.3.1", series: str = "1.2.3.1.1", edge: int = 16) -> Dataset:
    """One CT slice, with what makes it valid and no more; the pixels differ from slice to slice."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CT_IMAGE
    ds.SOPInstanceUID = f"{series}.{number}"
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = series
    ds.FrameOfReferenceUID = f"{study}.9"
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientName = "Test^Łukasz"
    ds.PatientID = "T-1"
    ds.StudyDate, ds.StudyTime = "20260101", "120000"
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [0, 0, 3.27 * number]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [1, 1]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = edge
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = (np.arange(edge * edge, dtype="<i2") + number).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def write_ct_series(folder: Path, count: int, **uids: str) -> list[Path]:
    """Write ``count`` slices as 0001.dcm, 0002.dcm, …"""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.dcm" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        ct_image(number, **uids).save_as(path, enforce_file_format=True)
    return paths
