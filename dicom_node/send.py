"""Send a folder by C-STORE (PS3.4 Annex B), every file byte for byte as it is stored, and say what became of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pydicom
import pynetdicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, MediaStorageDirectoryStorage
from pynetdicom import _config, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification
from pynetdicom.status import GENERAL_STATUS, STORAGE_SERVICE_CLASS_STATUS, code_to_category
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from inference.facts import Refused

# send the file's data set as it lies on disk: never decoded, never written anew
_config.STORE_SEND_CHUNKED_DATASET = True

CONTEXTS_PER_ASSOCIATION = 128  # odd identifiers 1..255, PS3.8 9.3.2.2
TRIES_PER_FILE = 3  # a repeated C-STORE is harmless: the receiver knows the SOP Instance UID
RETRY_FOR_S = 20.0
DIMSE_TIMEOUT_S = 60.0
NEGOTIATION_TIMEOUT_S = 20.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One DICOM file to send, as its file meta information names it."""

    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str
    size: int

    @property
    def offer(self) -> tuple[str, str]:
        """What the association must propose for it: (SOP Class UID, Transfer Syntax UID)."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class NotSent:
    """A file that the peer does not have, or has with a warning, and why.  ``status``: of DIMSE, None unanswered."""

    path: str
    status: int | None
    meaning: str


@dataclass(frozen=True, slots=True)
class SendReport:
    """What became of a folder.  ``sent``: files answered with Success or a warning.  ``seconds``: all of it took."""

    sent: int
    bytes_sent: int
    seconds: float
    associations: int
    failures: tuple[NotSent, ...]
    warnings: tuple[NotSent, ...]
    skipped: tuple[NotSent, ...]

    @property
    def ok(self) -> bool:
        """Every DICOM file of the folder is at the peer."""
        return not self.failures


class _TryAgain(Exception):  # noqa: N818 - not an error: a reason to knock again
    """The peer cannot be spoken to now, but may be soon."""


def scan_outgoing(folder: Path) -> tuple[list[Outgoing], list[NotSent]]:
    """The DICOM files below ``folder`` in order of their names, and what else lies there with the reason to skip it.

    Raises ``Refused``: folder-not-found, nothing-to-send.
    """
    if not folder.is_dir():
        raise Refused("folder-not-found", f"There is no folder {folder}: name one that holds the DICOM files.")
    found: list[Outgoing] = []
    skipped: list[NotSent] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            meta = read_file_meta_info(path)
            sop_class_uid, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
        except InvalidDicomError:
            skipped.append(NotSent(str(path), None, "not a DICOM file (no DICM prefix)"))
        except (AttributeError, OSError, ValueError, EOFError) as error:
            skipped.append(NotSent(str(path), None, f"file meta information is not readable ({type(error).__name__})"))
        else:
            if sop_class_uid == MediaStorageDirectoryStorage:
                skipped.append(NotSent(str(path), None, "a DICOMDIR is not sent by C-STORE"))
            else:
                found.append(Outgoing(path, sop_class_uid, syntax, path.stat().st_size))
    if not found:
        raise Refused("nothing-to-send", f"{folder} holds no DICOM file ({len(skipped)} other files).")
    return found, skipped


class _Peer:
    """Where to send: opens associations, and knows why one could not be opened."""

    def __init__(self, host: str, port: int, calling_aet: str, called_aet: str, retry_for_s: float) -> None:
        self.host, self.port = host, port
        self.calling_aet, self.called_aet = calling_aet, called_aet
        self.retry_for_s = retry_for_s

    def associate(self, offers: Sequence[tuple[str, str]]) -> Any:
        """An established association that proposes each offer in a context of its own; retries while nobody answers.

        Raises ``Refused``: peer-unreachable, association-rejected.
        """
        again = Retrying(
            stop=stop_after_delay(self.retry_for_s),
            wait=wait_exponential(multiplier=0.1, max=2.0),
            retry=retry_if_exception_type(_TryAgain),
        )
        try:
            return again(self._associate_once, offers)
        except RetryError as error:
            raise Refused(
                "peer-unreachable",
                f"No association with {self.called_aet} at {self.host}:{self.port} within {self.retry_for_s:.0f} s: "
                f"{error.last_attempt.exception()}. Check that the receiver runs and that host and port are right.",
            ) from None

    def _associate_once(self, offers: Sequence[tuple[str, str]]) -> Any:
        entity = pynetdicom.AE(self.calling_aet)
        entity.acse_timeout = entity.connection_timeout = NEGOTIATION_TIMEOUT_S
        entity.dimse_timeout = entity.network_timeout = DIMSE_TIMEOUT_S
        opened = threading.Event()
        association = entity.associate(
            self.host,
            self.port,
            contexts=[build_context(UID(sop_class), UID(syntax)) for sop_class, syntax in offers],
            ae_title=self.called_aet,
            evt_handlers=[(evt.EVT_CONN_OPEN, lambda _: opened.set())],
        )
        if association.is_established:
            return association
        if association.is_rejected:
            answer = association.acceptor.primitive
            reason = f"{answer.result_str}, {answer.source_str}: {answer.reason_str}"
            if answer.result == 2:  # rejected-transient, PS3.8 9.3.4
                raise _TryAgain(reason)
            raise Refused(
                "association-rejected",
                f"{self.host}:{self.port} rejected the association ({reason}). Check the AE titles "
                f"(calling {self.calling_aet}, called {self.called_aet}) and that the peer knows this sender.",
            )
        if opened.is_set():
            if association.acceptor.primitive is not None and association.acceptor.primitive.result == 0:
                # accepted, and none of our contexts: pynetdicom aborts such an association
                raise Refused(
                    "nothing-accepted",
                    f"{self.called_aet} at {self.host}:{self.port} accepts none of the "
                    f"{len(offers)} object types offered.",
                )
            raise _TryAgain("the peer closed the connection during negotiation (a TLS port, or not a DICOM port?)")
        raise _TryAgain("nobody accepts connections there")


class _Ledger:
    """Counts of one sending, shared by its associations."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._lock = threading.Lock()
        self._total, self._progress = total, progress
        self.done = self.sent = self.bytes_sent = self.associations = 0
        self.failures: list[NotSent] = []
        self.warnings: list[NotSent] = []

    def opened(self) -> None:
        with self._lock:
            self.associations += 1

    def enter(self, file: Outgoing, status: int | None, meaning: str) -> None:
        with self._lock:
            self.done += 1
            category = "Failure" if status is None else code_to_category(status)
            if category in ("Success", "Warning"):
                self.sent += 1
                self.bytes_sent += file.size
            if category == "Warning":
                self.warnings.append(NotSent(str(file.path), status, meaning))
            elif category != "Success":
                self.failures.append(NotSent(str(file.path), status, meaning))
            if self._progress:
                self._progress(self.done, self._total)


def send_folder(
    folder: Path,
    host: str,
    port: int,
    *,
    calling_aet: str = "PETCTSEND",
    called_aet: str = "PETCTNODE",
    associations: int = 1,
    progress: Progress | None = None,
    retry_for_s: float = RETRY_FOR_S,
) -> SendReport:
    """C-STORE every DICOM file below ``folder``, over so many associations at once.

    ``progress`` is told (files answered, files in all) after each file, from several threads but never at once.
    A lost association is opened again and the file repeated; a file that the peer will not have is listed, not raised.
    Raises ``Refused``: folder-not-found, nothing-to-send, peer-unreachable, association-rejected, nothing-accepted.
    """
    files, skipped = scan_outgoing(folder)
    peer = _Peer(host, port, calling_aet, called_aet, retry_for_s)
    ledger = _Ledger(len(files), progress)
    start = time.monotonic()
    for batch, offers in _batches(files):
        waiting: SimpleQueue[Outgoing] = SimpleQueue()
        for file in batch:
            waiting.put(file)
        threads = max(1, min(associations, len(batch)))
        with ThreadPoolExecutor(threads, "c-store") as pool:
            for work in [pool.submit(_send_waiting, peer, offers, waiting, ledger) for _ in range(threads)]:
                work.result()
    return SendReport(
        ledger.sent,
        ledger.bytes_sent,
        time.monotonic() - start,
        ledger.associations,
        tuple(ledger.failures),
        tuple(ledger.warnings),
        tuple(skipped),
    )


def _batches(files: Sequence[Outgoing]) -> Iterator[tuple[list[Outgoing], list[tuple[str, str]]]]:
    """Files in groups that one association can propose, each with its offers."""
    offers = sorted({file.offer for file in files})
    for start in range(0, len(offers), CONTEXTS_PER_ASSOCIATION):
        chosen = offers[start : start + CONTEXTS_PER_ASSOCIATION]
        yield [file for file in files if file.offer in set(chosen)], chosen


def _send_waiting(
    peer: _Peer, offers: Sequence[tuple[str, str]], waiting: SimpleQueue[Outgoing], ledger: _Ledger
) -> None:
    """One association's work: take files until none waits."""
    association: Any = None
    try:
        while True:
            try:
                file = waiting.get_nowait()
            except Empty:
                return
            answer = None
            for _ in range(TRIES_PER_FILE):
                if association is None or not association.is_established:
                    association = peer.associate(offers)
                    ledger.opened()
                if (answer := _store(association, file)) is not None:
                    break
            ledger.enter(file, *(answer or (None, "no answer: the association was lost")))
    finally:
        if association is not None and association.is_established:
            association.release()


def _store(association: Any, file: Outgoing) -> tuple[int | None, str] | None:
    """DIMSE status, where there is one, and what it means; None where the association broke: the file may go again."""
    try:
        answer = association.send_c_store(file.path)
    except RuntimeError:
        return None
    except ValueError:
        names = f"{UID(file.sop_class_uid).name} in {UID(file.transfer_syntax_uid).name}"
        return None, f"the peer did not accept {names}"
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    if "Status" not in answer:
        return None
    status = int(answer.Status)
    return status, _meaning(status, str(answer.get("ErrorComment", "")))


def _meaning(status: int, comment: str) -> str:
    """The status in words, PS3.7 Annex C and PS3.4 B.2.3, with the peer's own comment."""
    category, text = (STORAGE_SERVICE_CLASS_STATUS | GENERAL_STATUS).get(status, (code_to_category(status), ""))
    words = f"0x{status:04X} {category}"
    return words + (f": {text}" if text else "") + (f" ({comment})" if comment else "")


def echo(host: str, port: int, *, calling_aet: str = "PETCTSEND", called_aet: str = "PETCTNODE") -> bool:
    """Whether the peer answers a C-ECHO (PS3.4 Annex A) with Success, now; never raises for a peer that does not."""
    try:
        association = _Peer(host, port, calling_aet, called_aet, 0.0).associate(
            [(Verification, pydicom.uid.ImplicitVRLittleEndian)]
        )
    except Refused:
        return False
    try:
        answer = association.send_c_echo()
        return "Status" in answer and answer.Status == 0x0000
    except RuntimeError:
        return False
    finally:
        if association.is_established:
            association.release()
