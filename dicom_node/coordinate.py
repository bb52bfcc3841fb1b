"""The coordinator: follows what arrives, decides when a study is complete, and puts its run on the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from dicom_node.assemble import Complete, GiveUp, Traffic, Verdict, Wait, judge
from dicom_node.assemble.series import CT_CLASSES, PET_CLASSES, is_ours
from dicom_node.config import Settings
from dicom_node.index import Index
from dicom_node.ledger import Ledger
from dicom_node.work.job import Work
from dicom_node.workflow import WorkQueue
from inference.facts import Instance

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
TRY_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A study that is not decided: look again at ``until`` (Unix time), or when an association ends."""

    until: float
    open_associations: int


@dataclass(frozen=True, slots=True)
class _Unqueued:
    """A run that is registered and not yet taken by the queue."""

    study: str
    arrived: int


class Coordinator:
    """One per node.  ``tick`` does what is due and returns at once; nothing it keeps in memory is needed again."""

    def __init__(self, settings: Settings, bundle_digests: Mapping[str, str]) -> None:
        """``bundle_digests``: of every bundle that may be asked for (``Settings.bundles``), by its name there."""
        self._settings = settings
        self._bundle_digests = bundle_digests
        self._bundle_digest = bundle_digests[settings.bundles[0]]  # a refusal is no model's, but is filed under one
        self._index = Index(settings.index_file)
        self._ledger = Ledger(settings.index_file)
        self._queue = WorkQueue(settings)
        self._cursor = 0
        self._waiting: dict[str, _Waiting] = {}
        self._unqueued: dict[str, _Unqueued] = {}
        self._queue_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Tick until ``stop`` is set."""
        while not stop.wait(LOOK_EVERY_S):
            self.tick(time.time())
        self._queue.close()

    def tick(self, now: float) -> None:
        """Judge every study in which something has changed, or whose time has come.  ``now``: Unix time."""
        starting = self._cursor == 0
        changed, self._cursor = self._index.studies_changed_since(self._cursor)
        due = [study for study, waiting in self._waiting.items() if self._is_due(study, waiting, now)]
        for study in dict.fromkeys([*changed, *due]):
            if starting and self._ledger.is_settled(study, self._index.arrived(study)):
                continue
            self._look_at(study, now)
        if now >= self._queue_at:
            self._submit(now)

    def _is_due(self, study: str, waiting: _Waiting, now: float) -> bool:
        if now >= waiting.until:
            return True
        return waiting.open_associations > 0 and self._index.open_associations(study) != waiting.open_associations

    def _look_at(self, study: str, now: float) -> None:
        """Judge one study, and act on it.  What goes wrong with one study must not stop the others."""
        try:
            open_associations = self._index.open_associations(study)
            arrived = self._index.arrived(study)  # first: what comes between the two counts as undecided
            instances = [i for i in self._index.study_instances(study) if not is_ours(i)]
            if not instances:
                return self._forget(study)
            last = self._index.last_arrival(study)
            verdict = self._judge(study, instances, Traffic(last, self._arrivals(instances), open_associations), now)
            if isinstance(verdict, Wait):
                self._waiting[study] = _Waiting(verdict.until, open_associations)
                log.debug("waiting", study_instance_uid=study, why=verdict.why)
            else:
                self._decide(study, instances, verdict, arrived, last, now)
                self._forget(study)
        except Exception:  # noqa: BLE001 - whatever it is, it is this study's; the log says it, and we try again
            log.exception("the study could not be judged", study_instance_uid=study)
            self._waiting[study] = _Waiting(now + TRY_AGAIN_S, 0)

    def _judge(self, study: str, instances: list[Instance], traffic: Traffic, now: float) -> Verdict:
        return judge(instances, traffic, now, self._settings.assemble, self._index.study_set_aside(study))

    def _arrivals(self, instances: list[Instance]) -> dict[str, list[float]]:
        series = {i.series_instance_uid for i in instances}
        return {uid: self._index.arrivals(uid) for uid in series}

    def _decide(
        self, study: str, instances: list[Instance], verdict: Complete | GiveUp, arrived: int, last: float, now: float
    ) -> None:
        """Register the run of a pair, or of a refusal somebody waits for; ``tick`` then queues it."""
        if isinstance(verdict, Complete):
            work, why = Work.of_pair(verdict.pair, self._bundle_digest), verdict.why
        else:
            why = f"{verdict.refused.code}: {verdict.refused.reason}"
            images = [i for i in instances if i.sop_class_uid in PET_CLASSES or i.sop_class_uid in CT_CLASSES]
            if not _answer_is_expected(images):
                log.warning("refused", study_instance_uid=study, why=why)
                self._ledger.tell(study, "refused", at=now, text=why)
                return self._ledger.settle(study, arrived)
            work = Work.of_refusal(images, verdict.refused, self._bundle_digest)
        if self._ledger.register(work):
            event = "refused" if work.is_refusal else "pair-complete"
            self._ledger.tell(study, "last-slice-stored", run_id=work.run_id, at=last)
            self._ledger.tell(study, event, run_id=work.run_id, at=now, text=why)
            log.info(event, study_instance_uid=study, run_id=work.run_id, why=why, waited_s=round(now - last, 3))
        self._unqueued[work.run_id] = _Unqueued(study, arrived)
        return None

    def _submit(self, now: float) -> None:
        """Queue what is registered; a study counts as settled only once its run is on the queue."""
        for run_id, run in list(self._unqueued.items()):
            if not self._queue.submit(run_id):
                self._queue_at = now + TRY_AGAIN_S
                return
            self._ledger.settle(run.study, run.arrived)
            del self._unqueued[run_id]

    def _forget(self, study: str) -> None:
        self._waiting.pop(study, None)


def _answer_is_expected(images: list[Instance]) -> bool:
    """Somebody who sends a PET expects an answer; a CT alone is everyday business of an archive."""
    return any(i.sop_class_uid in PET_CLASSES for i in images)
