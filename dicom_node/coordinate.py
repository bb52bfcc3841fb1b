"""The coordinator: follows what arrives, decides when a study is complete, and puts its run on the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest

import structlog

from dicom_node.assemble import (
    Before,
    Complete,
    GiveUp,
    Traffic,
    Verdict,
    Wait,
    frames_without_ct,
    judge,
    not_before,
    with_ct_of_other_studies,
)
from dicom_node.assemble.routing import NO_CONTRACTS
from dicom_node.assemble.series import CT_CLASSES, PET_CLASSES, is_ours
from dicom_node.config import Settings
from dicom_node.contracts import Contracts
from dicom_node.deliver import is_answered
from dicom_node.identity import Basis
from dicom_node.index import Index
from dicom_node.ledger import Ledger
from dicom_node.runs import Runs
from dicom_node.work.job import Work
from dicom_node.workflow import WorkQueue
from inference.facts import Instance, Pair

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
TRY_AGAIN_S = 1.0
TURN_S = 0.5  # then what is new has its turn again, however many studies are due at once
CLOCK_WAS_SET_S = 1.0  # between two looks; less is the drift that time servers even out
ANOTHER_CLOCK_S = 60.0  # no look takes so long that something could come so much later than it began
NEVER = Before()
SILENT = Traffic(0.0)
NOTHING_TO_ANALYSE = "nothing of the study is there but what this node wrote itself"
USED_ELSEWHERE = "used-with-another-study"  # the story of a study whose CT belongs to the PET of another


@dataclass(frozen=True, slots=True)
class _Unqueued:
    """Runs of a study that are registered and not yet taken by the queue."""

    run_ids: tuple[str, ...]
    arrived: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was there of a study when it was looked at.

    ``instances``: those of the study, not ours; ``candidates``: the same, and the CT of another study where that may
    be used.  ``studies``: where they come from.  ``arrived``: how many had come to all of ``studies``.
    ``last``: when the last of them came, by the clock of then (Unix time).
    """

    study: str
    studies: tuple[str, ...]
    instances: list[Instance]
    candidates: list[Instance]
    arrived: int
    last: float
    traffic: Traffic


class Coordinator:
    """One per node.  ``tick`` does what is due and returns at once; nothing it keeps in memory is needed again."""

    def __init__(
        self, settings: Settings, bundle_digests: Mapping[str, str], contracts: Contracts = NO_CONTRACTS
    ) -> None:
        """``bundle_digests``: of every bundle that may be asked for (``Settings.bundles``), by its name there."""
        self._settings = settings
        self._bundle_digest = bundle_digests[settings.bundles[0]]  # a refusal is no model's, but is filed under one
        self._runs = Runs(settings, bundle_digests, contracts)
        self._index = Index(settings.index_file)
        self._ledger = Ledger(settings.index_file)
        self._queue = WorkQueue(settings)
        self._cursor = 0
        self._waiting: dict[str, float] = {}  # studies that are not decided → when to look again, Unix time
        self._unqueued: dict[str, _Unqueued] = {}
        self._queue_at = 0.0
        self._clock_from = 0.0
        self._ahead: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Tick until ``stop`` is set."""
        while not stop.wait(LOOK_EVERY_S):
            self.watch_clock(time.time(), time.monotonic())
            self.tick(time.time())
        self._queue.close()

    def watch_clock(self, now: float, steady: float) -> None:
        """Silence is measured from here where this process has just started, or the clock (``now``) was set.

        ``steady``: seconds that nobody sets.  Else an hour that the node was down, or that the clock jumped, would
        count as an hour in which nobody sent.
        """
        ahead = now - steady
        if self._ahead is None or abs(ahead - self._ahead) > CLOCK_WAS_SET_S:
            if self._ahead is not None:
                log.warning("the clock was set; silence is measured anew", by_s=round(ahead - self._ahead, 1))
            self._clock_from, self._queue_at = now, 0.0
            self._waiting = dict.fromkeys(self._waiting, now)
        self._ahead = ahead

    def tick(self, now: float) -> None:
        """Judge studies in which something has changed, and in turn with them those whose time has come, the latest
        first.  Where there are many, some wait for the next tick.  ``now``: Unix time.
        """
        starting = self._cursor == 0
        changed, self._cursor = self._index.studies_changed_since(self._cursor)
        if starting:
            changed = [study for study in changed if not self._is_settled(study)]
        new = dict.fromkeys(self._with_partners(changed))
        due = [study for study, until in self._waiting.items() if until <= now and study not in new]
        due.sort(key=self._waiting.__getitem__, reverse=True)
        end_of_turn = time.monotonic() + TURN_S
        for looks, both in enumerate(zip_longest(new, due), 1):
            for study in filter(None, both):
                self._look_at(study, now)
            if time.monotonic() > end_of_turn:
                self._waiting |= dict.fromkeys(list(new)[looks:], now)
                break
        if now >= self._queue_at:
            self._submit(now, end_of_turn)

    def _is_settled(self, study: str) -> bool:
        if self._ledger.is_asked_again(study):
            return False
        return self._ledger.is_settled(study, self._arrived((study, *self._partners(study))))

    # ------------------------------------------------------------------------------------------------- two studies

    def _partners(self, study: str) -> list[str]:
        """Other studies whose images lie in one space with this one's, where those may be combined."""
        return self._index.studies_sharing_frame(study) if self._settings.assemble.two_studies else []

    def _with_partners(self, studies: list[str]) -> list[str]:
        """The studies, and those for which a CT among them may be what is missing."""
        return [one for study in studies for one in (study, *self._partners(study))]

    def _arrived(self, studies: Iterable[str]) -> int:
        return sum(self._index.arrived(study) for study in studies)

    # ------------------------------------------------------------------------------------------------- one study

    def _look_at(self, study: str, now: float) -> None:
        """Judge one study, and act on it.  What goes wrong with one study must not stop the others."""
        try:
            before = self._before(study)
            if before is NEVER and self._is_too_early(study, now):
                return None
            seen = self._see(study, now)
            if seen is None:
                self._ledger.answer_requests(study, NOTHING_TO_ANALYSE, now)
                return self._forget(study)
            if self._ledger.is_asked_again(study) and self._ledger.is_settled(study, seen.arrived):
                seen = replace(seen, traffic=SILENT)  # it was waited for what might come when it was decided
            verdict = self._judge(seen, now, before)
            if isinstance(verdict, Wait):
                self._waiting[study] = verdict.until
                if before is not NEVER:
                    self._withdraw(study, verdict.pairs, now)
                log.debug("waiting", study_instance_uid=study, why=verdict.why)
            else:
                self._decide(seen, verdict, now)
                self._forget(study)
        except Exception:  # noqa: BLE001 - whatever it is, it is this study's; the log says it, and we try again
            log.exception("the study could not be judged", study_instance_uid=study)
            self._waiting[study] = now + TRY_AGAIN_S

    def _is_too_early(self, study: str, now: float) -> bool:
        """Whether it is not worth reading all of the study: judging 600 slices at each look would take half a core.

        What arrives meanwhile does not put the next look off: it may be our own results that come back.
        """
        last = self._believed(self._index.last_arrival(study), now)
        traffic = Traffic(last, open_associations=self._index.open_associations(study))
        until = not_before(traffic, self._settings.assemble)
        if until <= now:
            return False
        self._waiting[study] = min(until, self._waiting.get(study, until))
        return self._waiting[study] > now

    def _believed(self, arrival: float, now: float) -> float:
        """When something came, as this clock would tell it: what is of before it was set, or of another clock, came
        then; what came after the look began came now.
        """
        return self._clock_from if arrival > now + ANOTHER_CLOCK_S else max(self._clock_from, min(arrival, now))

    def _see(self, study: str, now: float) -> _Seen | None:
        """What is there of the study; None where there is nothing but what we wrote ourselves."""
        partners = self._partners(study)
        open_associations = self._index.open_associations(study)
        arrived = self._arrived((study, *partners))  # first: what comes between the two counts as undecided
        own = [i for i in self._index.study_instances(study) if not is_ours(i)]
        if not own and not self._index.study_set_aside(study):
            return None
        candidates = own
        if partners and frames_without_ct(own):
            others = [i for partner in partners for i in self._index.study_instances(partner)]
            candidates = with_ct_of_other_studies(own, others)
        studies = tuple(dict.fromkeys((study, *(i.study_instance_uid for i in candidates))))
        open_associations += sum(self._index.open_associations(other) for other in studies[1:])
        arrivals = {uid: self._index.arrivals(uid) for uid in {i.series_instance_uid for i in candidates}}
        last = max((times[-1] for times in arrivals.values()), default=self._index.last_arrival(study))
        by_series = {
            uid: sorted(t if t <= now else self._believed(t, now) for t in times) for uid, times in arrivals.items()
        }
        traffic = Traffic(self._believed(last, now), by_series, open_associations)
        return _Seen(study, studies, own, candidates, arrived, last, traffic)

    def _before(self, study: str) -> Before:
        decided = self._ledger.history(study)
        if not decided:
            return NEVER
        works = [(generation, work) for generation, work in decided if not work.is_refusal]
        together = [[work for _, work in group] for _, group in groupby(works, key=lambda decision: decision[0])]
        subjects = [{work.subject for work in group} for group in together]
        times = sum(1 for _ in groupby(subjects))  # done again, it has not changed again
        last = together[-1] if together else []
        return Before(times, frozenset(str(work.content.get("images_digest", "")) for work in last))

    def _judge(self, seen: _Seen, now: float, before: Before) -> Verdict:
        set_aside = [fault for study in seen.studies for fault in self._index.study_set_aside(study)]
        return judge(
            seen.candidates,
            seen.traffic,
            now,
            self._settings.assemble,
            set_aside,
            before,
            self._runs.kinds(seen.candidates),
            awaits_pet=self._runs.awaits_pet,
        )

    def _withdraw(self, study: str, pairs: Sequence[Pair], now: float) -> None:
        """What is under way and no longer what the study is must not go out while we wait."""
        for run_id in self._ledger.withdraw(study, [pair.digest for pair in pairs], now):
            log.info("superseded", study_instance_uid=study, run_id=run_id, why="the study has changed since")

    def _decide(self, seen: _Seen, verdict: Complete | GiveUp, now: float) -> None:
        """Register the runs of a pair, or of a refusal somebody waits for; ``tick`` then queues them."""
        study, last = seen.study, seen.last
        if isinstance(verdict, Complete):
            senders = [sender for one in seen.studies for sender in self._index.senders(one)]
            works, told = self._runs.works(verdict.pairs, senders)
            bases = {work.run_id: self._runs.basis(work, seen.candidates) for work in works}
            event, why = "pair-complete", verdict.why
            if len(self._settings.bundles) > 1 or self._settings.route:
                why = " ".join([f"{why}.", *told])
            if not works:
                self._tell_not_answered(study, "not-routed", " ".join(told), now)
        else:
            why = f"{verdict.refused.code}: {verdict.refused.reason}"
            images = [i for i in seen.instances if i.sop_class_uid in PET_CLASSES or i.sop_class_uid in CT_CLASSES]
            event, works, bases = "refused", [], {}
            if images and self._is_answered(seen, verdict.refused.code, images):
                works = [Work.of_refusal(images, verdict.refused, self._bundle_digest)]
                bases = {work.run_id: Basis.of(self._settings, "") for work in works}
            elif not self._is_used_elsewhere(study):
                self._tell_not_answered(study, event, why, now)
        decision = self._ledger.decide(study, works, now, bases, f"{event}: {why}")
        for run_id in decision.superseded:
            log.info("superseded", study_instance_uid=study, run_id=run_id, by=decision.new)
        for run_id in decision.new:
            log.info(event, study_instance_uid=study, run_id=run_id, why=why, waited_s=round(now - last, 3))
        for run_id in decision.runs:  # not only new ones: whoever registered them may have been killed before this
            self._ledger.tell(study, "last-slice-stored", run_id=run_id, at=last)
            self._ledger.tell(study, event, run_id=run_id, at=now, text=why)
            for other in seen.studies[1:]:
                text = "Its CT belongs to the PET of another study, where the results go."
                self._ledger.tell(other, USED_ELSEWHERE, run_id=run_id, at=now, text=text)
        self._unqueued[study] = _Unqueued(decision.runs, seen.arrived)

    def _is_answered(self, seen: _Seen, code: str, images: list[Instance]) -> bool:
        """Whether somebody should know; whoever got an earlier answer should in any case."""
        waited_for = any(i.sop_class_uid in PET_CLASSES for i in images) or self._runs.is_drawn_on(seen.candidates)
        return is_answered(code, self._settings.deliver, has_pet=waited_for) or bool(self._ledger.history(seen.study))

    def _is_used_elsewhere(self, study: str) -> bool:
        return any(event.event == USED_ELSEWHERE for event in self._ledger.timeline(study))

    def _tell_not_answered(self, study: str, event: str, why: str, now: float) -> None:
        log.info(event, study_instance_uid=study, why=why)
        self._ledger.tell(study, event, at=now, text=why)

    def _submit(self, now: float, end_of_turn: float) -> None:
        """Queue what is registered; a study counts as settled only once its runs are on the queue."""
        for study, decided in list(self._unqueued.items()):
            if not all(self._queue.submit(run_id) for run_id in decided.run_ids):
                self._queue_at = now + TRY_AGAIN_S
                return
            self._ledger.settle(study, decided.arrived)
            del self._unqueued[study]
            if time.monotonic() > end_of_turn:
                return

    def _forget(self, study: str) -> None:
        self._waiting.pop(study, None)
