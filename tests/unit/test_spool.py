"""The spool keeps what it answers for, once, and never under a name that a peer chose."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from dicom_node.receive.spool import Meta, Spool, Stored
from inference.facts import Refused
from inference.reading.instance import read_instance
from tests.made_series import CT_IMAGE, ct_image, write_ct_series

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def data_set(path: Path) -> bytes:
    data = path.read_bytes()
    return data[data.index(b"\x08\x00\x05\x00CS") :]


def made(tmp_path: Path, number: int = 1, **changes: str) -> tuple[Meta, bytes]:
    path = tmp_path / "made.dcm"
    ds = ct_image(number)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return Meta(CT_IMAGE, ds.SOPInstanceUID, EXPLICIT), data_set(path)


def store(spool: Spool, tmp_path: Path, number: int = 1, **changes: str) -> Stored:
    meta, data = made(tmp_path, number, **changes)
    return spool.store(meta, [data[:100], data[100:]])


def files(spool: Spool) -> list[Path]:
    return [p for p in spool.root.rglob("*") if p.is_file()]


def test_what_is_stored_is_what_was_sent(spool: Spool, tmp_path: Path) -> None:
    meta, data = made(tmp_path)
    stored = spool.store(meta, iter([data]))
    assert stored.new
    assert stored.instance is not None
    path = Path(stored.instance.path)
    assert data_set(path) == data
    assert read_instance(path) == stored.instance
    assert files(spool) == [path]
    ds = pydicom.dcmread(path)
    assert ds.file_meta.FileMetaInformationGroupLength == len(path.read_bytes()) - len(data) - 144
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_names_are_digests(spool: Spool, tmp_path: Path) -> None:
    stored = store(spool, tmp_path, PatientID="../../../etc/passwd")
    assert stored.instance is not None
    parts = Path(stored.instance.path).relative_to(spool.instances).parts
    assert [len(p.removesuffix(".dcm")) for p in parts] == [64, 64, 64]


def test_the_same_again_is_nothing_new(spool: Spool, tmp_path: Path) -> None:
    first = store(spool, tmp_path)
    again = store(spool, tmp_path)
    assert (again.new, again.instance) == (False, first.instance)
    assert len(files(spool)) == 1


def test_another_object_under_the_same_uid_is_set_aside(spool: Spool, tmp_path: Path) -> None:
    first = store(spool, tmp_path)
    assert first.instance is not None
    kept = Path(first.instance.path).read_bytes()
    for _ in range(2):
        other = store(spool, tmp_path, StudyDescription="changed")
        assert other.instance is None
        assert other.set_aside is not None
        assert other.set_aside.refused.code == "sop-instance-conflict"
        assert b"changed" in other.set_aside.path.read_bytes()
    assert Path(first.instance.path).read_bytes() == kept
    (told,) = spool.scan_set_aside()
    assert told.path == other.set_aside.path
    assert told.refused.facts["sop_instance_uid"] == first.instance.sop_instance_uid


def test_what_can_be_named_but_not_used_is_set_aside(spool: Spool, tmp_path: Path) -> None:
    meta, data = made(tmp_path)
    stored = spool.store(meta, [data[:-20]])
    assert stored.instance is None
    assert stored.set_aside is not None
    assert stored.set_aside.refused.code == "unreadable-truncated"
    assert data_set(stored.set_aside.path) == data[:-20]
    assert list(spool.scan()) == []


@pytest.mark.parametrize(
    ("meta", "cut", "code"),
    [
        (Meta(CT_IMAGE, "1.2.3.4.5", EXPLICIT), None, "identity-mismatch"),
        (Meta("1.2.840.10008.5.1.4.1.1.128", "1.2.3.1.1.1", EXPLICIT), None, "identity-mismatch"),
        (Meta(CT_IMAGE, "1.2.3.1.1.1", EXPLICIT), 60, "unreadable-truncated"),
        (Meta(CT_IMAGE, "1.2.3.1.1.1", EXPLICIT), 0, "no-identity"),
    ],
)
def test_what_cannot_be_named_is_refused_and_not_kept(
    spool: Spool, tmp_path: Path, meta: Meta, cut: int | None, code: str
) -> None:
    with pytest.raises(Refused, match=code):
        spool.store(meta, [made(tmp_path)[1][:cut]])
    assert files(spool) == []


def test_a_reserve_of_the_disk_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", reserve_bytes=shutil.disk_usage(tmp_path).total)
    with pytest.raises(Refused, match="spool-full"):
        store(spool, tmp_path)
    assert files(spool) == []


def test_a_data_set_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", most_bytes=500)
    with pytest.raises(Refused, match="instance-too-large"):
        store(spool, tmp_path)
    assert files(spool) == []


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "spool-full"), (errno.EDQUOT, "spool-full"), (errno.EIO, "storage-failed")]
)
def test_a_failed_sync_is_never_success(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Refused, match=code):
        store(spool, tmp_path)
    assert files(spool) == []


def test_a_broken_stream_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    meta, data = made(tmp_path)

    def chunks() -> Iterator[bytes]:
        yield data[:200]
        raise ConnectionResetError(errno.ECONNRESET, "peer is gone")

    with pytest.raises(Refused):
        spool.store(meta, chunks())
    assert files(spool) == []


def test_everything_is_synced_before_the_answer(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that makes a name durable: bytes, then the name, then each folder that is new."""
    seen: list[str] = []
    sync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(Path(f"/proc/self/fd/{fd}").readlink().name), sync(fd))[1])
    monkeypatch.setattr(os, "link", lambda *a, **k: (seen.append("link"), link(*a, **k))[1])
    stored = store(spool, tmp_path)
    assert stored.instance is not None
    series = Path(stored.instance.path).parent
    assert seen[0].endswith(".part")
    assert seen[1:] == [spool.instances.name, series.parent.name, "link", series.name]
    seen.clear()
    store(spool, tmp_path, 2)
    assert seen[0].endswith(".part")
    assert seen[1:] == ["link", series.name]


def test_scan_finds_everything_and_removes_what_dead_writers_left(spool: Spool, tmp_path: Path) -> None:
    paths = {Path(i.path) for n in range(1, 4) if (i := store(spool, tmp_path, n).instance)}
    dead = spool.incoming / "dead.part"
    alive = spool.incoming / "alive.part"
    dead.write_bytes(b"half")
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert set(Spool(spool.root).scan()) == paths
        assert alive.exists()
    assert not dead.exists()


def test_writers_at_once_keep_one(spool: Spool, tmp_path: Path) -> None:
    meta, data = made(tmp_path)
    results: list[Stored] = []
    threads = [threading.Thread(target=lambda: results.append(spool.store(meta, [data]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert [r.new for r in results].count(True) == 1
    assert len(files(spool)) == 1


def test_a_stored_instance_can_be_taken_out_of_use(spool: Spool, tmp_path: Path) -> None:
    stored = store(spool, tmp_path)
    assert stored.instance is not None
    aside = spool.put_aside(stored.instance, Refused("sop-instance-conflict", "because"))
    assert list(spool.scan()) == []
    assert read_instance(aside.path).sha256 == stored.instance.sha256


def test_a_folder_that_was_removed_is_made_again(spool: Spool, tmp_path: Path) -> None:
    stored = store(spool, tmp_path)
    assert stored.instance is not None
    shutil.rmtree(Path(stored.instance.path).parents[1])
    assert store(spool, tmp_path).new


def test_a_series_is_taken_whole(spool: Spool, tmp_path: Path) -> None:
    for path in write_ct_series(tmp_path / "series", 20):
        instance = read_instance(path)
        meta = Meta(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid)
        stored = spool.store(meta, [data_set(path)])
        assert stored.instance is not None
        assert stored.instance.sha256 == instance.sha256
    assert len(list(spool.scan())) == 20
