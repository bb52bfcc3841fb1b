"""The steps of a run: what the workflow engine records and may repeat.

A run that is superseded ends by itself: it is not analysed, or not heeded, and no delivery of it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError

from dicom_node.config import Settings
from dicom_node.deliver import Receipt, Undelivered, confirm, deliver, why_refusal_withheld, why_withheld
from dicom_node.identity import now_dt
from dicom_node.ledger import CLOSED, Ledger, RunState
from dicom_node.sections import Destination
from dicom_node.succession import SUPERSEDED
from dicom_node.work.analyst import AnalysisEnded, Analyst
from dicom_node.work.result_set import ResultSet, read_set

log = structlog.get_logger(__name__)
NOTHING_TO_SEND = "no answer could be attached to the study: `petct-node explain` says why"


class _Superseded(Exception):  # noqa: N818 - it is in order
    """Another run has taken the place of this one: nothing of it may go."""


class Steps:
    """Plain methods on run ids; each may be repeated."""

    def __init__(self, settings: Settings, analyst: Analyst) -> None:
        self.settings = settings
        self._analyst = analyst
        self._ledger = Ledger(settings.index_file)
        self._destinations = {d.name: d for d in settings.deliver.destinations}

    def begin(self, run_id: str) -> str:
        """Record the start once; every repeat gets the same, and so writes the same bytes."""
        started_at = self._ledger.begin(run_id, now_dt())
        if not self._ledger.is_superseded(run_id):
            self._tell(run_id, "analysis-started")
        return started_at

    def analyse(self, run_id: str, started_at: str, set_aside: str) -> str:
        """Write the result set; "" when it lies in its folder or nobody wants it any more, else what ended it."""
        if self._ledger.is_superseded(run_id):
            return ""
        try:
            found = self._analyst.analyse(run_id, started_at, set_aside)
        except AnalysisEnded as ended:
            log.error("analysis ended", run_id=run_id, reason=str(ended))
            return str(ended)
        states: dict[str, RunState] = {"done": "done", "refused": "refused", "failed": "failed"}
        self._ledger.finish(run_id, states[found.state], found.code, found.reason, found.made_with)
        self._tell(run_id, "analysis-ended", text=found.code or found.state)
        return ""

    def give_up(self, run_id: str, reason: str) -> None:
        """Not even a refusal could be written: say so where people look."""
        log.error("given up", run_id=run_id, reason=reason)
        self._ledger.finish(run_id, "failed", "analysis-failed", reason)
        self._tell(run_id, "analysis-ended", text=f"failed: {reason}")

    def destinations(self, run_id: str) -> list[str]:
        """Where the set goes; what must not go somewhere is written down as withheld."""
        if not self.settings.deliver.destinations:
            self._ledger.keep(run_id)
        going = []
        for destination in self.settings.deliver.destinations:
            if reason := self._why_not(run_id, destination):
                self._withhold(run_id, destination.name, reason)
            else:
                self._ledger.record_delivery(run_id, destination.name, "waiting")
                going.append(destination.name)
        return going

    def _withhold(self, run_id: str, destination: str, reason: str) -> None:
        self._ledger.record_delivery(run_id, destination, "withheld", reason)
        self._tell(run_id, "withheld", destination=destination, text=reason)

    def _why_not(self, run_id: str, destination: Destination) -> str:
        if self._ledger.is_superseded(run_id):
            return SUPERSEDED
        found = self._set(run_id)
        if not found.results:
            return NOTHING_TO_SEND
        if found.state != "done":
            replaces = bool(self._ledger.replaces(run_id))
            if reason := why_refusal_withheld(found.code, self.settings.deliver, replaces=replaces):
                return reason
        return why_withheld(destination, demonstration=found.demonstration)

    def deliver(self, run_id: str, destination: str) -> str:
        """Send the set; "" when the archive took it, else why not."""

        def begin() -> None:
            if not self._ledger.begin_delivery(run_id, destination):
                raise _Superseded

        def send(to: Destination, found: ResultSet) -> None:
            known = {receipt["sop_instance_uid"] for receipt in self._receipts(run_id, destination)}
            # only what is lacking; all of it again where the archive did not confirm what it had taken
            lacking = [r for r in found.results if r.sop_instance_uid not in known] or found.results
            try:
                receipts = deliver(lacking, to, self.settings.receive.ae_title, begin)
            except Undelivered as undelivered:
                self._record(run_id, destination, undelivered.receipts)
                raise
            self._record(run_id, destination, receipts)
            if left_out := self._left_out(run_id, destination):
                log.warning("the archive does without", run_id=run_id, destination=destination, what=left_out)
                self._tell(run_id, "left-out", destination=destination, text=left_out)
            self._ledger.record_delivery(run_id, destination, "delivered")
            self._tell(run_id, "delivered", destination=destination)

        return self._tried(run_id, destination, send)

    def confirm(self, run_id: str, destination: str) -> str:
        """Ask the archive for every object; "" when it has them all, else what it lacks."""

        def ask(to: Destination, found: ResultSet) -> None:
            known = {r["sop_instance_uid"]: r["taken"] for r in self._receipts(run_id, destination)}
            wanted = [r for r in found.results if known.get(r.sop_instance_uid, True)]
            by_status = all(r.sop_instance_uid in known for r in wanted)
            receipts = confirm(wanted, to, self.settings.receive.ae_title, by_status)
            self._record(run_id, destination, receipts)
            if all(receipt.same for receipt in receipts):
                self._ledger.record_delivery(run_id, destination, "confirmed", self._left_out(run_id, destination))
                self._tell(run_id, "confirmed", destination=destination)
            else:
                reason = "the archive already held objects of this run with other bytes, and keeps the first"
                self._ledger.record_delivery(run_id, destination, "kept-first", reason)
                self._tell(run_id, "kept-first", destination=destination, text=reason)

        return self._tried(run_id, destination, ask)

    def _receipts(self, run_id: str, destination: str) -> list[Mapping[str, Any]]:
        return [receipt for receipt in self._ledger.receipts(run_id) if receipt["destination"] == destination]

    def _record(self, run_id: str, destination: str, receipts: Iterable[Receipt]) -> None:
        for r in receipts:
            self._ledger.record_receipt(run_id, destination, r.sop_instance_uid, r.kind, r.how, taken=r.taken)

    def _left_out(self, run_id: str, destination: str) -> str:
        """Which optional objects the archive never takes, and what it says; "" where it takes all."""
        out = [r for r in self._receipts(run_id, destination) if not r["taken"]]
        said = dict.fromkeys(f"{r['kind']} ({r['how']})" for r in out)
        return f"without what the archive does not take: {', '.join(said)}" if said else ""

    def _tried(self, run_id: str, destination: str, act: Callable[[Destination, ResultSet], None]) -> str:
        if any(d.destination == destination and d.state in CLOSED for d in self._ledger.deliveries(run_id)):
            return ""
        try:
            if destination not in self._destinations:
                raise Undelivered(f"destination {destination} is no longer configured")
            act(self._destinations[destination], self._set(run_id))
        except _Superseded:
            self._withhold(run_id, destination, SUPERSEDED)
            return ""
        except Undelivered as undelivered:
            reason = undelivered.reason
        except OperationalError:
            raise  # of our own ledger
        except Exception as error:  # an answer nobody foresaw is no reason to give a delivery up
            log.exception("delivery failed unexpectedly", run_id=run_id, destination=destination)
            reason = f"unexpected {type(error).__name__}; the log says more"
        else:
            return ""
        self._ledger.record_delivery(run_id, destination, "waiting", reason)
        log.warning("delivery waits", run_id=run_id, destination=destination, reason=reason)
        return reason

    def _set(self, run_id: str) -> ResultSet:
        found = read_set(self.settings.results_dir / run_id)
        if found is None:
            raise LookupError(f"the result set of run {run_id} is gone")
        return found

    def _tell(self, run_id: str, event: str, *, destination: str = "", text: str = "") -> None:
        study = self._ledger.work(run_id).study_instance_uid
        self._ledger.tell(study, event, run_id=run_id, destination=destination, text=text)
        log.info(event, run_id=run_id, study_instance_uid=study, destination=destination, text=text)
