"""The whole node with a real archive and a real sender: a study goes in, one set of results comes out."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pydicom
import pytest

from dicom_node.commands.send import send_folder
from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.demo.orthanc_results import fetch_results
from dicom_node.ledger import Ledger
from dicom_node.work.result_set import read_set
from tests.enhanced import enhanced_pair
from tests.node_run import KINDS, dicom_files, events, objects, send, start_sending, wait_for
from training.phantom.study import write_phantom_study

pytestmark = pytest.mark.peers

# silence that a person would not notice here, but that is longer than a sender under load pauses
NODE_SETTINGS = "[assemble]\nquiet_s = 3\ngive_up_s = 6\n"
NOTHING_HAPPENS_S = 3.0  # a batch of the index, a look of the coordinator, a poll of the queue: each below 1 s


@pytest.fixture
def ledger(node: NodeProcess) -> Iterator[Ledger]:
    opened = Ledger(node.index_file)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def delivered(node: NodeProcess, orthanc: PrivateOrthanc, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A phantom, sent over one association and answered: its folder and its Study Instance UID."""
    folder = tmp_path_factory.mktemp("phantom")
    study = write_phantom_study(folder, seed=1).study_instance_uid
    send(node.port, dicom_files(folder))
    wait_for(lambda: "confirmed" in events(node, study))
    return folder, study


def test_five_objects_are_in_the_archive(
    delivered: tuple[Path, str], orthanc: PrivateOrthanc, ledger: Ledger, node: NodeProcess, tmp_path: Path
) -> None:
    _, study = delivered
    (run,) = ledger.runs(study)
    assert run["state"] == "done"
    found = read_set(node.result_folder(run["run_id"]))
    assert found is not None
    assert {r.kind for r in found.results} == KINDS
    assert objects(orthanc.http_url, study) == {r.sop_instance_uid: r.path.read_bytes() for r in found.results}
    assert len(fetch_results(orthanc.http_url, study, tmp_path)) == len(KINDS)


def test_the_ledger_has_the_times_and_the_receipts(delivered: tuple[Path, str], ledger: Ledger) -> None:
    _, study = delivered
    assert [e.event for e in ledger.timeline(study)] == [
        "last-slice-stored",
        "pair-complete",
        "analysis-started",
        "analysis-ended",
        "delivered",
        "confirmed",
    ]
    (run,) = ledger.runs(study)
    assert {r["kind"] for r in ledger.receipts(run["run_id"])} == KINDS
    assert {r["how"] for r in ledger.receipts(run["run_id"])} == {"read back, same bytes"}


def test_the_patient_is_in_no_file_but_those_that_must_hold_the_patient(
    delivered: tuple[Path, str], node: NodeProcess, tmp_path: Path
) -> None:
    """Spool and results are DICOM, the index's instances hold headers; nothing else does, nor the log."""
    folder, _ = delivered
    header = pydicom.dcmread(dicom_files(folder)[0], stop_before_pixels=True)
    patient = [str(header.PatientName), str(header.PatientID), str(header.PatientBirthDate)]
    assert all(len(text) > 3 for text in patient)
    tables = {p.name: dump(p, tmp_path) for p in node.data_dir.glob("*.sqlite")}
    assert patient[0] in tables["index.sqlite"]["instances"]
    del tables["index.sqlite"]["instances"]
    assert {"story", "pairs", "receipts"} <= tables["index.sqlite"].keys()
    assert "workflow_status" in tables["workflow.sqlite"]
    texts = {f"{file}: {table}": rows for file, found in tables.items() for table, rows in found.items()}
    kept = (node.data_dir / "spool", node.data_dir / "results")
    for path in [node.log, *(p for p in node.data_dir.rglob("*") if p.is_file())]:
        if ".sqlite" not in path.name and not any(k in path.parents for k in kept):
            texts[path.name] = path.read_text(errors="replace")
    assert "confirmed" in texts["node.log"]
    assert [(name, text) for name, rows in texts.items() for text in patient if text in rows] == []


def dump(file: Path, folder: Path) -> dict[str, str]:
    """All rows of each table, of a copy: the node goes on writing."""
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(folder / file.name)) as copy:
        source.backup(copy)
        names = [name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: str(copy.execute(f"SELECT * FROM {name}").fetchall()) for name in names}


def test_the_same_study_again_gives_nothing_new(
    delivered: tuple[Path, str], node: NodeProcess, orthanc: PrivateOrthanc, ledger: Ledger
) -> None:
    folder, study = delivered
    before = objects(orthanc.http_url, study)
    send(node.port, dicom_files(folder), associations=4)
    time.sleep(NOTHING_HAPPENS_S)
    assert len(ledger.runs(study)) == 1
    assert objects(orthanc.http_url, study) == before


def test_our_own_results_start_nothing(
    delivered: tuple[Path, str], node: NodeProcess, orthanc: PrivateOrthanc, ledger: Ledger
) -> None:
    _, study = delivered
    before = objects(orthanc.http_url, study)
    (run,) = ledger.runs(study)
    segmentation = node.result_folder(run["run_id"]) / "seg.dcm"
    send(node.port, [segmentation])  # the one kind of ours that the node takes at all
    assert start_sending(node.port, [segmentation.with_name("sr.dcm")]).wait(60) != 0
    time.sleep(NOTHING_HAPPENS_S)
    assert len(ledger.runs(study)) == 1
    assert objects(orthanc.http_url, study) == before


def test_four_associations_and_an_archive_that_comes_late(
    node: NodeProcess, orthanc: PrivateOrthanc, ledger: Ledger, tmp_path: Path
) -> None:
    study = write_phantom_study(tmp_path, seed=2).study_instance_uid
    orthanc.stop()
    try:
        send(node.port, dicom_files(tmp_path), associations=4)
        wait_for(lambda: "analysis-ended" in events(node, study))
        (run,) = ledger.runs(study)
        wait_for(lambda: any(d.attempts for d in ledger.deliveries(run["run_id"])))
        (delivery,) = ledger.deliveries(run["run_id"])
        assert delivery.state == "waiting"
        assert "orthanc" in delivery.reason
    finally:
        orthanc.start()
    wait_for(lambda: "confirmed" in events(node, study))
    assert len(objects(orthanc.http_url, study)) == len(KINDS)
    assert len(ledger.runs(study)) == 1


def test_a_study_with_a_hole_is_answered_with_the_reason(
    node: NodeProcess, orthanc: PrivateOrthanc, ledger: Ledger, tmp_path: Path
) -> None:
    study = write_phantom_study(tmp_path, seed=3).study_instance_uid
    files = dicom_files(tmp_path)
    slices = [f for f in files if f.parent.name == "PET"]
    late = slices[len(slices) // 2]
    send(node.port, [f for f in files if f != late])
    wait_for(lambda: "confirmed" in events(node, study))
    (run,) = ledger.runs(study)
    assert (run["state"], run["code"]) == ("refused", "missing-slices")
    said = (node.result_folder(run["run_id"]) / "sr.dcm").read_bytes()
    assert b"PET: " in said
    assert b"Missing are the positions" in said
    assert len(objects(orthanc.http_url, study)) == 2

    send(node.port, [late])  # and with the slice it is analysed after all
    wait_for(lambda: {r["state"] for r in ledger.runs(study)} == {"refused", "done"})
    wait_for(lambda: len(objects(orthanc.http_url, study)) == 2 + len(KINDS))
    refusal, result = (node.result_folder(r["run_id"]) / "sr.dcm" for r in ledger.runs(study))
    (before,) = pydicom.dcmread(result).PredecessorDocumentsSequence
    (series,) = before.ReferencedSeriesSequence
    refused = pydicom.dcmread(refusal)
    assert series.SeriesInstanceUID == refused.SeriesInstanceUID
    assert [d.ReferencedSOPInstanceUID for d in series.ReferencedSOPSequence] == [refused.SOPInstanceUID]


@pytest.mark.data
def test_a_real_patient_is_measured_in_the_contour_that_was_sent(
    node: NodeProcess, orthanc: PrivateOrthanc, ledger: Ledger, tmp_path: Path, shared_data: Path
) -> None:
    source = shared_data / "study_sts_001"
    sent = tmp_path / "sent"  # in alphabetical order, so that the contour comes last, as it does in the field
    for name in ("ct", "pet_bqml"):
        shutil.copytree(source / name, sent / name)
    shutil.copy(source / "rtstruct_ct.dcm", sent)
    study = str(pydicom.dcmread(source / "rtstruct_ct.dcm", stop_before_pixels=True).StudyInstanceUID)
    report = send_folder(sent, "127.0.0.1", node.port, associations=2)
    assert not report.failures
    wait_for(lambda: "confirmed" in events(node, study))
    (run,) = ledger.runs(study)
    assert ledger.work(run["run_id"]).content["region"] is not None
    (main,) = [r for r in fetch_results(orthanc.http_url, study, tmp_path / "out") if r.kind == "sr"]
    assert main.lesions[0].measures["suv_max"] == pytest.approx(7.9107, rel=1e-4)


@pytest.mark.data
def test_a_multiframe_study_is_answered_as_soon_as_both_objects_are_there(
    node: NodeProcess, ledger: Ledger, shared_data: Path, tmp_path: Path
) -> None:
    folder = enhanced_pair(shared_data / "geometry" / "baseline", tmp_path)
    study = str(pydicom.dcmread(folder / "pet.dcm", stop_before_pixels=True).StudyInstanceUID)
    send(node.port, dicom_files(folder))
    wait_for(lambda: "confirmed" in events(node, study))
    (run,) = ledger.runs(study)
    assert run["state"] == "done"
    complete = next(e for e in ledger.timeline(study) if e.event == "pair-complete")
    assert "unbroken" in str(complete)  # by evidence, not by silence
