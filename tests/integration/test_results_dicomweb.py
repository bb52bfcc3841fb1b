"""Our results come back from an archive's DICOMweb as they went in: STOW-RS, then WADO-RS and QIDO-RS (Orthanc)."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.report import write_results
from tests.report_case import RUN, real_analysis

pytestmark = [pytest.mark.peers, pytest.mark.data]


def _differences(sent: Dataset, returned: Dataset) -> list[str]:
    """Keywords of elements that are missing, new or other; values are compared as pydicom reads them."""
    tags = {e.tag for e in sent} | {e.tag for e in returned}
    return [str(tag) for tag in sorted(tags) if tag not in sent or tag not in returned or sent[tag] != returned[tag]]


def test_every_object_is_unchanged_after_stow_and_wado(shared_data: Path, tmp_path: Path) -> None:
    study = shared_data / "study_sts_001"
    analysis = real_analysis(study / "pet_bqml", study / "ct", study / "rtstruct_ct.dcm")
    results = write_results(analysis, RUN, tmp_path / "results")
    assert {r.kind for r in results} == {"seg", "sr", "sr_viewer", "key_image", "heatmap"}
    with PrivateOrthanc(tmp_path / "orthanc") as orthanc:
        client = DICOMwebClient(orthanc.dicomweb_url)
        sent = [pydicom.dcmread(r.path) for r in results]
        client.store_instances(sent)
        for result, original in zip(results, sent, strict=True):
            uids = (result.study_instance_uid, result.series_instance_uid, result.sop_instance_uid)
            # as it lies in the archive: without naming a transfer syntax DICOMweb would decompress
            returned = client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
            assert _differences(original, returned) == []
            assert returned.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
            assert len(client.search_for_instances(*uids[:2])) == 1
