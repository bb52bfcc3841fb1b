"""From the spool to the index: in batches, off the answer path, and again from the spool where a batch was lost."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from dicom_node.index import Arrival, Fault, Index
from dicom_node.receive.spool import Spool
from inference.facts import Instance, Refused
from inference.reading.instance import conflict, read_instance

LOGGER = logging.getLogger(__name__)
BATCH_S = 0.5  # longest wait of a row; a transaction costs as much as a whole C-STORE (design: 3.5 to 9 ms)
RETRY_S = 1.0
RECOVER_AGAIN_S = 10.0
RECOVERY_BATCH = 500

Entry = Arrival | Fault | str  # a string is the id of an association that has ended


class ArrivalWriter:
    """Writes what one receiver process got to the index, every 0.5 s and as soon as an association ends."""

    def __init__(self, spool: Spool, index: Index) -> None:
        self._spool = spool
        self._index = index
        self._entries: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Take an entry; returns at once."""
        self._entries.put(entry)
        if isinstance(entry, str):
            self._due.set()

    def close(self) -> None:
        """Write what is left and stop; what cannot be written within 10 s is found again by ``recover``."""
        self._stopping = True
        self._due.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        while not self._stopping or not self._entries.empty():
            self._due.wait(BATCH_S)
            self._due.clear()
            batch = []
            while not self._entries.empty():
                batch.append(self._entries.get())
            if batch:
                self._write(batch)

    def _write(self, batch: Sequence[Entry]) -> None:
        while True:
            try:
                add(self._spool, self._index, batch)
            except Exception:  # noqa: BLE001 - a full disk or a locked file ends; the rows must not be lost meanwhile
                LOGGER.exception("the index could not be written; trying again")
                if self._stopping:
                    return
                time.sleep(RETRY_S)
            else:
                return


def add(spool: Spool, index: Index, batch: Iterable[Entry]) -> None:
    """Write one batch; a SOP Instance UID that another study has already is set aside."""
    entries = list(batch)
    arrivals = [e for e in entries if isinstance(e, Arrival)]
    rejected = index.add(
        arrivals, [e for e in entries if isinstance(e, Fault)], [e for e in entries if isinstance(e, str)]
    )
    if rejected:
        index.add(faults=[_put_aside(spool, instance) for instance in rejected])


def _put_aside(spool: Spool, instance: Instance) -> Fault:
    aside = spool.put_aside(instance, conflict(instance))
    LOGGER.warning("set aside: %s (instance %s)", aside.refused.reason, instance.sop_instance_uid)
    return Fault(aside.refused, time.time(), aside.path)


def recover_until_done(spool: Spool, index: Index, stop: threading.Event, pause_s: float = RECOVER_AGAIN_S) -> int:
    """``recover``, again and again where a full disk or a locked file is in the way: nobody else finds what it misses.

    Returns how many instances were added; ends without them when ``stop`` is set.
    """
    while not stop.is_set():
        try:
            return recover(spool, index)
        except Exception:  # noqa: BLE001 - whatever it is, giving up would leave stored instances unseen
            LOGGER.exception("the spool could not be looked through; trying again in %g s", pause_s)
            stop.wait(pause_s)
    return 0


def recover(spool: Spool, index: Index, progress: Callable[[int], None] | None = None) -> int:
    """Add to the index what lies in the spool and is not in it; returns how many instances that were.

    What is known is skipped by its name alone.  Files that cannot be read any more are set aside.  ``progress`` is
    called with the number of instances added so far.
    """
    known = index.known_paths()
    aside = [a for a in spool.scan_set_aside() if str(a.path) not in known]
    index.add(faults=[Fault(a.refused, a.path.stat().st_mtime, a.path) for a in aside])
    found = 0
    missing = (path for path in spool.scan() if str(path) not in known)
    while paths := list(islice(missing, RECOVERY_BATCH)):
        entries = [entry for path in paths if (entry := _recovered(path)) is not None]
        add(spool, index, entries)
        found += len(entries)
        if progress is not None:
            progress(found)
    return found


def _recovered(path: Path) -> Entry | None:
    try:
        return Arrival(read_instance(path), path.stat().st_mtime)
    except FileNotFoundError:
        return None
    except Refused as refused:
        LOGGER.error("an instance in the spool cannot be read any more: %s", refused.reason)
        return Fault(refused, time.time(), path)
