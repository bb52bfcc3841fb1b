"""What comes late, in parts, or as two studies, through the whole node: one result counts, and it names the one before.

One node and one archive for all; the worker is stopped where a test needs a run that has not begun.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.identity import derived_uid
from tests.late import more_ct, region, replaced, reports, runs, wait_until_confirmed
from tests.node_run import KINDS, dicom_files, events, objects, send, wait_for
from training.phantom.study import write_phantom_study

pytestmark = pytest.mark.peers

# ct_quiet_s: on a loaded machine an association's first slices are in the index a second late
NODE_SETTINGS = "[assemble]\nct_quiet_s = 1.5\nquiet_s = 2\ngive_up_s = 5\ntwo_studies = true\n"
NOTHING_HAPPENS_S = 3.0


def worker(node: NodeProcess) -> psutil.Process:
    """What takes runs off the queue; warm, so that it is not in the middle of making its tables."""
    wait_for(lambda: "model warm" in node.log.read_text())
    pids = node.state["pids"]
    assert isinstance(pids, dict)
    return psutil.Process(pids["worker"])


def analyst(node: NodeProcess) -> psutil.Process:
    """What computes."""
    (process,) = [child for child in worker(node).children() if "spawn_main" in " ".join(child.cmdline())]
    return process


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """It does nothing meanwhile."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@pytest.fixture(scope="module")
def study(node: NodeProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A phantom whose region came while its first run was on the queue: only the second run went out."""
    folder = tmp_path_factory.mktemp("phantom") / "study"
    uid = write_phantom_study(folder, seed=41).study_instance_uid
    with stopped(worker(node)):
        send(node.port, [*dicom_files(folder), *more_ct(folder, 1, 7)])
        wait_for(lambda: "pair-complete" in events(node, uid))
        send(node.port, [region(folder, "first")])
        wait_for(lambda: len(runs(node, uid)) == 2)
    wait_until_confirmed(node, uid, 1)
    return folder, uid


def test_a_run_that_is_overtaken_on_the_queue_is_neither_analysed_nor_delivered(
    study: tuple[Path, str], node: NodeProcess, orthanc: PrivateOrthanc
) -> None:
    _, uid = study
    overtaken, result = runs(node, uid)
    assert (overtaken["state"], result["state"]) == ("superseded", "done")
    assert not node.result_folder(overtaken["run_id"]).exists()
    assert len(objects(orthanc.http_url, uid)) == len(KINDS)
    (report,) = reports(orthanc, uid).values()
    assert replaced(report) == []


def test_late_ct_slices_beyond_the_pet_change_nothing(
    study: tuple[Path, str], node: NodeProcess, orthanc: PrivateOrthanc
) -> None:
    folder, uid = study
    before = objects(orthanc.http_url, uid)
    send(node.port, more_ct(folder, 8, 12))
    time.sleep(NOTHING_HAPPENS_S)
    assert len(runs(node, uid)) == 2
    assert objects(orthanc.http_url, uid) == before


def test_a_region_after_the_result_gives_a_successor_that_names_it(
    study: tuple[Path, str], node: NodeProcess, orthanc: PrivateOrthanc
) -> None:
    folder, uid = study
    (first,), (contours,) = (reports(orthanc, uid, number) for number in (9001, 9002))
    late = region(folder, "second")
    ds = pydicom.dcmread(late)
    ds.StructureSetDate = "20260103"
    ds.save_as(late)
    send(node.port, [late])
    wait_until_confirmed(node, uid, 2)
    found = reports(orthanc, uid)
    (successor,) = found.keys() - {first}
    assert replaced(found[successor]) == [first, contours]
    for report in (r for u, r in reports(orthanc, uid, 9002).items() if u != contours):
        assert replaced(report) == [contours]
        assert any("replaces an earlier report" in text for text in texts(report))
    (item,) = found[successor].PredecessorDocumentsSequence
    assert item.StudyInstanceUID == uid
    assert item.ReferencedSeriesSequence[0].SeriesInstanceUID == found[first].SeriesInstanceUID
    assert any("replaces an earlier report" in text for text in texts(found[successor]))
    when = found[first].ContributingEquipmentSequence[0].ContributionDateTime
    told = [text for text in texts(found[successor]) if text.startswith("Replaced: report of ")]
    assert len(told) == 1
    assert f"{when[:4]}-{when[4:6]}-{when[6:8]} {when[8:10]}:{when[10:12]}:{when[12:14]}" in told[0]
    assert told[0].endswith(", demo 1.0.0.")
    assert not any("replaces" in text for text in texts(found[first]))


def texts(ds: Dataset) -> list[str]:
    return [str(e.value) for e in ds.iterall() if e.keyword == "TextValue"]


def test_a_run_that_is_overtaken_while_it_is_analysed_ends_unheeded(
    node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path
) -> None:
    uid = write_phantom_study(tmp_path / "study", seed=42).study_instance_uid
    with stopped(analyst(node)):
        send(node.port, dicom_files(tmp_path / "study"))
        wait_for(lambda: "analysis-started" in events(node, uid))
        send(node.port, more_ct(tmp_path / "study", 1, 2))
        wait_for(lambda: len(runs(node, uid)) >= 2)
    wait_until_confirmed(node, uid, 1)
    *overtaken, last = runs(node, uid)
    assert {r["state"] for r in overtaken} == {"superseded"}  # two of them where the two slices came far apart
    assert last["state"] == "done"
    assert not any(r["replaces"] for r in (*overtaken, last))
    assert len(objects(orthanc.http_url, uid)) == len(KINDS)
    assert {"superseded", "withheld"} <= set(events(node, uid))


def test_ct_and_pet_of_two_studies_are_paired_in_either_order(
    node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path
) -> None:
    uids = []
    for seed, order in ((43, ("CT", "PET")), (44, ("PET", "CT"))):
        folder = tmp_path / str(seed)
        uid = write_phantom_study(folder, seed=seed).study_instance_uid
        for path in (folder / "CT").iterdir():
            ds = pydicom.dcmread(path)
            ds.StudyInstanceUID = derived_uid("test", "ct study", uid)
            ds.save_as(path)
        for name in order:
            send(node.port, sorted((folder / name).iterdir()))
        uids.append(uid)
    for uid in uids:
        wait_until_confirmed(node, uid, 1)
        assert [r["state"] for r in runs(node, uid)] == ["done"]
        assert len(objects(orthanc.http_url, uid)) == len(KINDS)
        (report,) = reports(orthanc, uid).values()
        (elsewhere,) = report.PertinentOtherEvidenceSequence
        assert elsewhere.StudyInstanceUID == derived_uid("test", "ct study", uid)
        assert len(elsewhere.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 90
        assert any("ct-of-another-study" in text for text in texts(report))
        assert objects(orthanc.http_url, str(elsewhere.StudyInstanceUID)) == {}


def shuffled(files: Sequence[Path], seed: int) -> list[Path]:
    mixed = list(files)
    random.Random(seed).shuffle(mixed)
    return mixed


def test_three_studies_mixed_over_four_associations_are_kept_apart(
    node: NodeProcess, orthanc: PrivateOrthanc, tmp_path: Path
) -> None:
    uids = {write_phantom_study(tmp_path / str(seed), seed=seed).study_instance_uid: seed for seed in (45, 46, 47)}
    send(node.port, shuffled(dicom_files(tmp_path), seed=1), associations=4)
    for uid, seed in uids.items():
        wait_until_confirmed(node, uid, 1)
        assert [r["state"] for r in runs(node, uid)] == ["done"]
        (report,) = reports(orthanc, uid).values()
        source = pydicom.dcmread(next((tmp_path / str(seed) / "PET").iterdir()), stop_before_pixels=True)
        assert (report.PatientID, report.PatientName) == (source.PatientID, source.PatientName)
        assert len(objects(orthanc.http_url, uid)) == len(KINDS)
