"""The durable spool: what is answered with Success is on disk, synced, under a name that will not change.

    incoming/    being written, each file locked by its writer
    instances/   <digest of study>/<digest of series>/<digest of instance>.dcm
    set-aside/   what could not be kept, each with a .json that says why

Names are digests of UIDs: no text from a peer ever forms a path.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from inference.facts import Instance, Refused
from inference.reading.instance import conflict, read_instance

OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Meta:
    """What the sender's command and presentation context say of the data set that follows."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that is kept for people but not used, and why.

    ``facts``: UIDs and modality as far as they could be read (keys as in ``facts.Instance``).
    """

    path: Path
    refused: Refused


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one data set: its instance, or the file set aside; ``new`` is False where it was here before."""

    instance: Instance | None
    new: bool
    set_aside: SetAside | None = None


class Spool:
    """Keeps instances below ``root``, which must be one local file system.

    ``reserve_bytes``: free space that is never used up.  ``most_bytes``: largest data set taken.
    """

    def __init__(self, root: Path, *, reserve_bytes: int = 0, most_bytes: int = 1 << 31) -> None:
        self.root = root
        self.reserve_bytes = reserve_bytes
        self.most_bytes = most_bytes
        self.incoming = root / "incoming"
        self.instances = root / "instances"
        self.aside = root / "set-aside"
        self._durable: set[Path] = set()
        for folder in (self.incoming, self.instances, self.aside):
            self._make_folder(folder)

    def store(self, meta: Meta, chunks: Iterable[bytes]) -> Stored:
        """Write one data set and return only when it is durable.

        The same SOP Instance UID again: same bytes → nothing new; other bytes → the first is kept, this one set aside.
        A data set whose identity can be read but which cannot be used (short pixel data, …) is set aside too.
        Raises Refused, with nothing kept: spool-full, storage-failed, instance-too-large, identity-mismatch, and those
        of ``read_instance`` where the identity cannot be read.
        """
        self._check_space()
        temporary = self.incoming / f"{secrets.token_hex(16)}.part"
        try:
            with temporary.open("xb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # says to a scan that its writer lives
                self._write(file, meta, chunks)
                return self._keep(temporary, file)
        except OSError as error:
            raise _storage_failed(error) from None
        finally:
            with contextlib.suppress(OSError):  # a scan removes it later
                temporary.unlink()

    def put_aside(self, instance: Instance, refused: Refused) -> SetAside:
        """Take a stored instance out of use, with the reason."""
        path = Path(instance.path)
        aside = self._set_aside(path, instance.sop_instance_uid + instance.sha256, refused)
        path.unlink(missing_ok=True)
        return aside

    def scan(self) -> Iterator[Path]:
        """Every instance on disk, in no order; removes what writers that no longer live have left in ``incoming``."""
        for left in self.incoming.glob("*.part"):
            _remove_orphan(left)
        for study in os.scandir(self.instances):
            for series in os.scandir(study.path):
                for entry in os.scandir(series.path):
                    if entry.name.endswith(".dcm"):
                        yield Path(entry.path)

    def scan_set_aside(self) -> Iterator[SetAside]:
        """Every file set aside, with its reason."""
        for note in self.aside.glob("*.json"):
            told = json.loads(note.read_text())
            yield SetAside(note.with_suffix(".dcm"), Refused(told["code"], told["reason"], **told["facts"]))

    def _check_space(self) -> None:
        disk = os.statvfs(self.root)
        if disk.f_bavail * disk.f_frsize < self.reserve_bytes:
            raise _full()

    def _write(self, file: BinaryIO, meta: Meta, chunks: Iterable[bytes]) -> None:
        file.write(meta_header(meta))
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > self.most_bytes:
                raise Refused(
                    "instance-too-large",
                    f"The data set is larger than {self.most_bytes} bytes (receive.max_instance_mb). The operator can "
                    "raise the limit.",
                )
            file.write(chunk)
        file.flush()

    def _keep(self, temporary: Path, file: BinaryIO) -> Stored:
        try:
            instance = read_instance(temporary)
        except Refused as refused:
            identity = ("sop_instance_uid", "study_instance_uid", "series_instance_uid")
            if refused.code == "identity-mismatch" or any(name not in refused.facts for name in identity):
                raise
            os.fsync(file.fileno())
            name = f"{refused.facts['sop_instance_uid']}{_digest_of(temporary)}"
            return Stored(None, new=True, set_aside=self._set_aside(temporary, name, refused))
        path = self.path_of(instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
        os.fsync(file.fileno())  # a failed fsync is never tried again: the pages are lost, the data set is refused
        self._make_folder(path.parent)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return self._second(temporary, instance, path)
        _sync_folder(path.parent)
        return Stored(replace(instance, path=str(path)), new=True)

    def _second(self, temporary: Path, instance: Instance, path: Path) -> Stored:
        """A SOP Instance UID that is already here."""
        first = read_instance(path)
        _sync_folder(path.parent)  # the first writer may not have come so far yet
        if (first.sha256, first.transfer_syntax_uid) == (instance.sha256, instance.transfer_syntax_uid):
            return Stored(first, new=False)
        name = instance.sop_instance_uid + instance.sha256
        return Stored(None, new=True, set_aside=self._set_aside(temporary, name, conflict(instance)))

    def path_of(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Path:
        """Where this instance lies, or would lie."""
        study, series, instance = map(_digest, (study_instance_uid, series_instance_uid, sop_instance_uid))
        return self.instances / study / series / f"{instance}.dcm"

    def _make_folder(self, folder: Path) -> None:
        """Make the folder and those above it, durably, even where another process has just made it unsynced."""
        if folder.is_dir() and (folder in self._durable or folder == self.root.parent):
            return
        self._make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)  # patients' data: for the node's user alone
        _sync_folder(folder.parent)
        self._durable.add(folder)

    def _set_aside(self, source: Path, name: str, refused: Refused) -> SetAside:
        path = self.aside / f"{_digest(name)}.dcm"
        note = {"code": refused.code, "reason": refused.reason, "facts": refused.facts}
        with path.with_suffix(f".{secrets.token_hex(4)}.tmp").open("x") as file:
            json.dump(note, file, default=str)
            file.flush()
            os.fsync(file.fileno())
        if not path.exists():
            path.hardlink_to(source)
        Path(file.name).replace(path.with_suffix(".json"))
        _sync_folder(self.aside)
        return SetAside(path, refused)


def meta_header(meta: Meta) -> bytes:
    """Preamble, prefix and File Meta Information (DICOM PS3.10 7.1)."""
    elements = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _uid(0x02, meta.sop_class_uid),
            _uid(0x03, meta.sop_instance_uid),
            _uid(0x10, meta.transfer_syntax_uid),
            _uid(0x12, IMPLEMENTATION_CLASS_UID),
            _text(0x13, b"SH", IMPLEMENTATION_VERSION.encode(), b" "),
        )
    )
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(elements).to_bytes(4, "little")
    return bytes(128) + b"DICM" + length + elements


def _uid(number: int, uid: str) -> bytes:
    return _text(number, b"UI", uid.encode("ascii"), b"\0")


def _text(number: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    value += padding * (len(value) % 2)
    return b"\x02\x00" + number.to_bytes(2, "little") + vr + len(value).to_bytes(2, "little") + value


@lru_cache(maxsize=1024)
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_orphan(path: Path) -> None:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return


def _full() -> Refused:
    return Refused(
        "spool-full", "The node's disk has no room for more instances. Free space on it, then send the study again."
    )


def _storage_failed(error: OSError) -> Refused:
    if error.errno in OUT_OF_SPACE:
        return _full()
    return Refused(
        "storage-failed",
        f"The node's disk did not keep the data set ({errno.errorcode.get(error.errno or 0, 'unknown error')}). "
        "The operator must check the disk; then send the study again.",
    )
