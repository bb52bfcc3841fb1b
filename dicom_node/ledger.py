"""What became of each study: runs, deliveries, what the archives confirmed, and the story with its times.

Tables beside those of the index, in the same SQLite file.  Every write may be repeated without harm: the first record
of an event stays, so that a run taken up again after a crash keeps its own start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from dicom_node import again, succession
from dicom_node.database import open_engine, outbox, pairs, receipts, settled, story
from dicom_node.identity import Basis
from dicom_node.succession import Decision
from dicom_node.work.job import Work
from inference.facts import Occasion

RunState = Literal["queued", "done", "refused", "failed", "superseded"]
OutboxState = Literal["waiting", "delivered", "confirmed", "withheld", "kept-first"]
CLOSED: frozenset[str] = frozenset({"confirmed", "withheld", "kept-first"})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a study, at a Unix time."""

    run_id: str
    event: str
    destination: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far one run has come with one destination."""

    destination: str
    state: str
    attempts: int
    reason: str


class Ledger:
    """Opens the SQLite file of the index; its tables are made by ``dicom_node.index``'s migrations."""

    def __init__(self, path: Path) -> None:
        self.engine = open_engine(path)
        self._reading = self.engine.execution_options(reading=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    # ------------------------------------------------------------------------------------------------------------ runs

    def decide(
        self,
        study_instance_uid: str,
        works: Sequence[Work],
        at: float,
        bases: Mapping[str, Basis] | None = None,
        otherwise: str = "",
    ) -> Decision:
        """What counts for the study from now on; see ``dicom_node.succession``."""
        with self.engine.begin() as connection:
            return succession.decide(connection, study_instance_uid, works, at, bases, otherwise)

    def withdraw(self, study_instance_uid: str, subjects: Collection[str], at: float) -> tuple[str, ...]:
        """The study has changed: what is about other content, and not out, is superseded.  Returns the run ids."""
        with self.engine.begin() as connection:
            return succession.withdraw(connection, study_instance_uid, subjects, at)

    def work(self, run_id: str) -> Work:
        """The run as registered.  Raises KeyError where there is none."""
        row = self._row(pairs, run_id)
        return Work(run_id, row["study_instance_uid"], json.loads(row["content"]))

    def begin(self, run_id: str, started_at: str) -> str:
        """Record the start once; returns the start on record, DICOM DT."""
        self._write(
            sa.update(pairs).where(pairs.c.run_id == run_id, pairs.c.started_at.is_(None)).values(started_at=started_at)
        )
        return str(self._row(pairs, run_id)["started_at"])

    def finish(self, run_id: str, state: RunState, code: str = "", reason: str = "", made_with: str = "") -> None:
        """Record how the analysis ended, and with what; nobody heeds that of a run that was superseded meanwhile."""
        mine = (pairs.c.run_id == run_id, pairs.c.state != "superseded")
        ended = {"state": state, "code": code, "reason": reason, "made_with": made_with}
        self._write(sa.update(pairs).where(*mine).values(ended))

    def is_superseded(self, run_id: str) -> bool:
        """Whether another run, or a change of the study, has taken the place of this one."""
        return self._row(pairs, run_id)["superseded"] is not None

    def replaces(self, run_id: str) -> tuple[str, ...]:
        """The runs whose results this one's replace: those that had begun to go out when it was registered."""
        return tuple(json.loads(self._row(pairs, run_id)["replaces"]))

    def occasions(self, run_id: str) -> tuple[Occasion, ...]:
        """Why it replaces them."""
        return again.from_json(self._row(pairs, run_id)["occasions"])

    def history(self, study_instance_uid: str) -> tuple[tuple[int, Work], ...]:
        """What was decided for the study so far, each with its generation, the latest last."""
        query = sa.select(pairs.c.generation, pairs.c.run_id, pairs.c.content)
        query = query.where(pairs.c.study_instance_uid == study_instance_uid).order_by(pairs.c.generation)
        rows = self._all(query)
        return tuple((r["generation"], Work(r["run_id"], study_instance_uid, json.loads(r["content"]))) for r in rows)

    def runs(self, study_instance_uid: str) -> list[Mapping[str, Any]]:
        """All runs of a study in the order they were decided.

        run_id, state, code, reason, started_at, lane (the bundle's name), generation, superseded (Unix time or None),
        replaces (run ids), made_with (``identity.Basis`` as JSON), occasions (why it replaces them).
        """
        query = sa.select(*(column for column in pairs.c if column.name not in ("content", "study_instance_uid")))
        query = query.where(pairs.c.study_instance_uid == study_instance_uid)
        rows = self._all(query.order_by(pairs.c.generation, pairs.c.run_id))
        return [
            {**row, "replaces": json.loads(row["replaces"]), "occasions": again.from_json(row["occasions"])}
            for row in rows
        ]

    def settle(self, study_instance_uid: str, arrived: int) -> None:
        """The first ``arrived`` of the study are decided; a restart need not judge them again, nor a new model analyse.

        A count, not a time: a row may come into the index later than its time of arrival says.
        """
        statement = insert(settled).values(study_instance_uid=study_instance_uid, arrived=arrived)
        self._write(
            statement.on_conflict_do_update(
                index_elements=["study_instance_uid"], set_={"arrived": statement.excluded["arrived"]}
            )
        )

    def is_settled(self, study_instance_uid: str, arrived: int) -> bool:
        """Whether nothing has arrived since the study was decided."""
        query = sa.select(settled.c.arrived).where(settled.c.study_instance_uid == study_instance_uid)
        return any(row["arrived"] >= arrived for row in self._all(query))

    # -------------------------------------------------------------------------------------------------------- requests

    def ask_again(self, studies: Sequence[str], because: str, force: bool, at: float) -> list[int]:
        """Have the coordinator decide these studies again, once it runs; returns the ids of the requests."""
        with self.engine.begin() as connection:
            return again.ask(connection, studies, because, force, at)

    def is_asked_again(self, study_instance_uid: str) -> bool:
        """Whether a request for the study waits for its answer."""
        with self._reading.connect() as connection:
            return bool(again.waiting(connection, study_instance_uid))

    def answer_requests(self, study_instance_uid: str, text: str, at: float) -> None:
        """Say so to whoever asked, where nothing can be decided."""
        with self.engine.begin() as connection:
            again.answer(connection, again.waiting(connection, study_instance_uid), at, text)

    def requests(self, study_instance_uid: str) -> list[again.Request]:
        """All that were ever made for the study, in order."""
        with self._reading.connect() as connection:
            return again.of_study(connection, study_instance_uid)

    # -------------------------------------------------------------------------------------------------------- delivery

    def record_delivery(self, run_id: str, destination: str, state: OutboxState, reason: str = "") -> None:
        """How far it has come; each record of "waiting" counts as an attempt.  What is closed stays closed."""
        attempt = int(state == "waiting" and bool(reason))
        row = {"run_id": run_id, "destination": destination, "state": state, "attempts": attempt}
        statement = insert(outbox).values({**row, "reason": reason, "at": time.time()})
        self._write(
            statement.on_conflict_do_update(
                index_elements=["run_id", "destination"],
                set_={
                    "state": state,
                    "attempts": outbox.c.attempts + attempt,
                    "reason": reason,
                    "at": statement.excluded["at"],
                },
                where=outbox.c.state.not_in(CLOSED),
            )
        )

    def begin_delivery(self, run_id: str, destination: str) -> bool:
        """Ask right before the first object goes: False where the run is superseded, and nothing of it may go."""
        with self.engine.begin() as connection:
            return succession.begin_delivery(connection, run_id, destination, time.time())

    def keep(self, run_id: str) -> None:
        """Its results lie on disk, where people find them, and go nowhere else."""
        self.begin_delivery(run_id, succession.ON_DISK)

    def deliveries(self, run_id: str) -> list[Delivery]:
        """The outbox of a run."""
        chosen = (outbox.c.destination, outbox.c.state, outbox.c.attempts, outbox.c.reason)
        here = (outbox.c.run_id == run_id, outbox.c.destination != succession.ON_DISK)
        query = sa.select(*chosen).where(*here).order_by(outbox.c.destination)
        return [Delivery(**row) for row in self._all(query)]

    def record_receipt(
        self, run_id: str, destination: str, sop_instance_uid: str, kind: str, how: str, *, taken: bool = True
    ) -> None:
        """The archive confirmed this object, or never takes it; ``how`` says by what, the last word stays."""
        row = {"run_id": run_id, "destination": destination, "sop_instance_uid": sop_instance_uid}
        statement = insert(receipts).values({**row, "kind": kind, "how": how, "at": time.time(), "taken": taken})
        last = {name: statement.excluded[name] for name in ("how", "at", "taken")}
        self._write(statement.on_conflict_do_update(index_elements=list(row), set_=last))

    def receipts(self, run_id: str) -> list[Mapping[str, Any]]:
        """What archives said of each object: destination, sop_instance_uid, kind, how, at (Unix time), taken."""
        return self._all(sa.select(receipts).where(receipts.c.run_id == run_id).order_by(receipts.c.at))

    # ----------------------------------------------------------------------------------------------------------- story

    def tell(
        self,
        study_instance_uid: str,
        event: str,
        *,
        run_id: str = "",
        destination: str = "",
        at: float | None = None,
        text: str = "",
    ) -> None:
        """Add an event to the study's story; the first time it happened stays."""
        key = {"study_instance_uid": study_instance_uid, "run_id": run_id, "event": event, "destination": destination}
        row = key | {"at": time.time() if at is None else at, "text": text}
        self._write(insert(story).values(row).on_conflict_do_nothing())

    def timeline(self, study_instance_uid: str) -> tuple[Event, ...]:
        """Everything that happened to a study, in the order of time."""
        chosen = (story.c.run_id, story.c.event, story.c.destination, story.c.at, story.c.text)
        query = sa.select(*chosen).where(story.c.study_instance_uid == study_instance_uid).order_by(story.c.at)
        return tuple(Event(**row) for row in self._all(query))

    # ---------------------------------------------------------------------------------------------------------- engine

    def _write(self, statement: sa.Executable) -> int:
        with self.engine.begin() as connection:
            return int(connection.execute(statement).rowcount)

    def _all(self, query: sa.Select[Any]) -> list[Mapping[str, Any]]:
        with self._reading.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _row(self, table: sa.Table, run_id: str) -> Mapping[str, Any]:
        rows = self._all(sa.select(table).where(table.c.run_id == run_id))
        if not rows:
            raise KeyError(run_id)
        return rows[0]
