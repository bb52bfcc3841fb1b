"""Delivery to a real Orthanc, by REST and by C-STORE, and to peers that behave badly."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.deliver import Receipt, Undelivered, confirm, deliver, why_withheld
from dicom_node.deliver.confirm import in_order
from dicom_node.demo.orthanc_process import PrivateOrthanc, free_port
from dicom_node.identity import derived_uid
from dicom_node.sections import Destination, DimseDestination, OrthancDestination
from inference.facts import Result

AET = "PETCTNODE"


def write(folder: Path, kind: str, name: str, pixel: int = 0) -> Result:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("test", name, kind)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid("test", name), derived_uid("test", name, "series")
    ds.PatientID, ds.PatientName, ds.Modality = name, "Test^Deliver", "OT"
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = bytes([pixel]) * 16
    path = folder / f"{name}-{kind}-{pixel}.dcm"
    ds.save_as(path, enforce_file_format=True)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Result(kind, ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID, path, sha256)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateOrthanc]:
    with PrivateOrthanc(tmp_path_factory.mktemp("orthanc"), peers=(AET,)) as running:
        yield running


@pytest.fixture
def rest(orthanc: PrivateOrthanc) -> OrthancDestination:
    return OrthancDestination(name="rest", url=orthanc.http_url, timeout_s=20)


@pytest.fixture
def dimse(orthanc: PrivateOrthanc) -> DimseDestination:
    return DimseDestination(name="dimse", host="127.0.0.1", port=orthanc.dicom_port, ae_title="ORTHANC", timeout_s=20)


@pytest.mark.peers
def test_rest_delivers_and_reads_the_same_bytes_back(rest: OrthancDestination, tmp_path: Path) -> None:
    results = [write(tmp_path, kind, "rest") for kind in ("sr", "seg", "heatmap")]
    for answer in ("Success", "AlreadyStored"):  # a repeat changes nothing
        assert [r.how for r in deliver(results, rest, AET)] == [f"answered {answer}"] * 3
        receipts = confirm(results, rest, AET, by_status=False)
        assert [r.kind for r in receipts] == ["seg", "heatmap", "sr"]
        assert all(r.same for r in receipts)


@pytest.mark.peers
def test_an_object_that_is_not_there_is_not_confirmed(rest: OrthancDestination, tmp_path: Path) -> None:
    results = [write(tmp_path, kind, "missing") for kind in ("seg", "sr")]
    deliver(results[:1], rest, AET)
    with pytest.raises(Undelivered, match="does not hold the sr object"):
        confirm(results, rest, AET, by_status=True)


@pytest.mark.peers
def test_other_bytes_under_the_same_uid_are_told(rest: OrthancDestination, tmp_path: Path) -> None:
    first, second = write(tmp_path, "sr", "same-uid", 1), write(tmp_path, "sr", "same-uid", 2)
    deliver([first], rest, AET)
    deliver([second], rest, AET)
    (receipt,) = confirm([second], rest, AET, by_status=False)
    assert not receipt.same


def asked_again(ask: Callable[[], tuple[Receipt, ...]]) -> tuple[Receipt, ...]:
    """As the workflow does: on a busy machine pynetdicom's two threads may lose a C-FIND answer between them."""
    for _ in range(5):
        try:
            return ask()
        except Undelivered as undelivered:
            if "did not answer C-FIND" not in undelivered.reason:
                raise
    return ask()


@pytest.mark.peers
def test_dimse_delivers_and_the_archive_lists_it(
    dimse: DimseDestination, rest: OrthancDestination, tmp_path: Path
) -> None:
    results = [write(tmp_path, kind, "dimse") for kind in ("sr", "key_image")]
    for _ in range(2):
        receipts = deliver(results, dimse, AET)
        assert [(r.kind, r.how) for r in receipts] == [
            ("key_image", "C-STORE status 0x0000"),
            ("sr", "C-STORE status 0x0000"),
        ]
    assert {r.how for r in asked_again(lambda: confirm(results, dimse, AET, by_status=True))} == {"listed by C-FIND"}
    assert len(confirm(results, rest, AET, by_status=False)) == 2


@pytest.mark.peers
def test_dimse_does_not_believe_a_status_that_the_archive_does_not_bear_out(
    dimse: DimseDestination, tmp_path: Path
) -> None:
    never_sent = [write(tmp_path, "sr", "never sent")]
    with pytest.raises(Undelivered, match="does not list"):
        asked_again(lambda: confirm(never_sent, dimse, AET, by_status=True))


@pytest.mark.peers
def test_an_archive_that_does_not_know_us_is_waited_for(dimse: DimseDestination, tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="Calling AE title not recognised"):
        deliver([write(tmp_path, "sr", "stranger")], dimse, "STRANGER")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A peer that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()
        held = []

        def accept() -> None:
            server.settimeout(0.1)
            while not stop.is_set():
                try:
                    held.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize("kind", ["orthanc", "dimse"])
def test_a_silent_peer_costs_no_more_than_its_time_outs(kind: str, silent_port: int, tmp_path: Path) -> None:
    destination: Destination = (
        OrthancDestination(name="mute", url=f"http://127.0.0.1:{silent_port}", timeout_s=0.5)
        if kind == "orthanc"
        else DimseDestination(name="mute", host="127.0.0.1", port=silent_port, ae_title="MUTE", timeout_s=0.5)
    )
    began = time.monotonic()
    with pytest.raises(Undelivered):
        deliver([write(tmp_path, "sr", "mute")], destination, AET)
    assert time.monotonic() - began < 15  # the library repeats up to four times


@pytest.mark.parametrize("kind", ["orthanc", "dimse"])
def test_nobody_at_home(kind: str, tmp_path: Path) -> None:
    port = free_port()
    destination: Destination = (
        OrthancDestination(name="away", url=f"http://127.0.0.1:{port}", timeout_s=2)
        if kind == "orthanc"
        else DimseDestination(name="away", host="127.0.0.1", port=port, ae_title="AWAY", timeout_s=2)
    )
    results = [write(tmp_path, "sr", "away")]
    with pytest.raises(Undelivered) as caught:
        deliver(results, destination, AET)
    assert "away" in caught.value.reason
    with pytest.raises(Undelivered):
        confirm(results, destination, AET, by_status=True)


@pytest.mark.parametrize(
    ("url", "allowed", "withheld"),
    [
        ("http://127.0.0.1:8042", False, False),
        ("http://localhost/orthanc", False, False),
        ("http://[::1]:8042", False, False),
        ("http://10.0.0.5:8042", False, True),
        ("https://127.0.0.1.example.org", False, True),
        ("http://10.0.0.5:8042", True, False),
    ],
)
def test_demonstration_results_stay_on_loopback(url: str, allowed: bool, withheld: bool) -> None:
    destination = OrthancDestination(name="d", url=url, allow_demonstration=allowed)
    assert bool(why_withheld(destination, demonstration=True)) is withheld
    assert why_withheld(destination, demonstration=False) == ""
    if not withheld:
        return
    elsewhere = DimseDestination(name="d", host="10.0.0.5", port=104, ae_title="PACS")
    assert why_withheld(elsewhere, demonstration=True)


def test_images_go_before_the_documents_that_refer_to_them(tmp_path: Path) -> None:
    results = [
        write(tmp_path, kind, "order") for kind in ("sr_viewer", "sr", "new kind", "heatmap", "key_image", "seg")
    ]
    kinds = [r.kind for r in in_order(results)]
    assert kinds == ["seg", "key_image", "heatmap", "sr", "sr_viewer", "new kind"]
