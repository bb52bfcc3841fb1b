"""The decoder: decodes compressed PET and CT images as they arrive, so that the analysis finds plain pixels.

It only saves time: what it has not decoded, the analysis decodes.  So it may lag, fail, be killed or switched off
(``receive.decoded_mb = 0``) without harm, runs at low priority, and gives its space back before a C-STORE is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import sqlalchemy as sa
import structlog

from dicom_node.assemble.series import CT_CLASSES, PET_CLASSES
from dicom_node.config import Settings
from dicom_node.database import instances, pairs, settled
from dicom_node.index import Index
from dicom_node.ledger import Ledger
from inference.facts import Instance, Refused
from inference.reading.decoded import decode, decoded_size, folder_of_study, is_encoded

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
TIDY_EVERY_S = 1.0
NICENESS = 10  # whoever receives, judges or analyses goes first
MOST_THREADS = 8
MOST_AT_ONCE = 500  # rows of the index read at a time, and about so many wait in memory
STUCK_S = 300.0  # no object takes so long, one of thousands of frames included: the codec hangs
ADDRESS_SPACE = 4 << 30  # bytes; a codestream that claims a larger image than any PET or CT ends in MemoryError
MEBIBYTE = 1 << 20

rowid = sa.literal_column("rowid", sa.Integer)
_decided = sa.select(settled.c.study_instance_uid)
UNDECIDED = sa.union(
    sa.select(instances.c.study_instance_uid).where(instances.c.study_instance_uid.not_in(_decided)),
    sa.select(pairs.c.study_instance_uid).where(pairs.c.state == "queued"),
)
"""Studies that may yet be analysed."""


class Decoder:
    """One per node.  What it keeps in memory is found again from index, ledger and folder.

    ``limit``: bytes that its files may take.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.decoded_dir
        self.limit = settings.receive.decoded_mb * MEBIBYTE
        self._reserve = settings.receive.disk_reserve_mb * MEBIBYTE
        self._index = Index(settings.index_file)
        self._ledger = Ledger(settings.index_file)
        self._threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self._threads, "decode")
        self._running: dict[Future[int], Instance] = {}
        self._backlog: deque[Instance] = deque()
        self._cursor = 0
        self._tidy_at = 0.0
        self._progress_at = time.monotonic()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._known_at_start, undecided = self._look_back()
        here = {folder.name for folder in self._folder.iterdir()}
        self._studies = {study for study in undecided if folder_of_study(study) in here}
        self._remove_folders_but(self._studies)
        self._used = _size_of(self._folder)

    def run(self, stop: threading.Event) -> None:
        """Decode until ``stop`` is set; what is under way is finished."""
        while not stop.is_set():
            self.tick()
            if not self._running:
                stop.wait(LOOK_EVERY_S)
        self.close()

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is under way, as far as it has looked."""
        return not (self._backlog or self._running)

    def close(self) -> None:
        """Finish what is under way; close all connections."""
        self._pool.shutdown(cancel_futures=True)
        self._index.close()
        self._ledger.close()

    def tick(self) -> None:
        """Take what has arrived, start what there is room for, wait a moment for what is under way."""
        if len(self._backlog) < MOST_AT_ONCE:
            self._take(self._arrived())
        if time.monotonic() >= self._tidy_at:
            self.tidy()
            self._tidy_at = time.monotonic() + TIDY_EVERY_S
        while self._backlog and len(self._running) < 2 * self._threads:
            instance = self._backlog.popleft()
            if self._make_room(instance):
                self._running[self._pool.submit(decode, instance, self._folder)] = instance
        self._collect()

    def _take(self, arrived: Iterable[Instance]) -> None:
        for instance in arrived:
            if is_encoded(instance):
                self._studies.add(instance.study_instance_uid)
                self._backlog.append(instance)

    def _collect(self) -> None:
        """Take note of what is done; end where nothing gets done any more."""
        done, _ = wait(self._running, LOOK_EVERY_S, FIRST_COMPLETED)
        if done or not self._running:
            self._progress_at = time.monotonic()
        elif time.monotonic() > self._progress_at + STUCK_S:
            log.error("a codec hangs; the decoder starts anew without these images", images=len(self._running))
            os._exit(1)  # their unfinished files stay: nobody tries them ahead of time again
        for future in done:
            instance = self._running.pop(future)
            try:
                self._used += future.result()
            except Exception as error:  # noqa: BLE001 - whatever it is, the analysis meets it again and says it
                why = error.code if isinstance(error, Refused) else type(error).__name__
                log.warning("not decoded on arrival", sop_instance_uid=instance.sop_instance_uid, why=why)

    # ---------------------------------------------------------------------------------------------------------- space

    def _make_room(self, instance: Instance) -> bool:
        """Remove what has waited longest until the image fits; False where that is not enough."""
        needed = sum(map(decoded_size, (instance, *self._running.values())))
        if needed > self.limit or self._fits(needed):
            return needed <= self.limit
        own = folder_of_study(instance.study_instance_uid)
        others = [folder for folder in self._folder.iterdir() if folder.name != own]
        for folder in sorted(others, key=lambda folder: folder.stat().st_mtime):
            self._remove(folder)
            if self._fits(needed):
                return True
        return False

    def _fits(self, needed: int) -> bool:
        return self._used + needed <= self.limit and not self._disk_is_low()

    def _disk_is_low(self) -> bool:
        """Below twice the reserve the disk belongs to the receivers."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize < 2 * self._reserve

    def tidy(self) -> None:
        """Leave studies alone whose analysis has begun; remove the files of those that are decided."""
        queued, decided = self._look_up(self._studies)
        begun = {study for study, has_begun in queued if has_begun}
        over = {s for s in decided - {study for study, _ in queued} if self._is_decided(s)}
        self._backlog = deque(i for i in self._backlog if i.study_instance_uid not in begun | over)
        over -= {i.study_instance_uid for i in self._running.values()}  # next time: it would write again
        self._studies -= over
        for study in over:
            self._remove(self._folder / folder_of_study(study))
        if self._disk_is_low():
            self._remove_folders_but(())

    def _look_up(self, studies: Iterable[str]) -> tuple[set[tuple[str, bool]], set[str]]:
        """Of many studies at once: those with runs on the queue, and whether one has begun; those decided before."""
        asked = sa.select(sa.func.json_each(json.dumps(list(studies))).table_valued("value").c.value)
        runs = sa.select(pairs.c.study_instance_uid, pairs.c.started_at.is_not(None))
        runs = runs.where(pairs.c.study_instance_uid.in_(asked), pairs.c.state == "queued")
        decided = _decided.where(settled.c.study_instance_uid.in_(asked))
        with self._reading() as connection:
            queued = {(study, bool(begun)) for study, begun in connection.execute(runs)}
            return queued, set(connection.execute(decided).scalars())

    def _is_decided(self, study: str) -> bool:
        return self._ledger.is_settled(study, self._index.arrived(study))

    def _remove_folders_but(self, studies: Iterable[str]) -> None:
        kept = {folder_of_study(study) for study in studies}
        for folder in self._folder.iterdir():
            if folder.name not in kept:
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Readers that have a file open keep it; others decode for themselves."""
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            self._used = _size_of(self._folder)

    # --------------------------------------------------------------------------------------------------- what arrives

    def _look_back(self) -> tuple[int, set[str]]:
        """The last row of the index, and the studies that may yet be analysed."""
        with self._reading() as connection:
            return _last_row(connection), set(connection.execute(UNDECIDED).scalars())

    def _arrived(self) -> Iterator[Instance]:
        """Encoded images of the rows that are new in the index, in their order."""
        content = instances.c.content
        new = sa.select(rowid, content).where(
            rowid > self._cursor,
            sa.func.json_extract(content, "$.pixel_offset") < 0,
            sa.func.json_extract(content, "$.sop_class_uid").in_([*PET_CLASSES, *CT_CLASSES]),
        )
        if self._cursor < self._known_at_start:
            new = new.where(sa.or_(rowid > self._known_at_start, instances.c.study_instance_uid.in_(UNDECIDED)))
        with self._reading() as connection:
            last = _last_row(connection)
            if last <= self._cursor:
                return
            rows = connection.execute(new.order_by(rowid).limit(MOST_AT_ONCE)).all()
        self._cursor = rows[-1][0] if len(rows) == MOST_AT_ONCE else last
        for _, text in rows:
            yield Instance(**json.loads(text))

    def _reading(self) -> sa.Connection:
        return self._index.engine.execution_options(reading=True).connect()


def serve_decoder(settings: Settings, stop: threading.Event) -> None:
    """Run the decoder in a process of its own, until ``stop`` is set."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    Decoder(settings).run(stop)


def _last_row(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(sa.func.max(rowid)).select_from(instances)).scalar() or 0)


def _size_of(folder: Path) -> int:
    """Bytes of the files in the folders of ``folder``, while others may write and rename there."""
    total = 0
    for path in folder.glob("*/*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total
