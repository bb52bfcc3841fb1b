"""send_folder against real receivers: DCMTK's storescp, Orthanc, and a pynetdicom SCP that misbehaves on purpose."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import CTImageStorage, Verification

from dicom_node.commands.send import parse_address, send_command, send_folder
from dicom_node.deliver.association import echo
from dicom_node.demo.orthanc_process import PrivateOrthanc, free_port
from inference.facts import Refused
from training.phantom.study import write_phantom_study

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten CT and ten PET slices of the phantom, and three files that are not images."""
    study = tmp_path_factory.mktemp("study")
    write_phantom_study(study)
    folder = tmp_path_factory.mktemp("slices")
    for path in [*sorted(study.glob("CT/*.dcm"))[40:50], *sorted(study.glob("PET/*.dcm"))[40:50]]:
        shutil.copy(path, folder)
    (folder / "notes.txt").write_text("not an image")
    (folder / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0")
    shutil.copy(pydicom.data.get_testdata_file("DICOMDIR"), folder / "DICOMDIR")
    return folder


@contextmanager
def storescp(folder: Path, *options: str, port: int | None = None) -> Iterator[int]:
    """DCMTK's receiver, writing the data sets as they came; yields its port."""
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    command = ["storescp", "+B", "-od", str(folder), "-aet", "PETCTNODE", *options, str(port)]
    with subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while not echo("127.0.0.1", port):
                assert time.monotonic() < deadline, "storescp did not answer"
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


@contextmanager
def receiver(handler: Any) -> Iterator[int]:
    """A pynetdicom SCP that takes CT alone and lets ``handler`` answer."""
    entity = AE("PETCTNODE")
    entity.add_supported_context(CTImageStorage)
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def data_set(path: Path) -> bytes:
    """The bytes after the file meta information."""
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def by_instance(folder: Path) -> dict[str, bytes]:
    paths = (p for p in folder.iterdir() if p.is_file())
    return {str(split_dataset(p)[0].MediaStorageSOPInstanceUID): data_set(p) for p in paths}


@pytest.mark.parametrize("associations", [1, 4])
def test_every_byte_arrives(slices: Path, tmp_path: Path, associations: int) -> None:
    told: list[tuple[int, int]] = []
    options = ["--fork"] if associations > 1 else []
    with storescp(tmp_path / "in", *options) as port:
        report = send_folder(
            slices,
            "127.0.0.1",
            port,
            associations=associations,
            progress=lambda done, total: told.append((done, total)),
        )
    assert report.ok, report.failures
    assert report.sent == 20
    # pynetdicom can lose an answer between its two threads; the file is then sent again over a new association
    assert report.associations >= associations
    assert told == [(n + 1, 20) for n in range(20)]
    sent = {str(split_dataset(p)[0].MediaStorageSOPInstanceUID): data_set(p) for p in slices.glob("[CP]T*.dcm")}
    assert by_instance(tmp_path / "in") == sent


def test_what_is_not_sent_is_named_with_its_reason(slices: Path, tmp_path: Path) -> None:
    with storescp(tmp_path / "in") as port:
        report = send_folder(slices, "127.0.0.1", port)
    reasons = {Path(entry.path).name: entry.meaning for entry in report.skipped}
    assert set(reasons) == {"notes.txt", "cut.dcm", "DICOMDIR"}
    assert "DICM" in reasons["notes.txt"]
    assert "DICOMDIR" in reasons["DICOMDIR"]


@pytest.mark.data
def test_compressed_images_stay_as_they_are(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "ct"
    source.mkdir()
    for path in sorted((shared_data / "study_sts_001" / "ct").iterdir())[:5]:
        shutil.copy(path, source)
    with PrivateOrthanc(tmp_path / "orthanc", peers=("PETCTSEND",)) as orthanc:
        report = send_folder(source, "127.0.0.1", orthanc.dicom_port, called_aet="ORTHANC")
        assert report.ok, report.failures
        kept = [
            httpx.get(f"{orthanc.http_url}/instances/{i}/metadata/TransferSyntax").text
            for i in httpx.get(f"{orthanc.http_url}/instances").json()
        ]
    assert kept == [pydicom.uid.JPEGLSLossless] * 5


def test_nobody_there(slices: Path) -> None:
    with pytest.raises(Refused) as refused:
        send_folder(slices, "127.0.0.1", free_port(), retry_for_s=0.3)
    assert refused.value.code == "peer-unreachable"


def test_a_receiver_that_comes_late_is_waited_for(slices: Path, tmp_path: Path) -> None:
    port, reports = free_port(), []
    sender = threading.Thread(target=lambda: reports.append(send_folder(slices, "127.0.0.1", port)))
    sender.start()
    sender.join(0.5)
    assert sender.is_alive()
    with storescp(tmp_path / "in", port=port):
        sender.join(30)
        assert reports
        assert reports[0].sent == 20


def test_a_rejected_title_is_refused_with_the_peers_reason(slices: Path, tmp_path: Path) -> None:
    with PrivateOrthanc(tmp_path / "orthanc") as orthanc, pytest.raises(Refused, match="AE") as refused:
        send_folder(slices, "127.0.0.1", orthanc.dicom_port, calling_aet="STRANGER", called_aet="ORTHANC")
    assert refused.value.code == "association-rejected"


def test_object_types_that_the_peer_does_not_take_are_listed(slices: Path) -> None:
    with receiver(lambda _: 0x0000) as port:
        report = send_folder(slices, "127.0.0.1", port)
    assert report.sent == 10
    assert {entry.meaning for entry in report.failures} == {
        "the peer did not accept Positron Emission Tomography Image Storage in Explicit VR Little Endian"
    }


def test_failure_and_warning_statuses_are_told_in_words(slices: Path, tmp_path: Path) -> None:
    statuses = iter([0xA700, 0xB000, 0xC123] + [0x0000] * 7)
    for path in slices.glob("CT*.dcm"):
        shutil.copy(path, tmp_path)
    with receiver(lambda _: next(statuses)) as port:
        report = send_folder(tmp_path, "127.0.0.1", port)
    assert report.sent == 8
    assert [entry.status for entry in report.failures] == [0xA700, 0xC123]
    assert report.failures[0].meaning.startswith("0xA700 Failure: ")
    assert [entry.status for entry in report.warnings] == [0xB000]


def test_a_lost_association_is_opened_again_and_nothing_is_missed(slices: Path, tmp_path: Path) -> None:
    stored: list[str] = []
    abort_at = {3, 7}

    def handler(event: Any) -> int:
        if len(stored) in abort_at:
            abort_at.remove(len(stored))
            event.assoc.abort()
            return 0xC000
        stored.append(event.request.AffectedSOPInstanceUID)
        return 0x0000

    for path in slices.glob("CT*.dcm"):
        shutil.copy(path, tmp_path)
    with receiver(handler) as port:
        report = send_folder(tmp_path, "127.0.0.1", port)
    assert report.ok, report.failures
    assert len(set(stored)) == 10
    assert report.associations == 3


def test_a_peer_that_aborts_every_store_ends_in_listed_failures(slices: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(next(slices.glob("CT*.dcm")), one)
    with storescp(tmp_path / "in", "--abort-after", "--fork") as port:
        report = send_folder(one, "127.0.0.1", port)
    assert [(entry.status, entry.meaning) for entry in report.failures] == [
        (None, "no answer: the association was lost")
    ]


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":104", "host:0", "host:99999", "host:dicom"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_address(address)
    assert refused.value.code == "bad-address"


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(Refused) as empty:
        send_folder(tmp_path, "127.0.0.1", 1)
    with pytest.raises(Refused) as missing:
        send_folder(tmp_path / "nowhere", "127.0.0.1", 1)
    assert (empty.value.code, missing.value.code) == ("nothing-to-send", "folder-not-found")


def test_the_command_prints_json(slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with storescp(tmp_path / "in") as port:
        code = send_command(
            slices, f"127.0.0.1:{port}", called_aet="PETCTNODE", calling_aet="ME", associations=1, as_json=True
        )
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert answer["sent"] == 20
    assert len(answer["skipped"]) == 3


def test_ctrl_c_ends_the_sending_after_the_file_under_way(slices: Path) -> None:
    stored: list[str] = []

    def handler(event: Any) -> int:
        stored.append(event.request.AffectedSOPInstanceUID)
        time.sleep(0.8)
        return 0x0000

    with receiver(handler) as port:
        command = [str(Path(sys.executable).with_name("petct-node")), "send", str(slices), f"127.0.0.1:{port}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 30
            while not stored:
                assert time.monotonic() < deadline, "nothing came"
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=10)[1]
    assert (process.returncode, said.strip()) == (4, "stopped")
    assert len(stored) <= 3, "of ten"
