"""The Storage SCP against DCMTK, and against scripted senders where DCMTK behaves too well."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from dicom_node.config import Settings
from dicom_node.index import Index
from dicom_node.receive.scp import open_socket, serve_receivers
from dicom_node.receive.spool import Spool
from inference.reading.instance import read_instance, scan_folder
from tests.made_series import CT_IMAGE, ct_image, write_ct_series

pytestmark = pytest.mark.peers

ECHOSCU, STORESCU = "/usr/bin/echoscu", "/usr/bin/storescu"  # DCMTK's; pynetdicom installs programs of the same name
PET_IMAGE = "1.2.840.10008.5.1.4.1.1.128"
EXPLICIT, HTJ2K = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.201"
STUDY = "1.2.3.1"
LIMIT_S = 60.0


def _serve(settings: Settings, sock: socket.socket, number: int, log: Path) -> None:
    logging.basicConfig(filename=log, level="DEBUG")
    serve_receivers(settings, sock, number)


@dataclass
class Receivers:
    """Receiver processes in a folder of their own, on a free port."""

    settings: Settings
    sock: socket.socket
    log: Path
    processes: list[SpawnProcess] = field(default_factory=list)

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    @property
    def index(self) -> Index:
        return Index(self.settings.index_file)

    @property
    def spool(self) -> Spool:
        return Spool(self.settings.spool_dir)

    def start(self, number: int) -> SpawnProcess:
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(self.settings, self.sock, number, self.log)
        )
        process.start()
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(30)
            if process.exitcode is None:
                process.kill()
        self.sock.close()

    def wait_until_ready(self, count: int = 1) -> None:
        wait_for(lambda: self.log.exists() and self.log.read_text().count("listens on port") >= count)


@contextmanager
def receivers(folder: Path, processes: int = 1, **receive: Any) -> Iterator[Receivers]:
    settings = Settings(node={"data_dir": folder / "node"}, receive={"port": 0, "disk_reserve_mb": 0} | receive)
    running = Receivers(settings, open_socket(settings), folder / "receivers.log")
    try:
        for number in range(processes):
            running.start(number)
        running.wait_until_ready(processes)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    """Two receiver processes for the tests that leave them running."""
    with receivers(tmp_path_factory.mktemp("receive"), processes=2) as running:
        yield running


def wait_for(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def dcmtk(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TCP_NODELAY": "1"}  # DCMTK crawls without it
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False)


def storescu(node: Receivers, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    called = ("-aec", "PETCTNODE", "127.0.0.1", str(node.port))
    options = [str(a) for a in arguments if str(a).startswith("-")]
    return dcmtk(STORESCU, "+sd", "+r", *options, *called, *(str(a) for a in arguments if str(a) not in options))


@contextmanager
def association(node: Receivers, sop_class: str = CT_IMAGE, syntax: str = EXPLICIT) -> Iterator[Association]:
    entity = AE("SCRIPTED")
    entity.add_requested_context(sop_class, syntax)
    opened = entity.associate("127.0.0.1", node.port, ae_title="PETCTNODE")
    assert opened.is_established
    raw = opened.dul.socket.socket
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()
        raw.close()  # pynetdicom leaves it open where the peer was killed


def send(opened: Association, data: bytes | None, sop_class: str, sop_instance: str) -> int:
    """C-STORE these bytes as they are; the status of the answer, -1 where none came."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = sop_instance
    request.Priority = 0
    request.DataSet = BytesIO(data) if data is not None else None
    (context,) = opened.accepted_contexts
    opened._reactor_checkpoint.clear()  # as pynetdicom's own send_c_store does: the answer is ours to take
    try:
        opened.dimse.send_msg(request, context.context_id)
        _, answer = opened.dimse.get_msg(block=True)
    finally:
        opened._reactor_checkpoint.set()
    status = None if answer is None else answer.Status
    return -1 if status is None else int(status)


def data_set(path: Path) -> bytes:
    """The file's bytes behind the meta header, whose length it states."""
    data = path.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


def stored_path(node: Receivers, path: Path) -> Path:
    sent = read_instance(path)
    return node.spool.path_of(sent.study_instance_uid, sent.series_instance_uid, sent.sop_instance_uid)


def test_echo(node: Receivers) -> None:
    assert dcmtk(ECHOSCU, "-aec", "PETCTNODE", "127.0.0.1", str(node.port)).returncode == 0


@pytest.mark.data
@pytest.mark.parametrize(
    ("case", "option"),
    [
        ("geometry/baseline", "-xe"),
        ("robustness/ts_implicit", "-xi"),
        ("robustness/ts_big_endian", "-xb"),
        ("robustness/ts_deflated", "-xd"),
        ("robustness/ts_rle", "-xr"),
        ("robustness/ts_jpeg_lossless_sv1", "-xs"),
        ("robustness/ts_jpeg_ls", "-xt"),
        ("robustness/ts_j2k", "-xv"),
        ("robustness/ts_j2k_lossy", "-xw"),
    ],
)
def test_every_transfer_syntax_that_dcmtk_sends(node: Receivers, shared_data: Path, case: str, option: str) -> None:
    sent = [p for kind in ("ct", "pet") for p in sorted((shared_data / case / kind).glob("*.dcm"))]
    outcome = storescu(node, option, *sent)
    assert outcome.returncode == 0, outcome.stderr
    for path in sent:
        before, after = pydicom.dcmread(path), pydicom.dcmread(stored_path(node, path))
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
        assert after.PixelData == before.PixelData
        assert after.PatientName == before.PatientName
    study = read_instance(sent[0]).study_instance_uid
    wait_for(lambda: len(node.index.study_instances(study)) == len(sent))
    wait_for(lambda: node.index.open_associations(study) == 0)


@pytest.mark.data
def test_high_throughput_jpeg_2000_which_dcmtk_does_not_send(node: Receivers, shared_data: Path) -> None:
    sent = sorted((shared_data / "robustness" / "ts_htj2k" / "pet").glob("*.dcm"))
    with association(node, PET_IMAGE, HTJ2K) as opened:
        for path in sent:
            assert send(opened, data_set(path), PET_IMAGE, read_instance(path).sop_instance_uid) == 0x0000
    assert [data_set(stored_path(node, p)) for p in sent] == [data_set(p) for p in sent]


@pytest.mark.parametrize("associations", [1, 4])
def test_a_study_of_300_images(node: Receivers, tmp_path: Path, associations: int) -> None:
    study = f"1.2.3.300.{associations}"
    sent = write_ct_series(tmp_path / "series", 300, study=study, series=f"{study}.1")
    environment = os.environ | {"TCP_NODELAY": "1"}
    command = [STORESCU, "-xe", "-aec", "PETCTNODE", "127.0.0.1", str(node.port)]
    senders = [
        subprocess.Popen([*command, *map(str, sent[n::associations])], env=environment) for n in range(associations)
    ]
    assert [sender.wait(LIMIT_S) for sender in senders] == [0] * associations
    assert [data_set(stored_path(node, p)) for p in sent] == [data_set(p) for p in sent]
    wait_for(lambda: len(node.index.study_instances(study)) == 300)
    wait_for(lambda: node.index.open_associations(study) == 0)
    assert len(node.index.arrivals(f"{study}.1")) == 300


def test_the_same_study_twice_is_nothing_new(node: Receivers, tmp_path: Path) -> None:
    study = "1.2.3.2"
    folder = tmp_path / "series"
    write_ct_series(folder, 5, study=study, series=f"{study}.1")
    assert storescu(node, folder).returncode == 0
    wait_for(lambda: len(node.index.study_instances(study)) == 5 and node.index.open_associations(study) == 0)
    _, cursor = node.index.studies_changed_since(0)
    before = node.index.study_instances(study), set(node.spool.scan())
    assert storescu(node, folder).returncode == 0
    time.sleep(1.2)  # longer than a batch waits
    assert (node.index.study_instances(study), set(node.spool.scan())) == before
    assert node.index.studies_changed_since(cursor) == ([], cursor)


def test_another_object_under_the_same_uid_keeps_the_first(node: Receivers, tmp_path: Path) -> None:
    study = "1.2.3.3"
    (path,) = write_ct_series(tmp_path, 1, study=study, series=f"{study}.1")
    assert storescu(node, path).returncode == 0
    first = data_set(path)
    changed = pydicom.dcmread(path)
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(path)
    assert storescu(node, path).returncode == 0
    assert data_set(stored_path(node, path)) == first
    wait_for(lambda: [r.code for _, r in node.index.study_set_aside(study)] == ["sop-instance-conflict"])


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    ("wrong", "status"), [("class", 0xA900), ("instance", 0xA900), ("malformed", 0xC000), ("bytes", 0xC000)]
)
def test_what_contradicts_itself_is_not_taken(node: Receivers, tmp_path: Path, wrong: str, status: int) -> None:
    series = "1.2.3.4.1"
    (path,) = write_ct_series(tmp_path, 1, study="1.2.3.4", series=series)
    data, sop_class, instance = data_set(path), CT_IMAGE, f"{series}.1"
    if wrong == "class":
        sop_class = PET_IMAGE
    elif wrong == "instance":
        instance = f"{series}.2"
    elif wrong == "malformed":
        instance = "1.2.x"
    else:
        data = b"these are no elements at all" * 20
    with association(node) as opened:
        assert send(opened, data, sop_class, instance) == status
    assert not stored_path(node, path).exists()


def test_a_data_set_cut_short_is_kept_aside_with_its_reason(node: Receivers, tmp_path: Path) -> None:
    study = "1.2.3.5"
    (path,) = write_ct_series(tmp_path, 1, study=study, series=f"{study}.1")
    with association(node) as opened:
        assert send(opened, data_set(path)[:-40], CT_IMAGE, f"{study}.1.1") == 0x0000
    assert not stored_path(node, path).exists()
    wait_for(lambda: [r.code for _, r in node.index.study_set_aside(study)] == ["unreadable-truncated"])


def test_a_sender_that_leaves_while_its_only_instance_is_stored_is_not_waited_for(
    node: Receivers, tmp_path: Path
) -> None:
    study = "1.2.3.6"
    large = ct_image(1, study=study, series=f"{study}.1", edge=6000)  # 72 MB: storing takes longer than hanging up
    large.save_as(tmp_path / "large.dcm", enforce_file_format=True)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT_IMAGE, f"{study}.1.1"
    request.DataSet = BytesIO(data_set(tmp_path / "large.dcm"))
    with association(node) as opened:
        opened.dimse.send_msg(request, opened.accepted_contexts[0].context_id)
        wait_for(lambda: opened.dul.to_provider_queue.empty())
        wait_for(lambda: any((node.spool.incoming).iterdir()))
        opened.abort()
    wait_for(lambda: len(node.index.study_instances(study)) == 1)
    wait_for(lambda: node.index.open_associations(study) == 0, 5.0)


def test_a_full_disk_is_out_of_resources(tmp_path: Path) -> None:
    (path,) = write_ct_series(tmp_path / "series", 1)
    with receivers(tmp_path, disk_reserve_mb=1 << 40) as node:
        with association(node) as opened:
            assert send(opened, data_set(path), CT_IMAGE, f"{STUDY}.1.1") == 0xA700
        assert storescu(node, path).returncode != 0
        assert list(node.spool.scan()) == []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    """One receiver with narrow limits and named peers."""
    peers = [{"ae_title": "SCRIPTED"}, {"ae_title": "FAR", "address": "10.0.0.0/8"}]
    folder = tmp_path_factory.mktemp("guarded")
    with receivers(folder, peers=peers, acse_timeout_s=1.0, idle_timeout_s=3.0, max_instance_mb=1) as running:
        yield running


def echo(node: Receivers, calling: str = "SCRIPTED", called: str = "PETCTNODE") -> int:
    return dcmtk(ECHOSCU, "-aet", calling, "-aec", called, "127.0.0.1", str(node.port)).returncode


def test_a_data_set_beyond_the_limit_is_out_of_resources(guarded: Receivers, tmp_path: Path) -> None:
    ds = ct_image(1, edge=800)
    ds.save_as(tmp_path / "large.dcm", enforce_file_format=True)
    with association(guarded) as opened:
        assert send(opened, data_set(tmp_path / "large.dcm"), CT_IMAGE, ds.SOPInstanceUID) == 0xA700
    far_beyond = bytes(4 << 20)
    with association(guarded) as opened:
        assert send(opened, far_beyond, CT_IMAGE, ds.SOPInstanceUID) == -1, "aborted before it fills the memory"


def test_strangers_and_wrong_numbers_are_rejected(guarded: Receivers) -> None:
    assert echo(guarded) == 0
    for calling, called in (("STRANGER", "PETCTNODE"), ("FAR", "PETCTNODE"), ("SCRIPTED", "SOMEONE")):
        assert echo(guarded, calling, called) != 0


def test_silent_connections_do_not_shut_the_door(guarded: Receivers) -> None:
    silent = [socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(30)]
    try:
        silent[0].settimeout(10)
        assert silent[0].recv(1) == b"", "a peer that says nothing is cut off"
        wait_for(lambda: echo(guarded) == 0, 10.0)
    finally:
        for connection in silent:
            connection.close()


def test_an_association_that_falls_silent_is_ended(guarded: Receivers) -> None:
    entity = AE("SCRIPTED")
    entity.add_requested_context(CT_IMAGE, EXPLICIT)
    opened = entity.associate("127.0.0.1", guarded.port, ae_title="PETCTNODE")
    assert opened.is_established
    raw = opened.dul.socket.socket
    raw.sendall(b"\x04\x00\x00\x00\x10\x00half of a P-DATA-TF")
    wait_for(lambda: not opened.is_established, 15.0)
    raw.close()


def test_nothing_is_left_open(guarded: Receivers) -> None:
    process = psutil.Process(guarded.processes[0].pid)
    assert echo(guarded) == 0
    wait_for(lambda: process.num_threads() < 20, 20.0)  # what earlier tests left to time out
    before = process.num_fds(), process.num_threads()
    for _ in range(10):
        assert echo(guarded) == 0
        with association(guarded) as opened:
            opened.abort()
        socket.create_connection(("127.0.0.1", guarded.port)).close()
    wait_for(lambda: process.num_fds() <= before[0] + 1 and process.num_threads() <= before[1] + 1, 20.0)


def test_no_patient_in_the_log(node: Receivers, tmp_path: Path) -> None:
    ds = ct_image(1, study="1.2.3.6", series="1.2.3.6.1")
    ds.PatientName, ds.PatientID = "Nemo^Captain", "SECRET-77"
    ds.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    assert storescu(node, tmp_path / "one.dcm").returncode == 0
    with association(node) as opened:
        assert send(opened, data_set(tmp_path / "one.dcm")[:-40], CT_IMAGE, ds.SOPInstanceUID) == 0x0000
    wait_for(lambda: "SCRIPTED at 127.0.0.1: 1 stored, released" in node.log.read_text())
    log = node.log.read_text()
    assert "cut short" in log
    assert not any(word in log for word in ("Nemo", "Captain", "SECRET"))


def send_until_the_end(node: Receivers, paths: list[Path], interrupt: Callable[[], object], after: int) -> list[Path]:
    """Send in order; ``interrupt`` once ``after`` are answered; those answered with Success."""
    answered: list[Path] = []
    with association(node) as opened:
        for path in paths:
            if not opened.is_established:
                break
            if send(opened, data_set(path), CT_IMAGE, read_instance(path).sop_instance_uid) != 0x0000:
                break
            answered.append(path)
            if len(answered) == after:
                interrupt()
    return answered


def test_kill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    sent = write_ct_series(tmp_path / "series", 60)
    with receivers(tmp_path) as node:
        victim = node.processes[0]
        answered = send_until_the_end(node, sent, victim.kill, after=20)
        victim.join(10)
        assert victim.exitcode == -signal.SIGKILL
        assert 20 <= len(answered) < len(sent)
        assert [data_set(stored_path(node, p)) for p in answered] == [data_set(p) for p in answered]
        node.start(0)
        node.wait_until_ready(2)
        wait_for(lambda: len(node.index.study_instances(STUDY)) >= len(answered))
        assert node.index.open_associations(STUDY) == 0
        assert list((node.settings.spool_dir / "incoming").iterdir()) == []
        assert storescu(node, tmp_path / "series").returncode == 0
        wait_for(lambda: len(node.index.study_instances(STUDY)) == len(sent))


def test_sigterm_ends_cleanly_while_a_study_is_on_its_way(tmp_path: Path) -> None:
    sent = write_ct_series(tmp_path / "series", 60)
    with receivers(tmp_path) as node:
        answered = send_until_the_end(node, sent, node.processes[0].terminate, after=20)
        node.processes[0].join(30)
        assert node.processes[0].exitcode == 0
        assert [data_set(stored_path(node, p)) for p in answered] == [data_set(p) for p in answered]
        known = {i.sop_instance_uid for i in node.index.study_instances(STUDY)}
        assert {read_instance(p).sop_instance_uid for p in answered} <= known
        assert node.index.open_associations(STUDY) == 0


def test_receivers_end_with_their_parent(tmp_path: Path) -> None:
    """Left behind, they would hold the port against the next node."""
    script = (
        "import multiprocessing, sys, time\n"
        "from dicom_node.config import Settings\n"
        "from dicom_node.receive.scp import open_socket, serve_receivers\n"
        f"settings = Settings(node={{'data_dir': {str(tmp_path)!r}}}, receive={{'port': 0}})\n"
        "process = multiprocessing.get_context('fork').Process(\n"
        "    target=serve_receivers, args=(settings, open_socket(settings), 0))\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()
    wait_for(lambda: not Path(f"/proc/{child}").exists(), 20.0)


@pytest.mark.data
def test_hostile_text_stays_text(node: Receivers, shared_data: Path) -> None:
    folder = shared_data / "robustness" / "hostile_text" / "ct"
    outcome = storescu(node, folder)
    assert outcome.returncode == 0, outcome.stderr
    sent = scan_folder(folder).instances
    for instance in sent:
        kept = read_instance(stored_path(node, Path(instance.path)))
        assert kept.attributes["PatientName"] == instance.attributes["PatientName"]
        before, after = pydicom.dcmread(instance.path), pydicom.dcmread(kept.path)
        assert np.array_equal(before.pixel_array, after.pixel_array)
