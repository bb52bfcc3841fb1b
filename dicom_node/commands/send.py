"""Send a folder by C-STORE (PS3.4 Annex B), every file byte for byte as it is stored, and say what became of each."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, MediaStorageDirectoryStorage
from pynetdicom import _config
from pynetdicom.status import GENERAL_STATUS, STORAGE_SERVICE_CLASS_STATUS, code_to_category
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressDisplay

from dicom_node.deliver.association import DIMSE_TIMEOUT_S, Peer
from inference.facts import Refused

# send the file's data set as it lies on disk: never decoded, never written anew
_config.STORE_SEND_CHUNKED_DATASET = True

CONTEXTS_PER_ASSOCIATION = 128  # odd identifiers 1..255, PS3.8 9.3.2.2
TRIES_PER_FILE = 3  # a repeated C-STORE is harmless: the receiver knows the SOP Instance UID
RETRY_FOR_S = 20.0
LISTED = 20  # files of one kind that are named to people

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


def scan_outgoing(folder: Path) -> tuple[list[Outgoing], list[NotSent]]:
    """The DICOM files below ``folder`` (or that one file), by name, and what else lies there with why it is skipped.

    Raises ``Refused``: folder-not-found, nothing-to-send.
    """
    if not folder.exists():
        raise Refused("folder-not-found", f"There is no folder {folder}: name one that holds the DICOM files.")
    paths = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]
    found: list[Outgoing] = []
    skipped: list[NotSent] = []
    for path in paths:
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
    dimse_timeout_s: float = DIMSE_TIMEOUT_S,
) -> SendReport:
    """C-STORE every DICOM file below ``folder`` (or that one file), over so many associations at once.

    ``progress`` is told (files answered, files in all) after each file, from several threads but never at once.
    A lost association, or one that gives no answer for ``dimse_timeout_s``, is opened again and the file repeated.
    A file that the peer will not have is listed, not raised.
    Raises ``Refused``: folder-not-found, nothing-to-send, peer-unreachable, association-rejected, nothing-accepted.
    """
    files, skipped = scan_outgoing(folder)
    peer = Peer(host, port, calling_aet, called_aet, retry_for_s, dimse_timeout_s=dimse_timeout_s)
    ledger = _Ledger(len(files), progress)
    start = time.monotonic()
    for batch, offers in _batches(files):
        waiting: SimpleQueue[Outgoing] = SimpleQueue()
        for file in batch:
            waiting.put(file)
        threads = max(1, min(associations, len(batch)))
        with ThreadPoolExecutor(threads, "c-store") as pool:
            try:
                for work in [pool.submit(_send_waiting, peer, offers, waiting, ledger) for _ in range(threads)]:
                    work.result()
            except KeyboardInterrupt:  # else the pool would send all the rest before it ends
                peer.given_up.set()
                raise
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
    peer: Peer, offers: Sequence[tuple[str, str]], waiting: SimpleQueue[Outgoing], ledger: _Ledger
) -> None:
    """One association's work: take files until none waits."""
    association: Any = None
    try:
        while not peer.given_up.is_set():
            try:
                file = waiting.get_nowait()
            except Empty:
                return
            answer = None
            for _ in range(TRIES_PER_FILE):
                if association is None:
                    association = peer.associate(offers)
                    ledger.opened()
                if (answer := _store(association, file)) is not None:
                    break
                association = None  # pynetdicom may still call it established for a moment after it broke
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


def send_command(
    folder: Path, peer: str, *, called_aet: str, calling_aet: str, associations: int, as_json: bool
) -> int:
    """``petct-node send``: a progress bar, then what became of the files.  Exit code 0, or 4 where a file failed.

    Raises ``Refused`` as ``send_folder``, and bad-address where ``peer`` is not HOST:PORT.
    """
    host, port = parse_address(peer)
    console = Console(stderr=True)
    with progress_bar(console, f"sending to {called_aet}") as progress:
        report = send_folder(
            folder,
            host,
            port,
            calling_aet=calling_aet,
            called_aet=called_aet,
            associations=associations,
            progress=progress,
        )
    if as_json:
        sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
    else:
        print_report(report, console)
    return 0 if report.ok else 4


def parse_address(peer: str) -> tuple[str, int]:
    """HOST and PORT of HOST:PORT; raises ``Refused`` (bad-address) for anything else."""
    host, _, port = peer.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise Refused("bad-address", f"{peer!r} is not HOST:PORT with a port of 1 to 65535, such as 127.0.0.1:11112.")
    return host.strip("[]"), int(port)


@contextmanager
def progress_bar(console: Console, label: str) -> Iterator[Progress]:
    """A bar that ``send_folder`` and the phantom's writer can move; only where somebody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressDisplay(*columns, console=console, disable=not console.is_terminal) as display:
        task = display.add_task(label, total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)


def print_report(report: SendReport, console: Console) -> None:
    """The counts, and the files that are not at the peer with their reasons."""
    rate = report.bytes_sent / 1e6 / max(report.seconds, 1e-9)
    console.print(
        f"sent {report.sent} files ({report.bytes_sent / 1e6:.1f} MB) in {report.seconds:.1f} s ({rate:.0f} MB/s) "
        f"over {report.associations} association(s)",
        highlight=False,
    )
    for title, entries in (("failed", report.failures), ("warning", report.warnings), ("skipped", report.skipped)):
        for entry in entries[:LISTED]:
            console.print(f"{title}: {entry.path}: {entry.meaning}", highlight=False, markup=False, soft_wrap=True)
        if len(entries) > LISTED:
            console.print(f"{title}: {len(entries) - LISTED} more; --json lists them all", highlight=False)
