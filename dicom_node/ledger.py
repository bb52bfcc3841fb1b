"""What became of each study: runs, deliveries, what the archives confirmed, and the story with its times.

Tables beside those of the index, in the same SQLite file.  Every write may be repeated without harm: the first record
of an event stays, so that a run taken up again after a crash keeps its own start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from dicom_node.index import open_engine
from dicom_node.work.job import Work

metadata = sa.MetaData()

pairs = sa.Table(
    "pairs",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("study_instance_uid", sa.String, nullable=False, index=True),
    sa.Column("content", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("started_at", sa.String),
    sa.Column("code", sa.String, nullable=False, default=""),
    sa.Column("reason", sa.String, nullable=False, default=""),
)
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("reason", sa.String, nullable=False, default=""),
    sa.Column("at", sa.Float, nullable=False),
)
receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("how", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
story = sa.Table(
    "story",
    metadata,
    sa.Column("study_instance_uid", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("event", sa.String, primary_key=True),
    sa.Column("destination", sa.String, primary_key=True, default=""),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("text", sa.String, nullable=False, default=""),
)

settled = sa.Table(
    "settled",
    metadata,
    sa.Column("study_instance_uid", sa.String, primary_key=True),
    sa.Column("arrived", sa.Integer, nullable=False),
)

RunState = Literal["queued", "done", "refused", "failed"]
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

    def register(self, work: Work) -> bool:
        """Write the run down; False where it is there already."""
        row = {
            "run_id": work.run_id,
            "study_instance_uid": work.study_instance_uid,
            "content": work.as_json(),
            "state": "queued",
        }
        return self._write(insert(pairs).values(row).on_conflict_do_nothing()) == 1

    def work(self, run_id: str) -> Work:
        """The run as registered.  Raises KeyError where there is none."""
        row = self._row(pairs, run_id)
        return Work(run_id, row["study_instance_uid"], json.loads(row["content"]))

    def state(self, run_id: str) -> str:
        """ "queued", "done", "refused", "failed"; "" where the run is unknown."""
        try:
            return str(self._row(pairs, run_id)["state"])
        except KeyError:
            return ""

    def begin(self, run_id: str, started_at: str) -> str:
        """Record the start once; returns the start on record, DICOM DT."""
        self._write(
            sa.update(pairs).where(pairs.c.run_id == run_id, pairs.c.started_at.is_(None)).values(started_at=started_at)
        )
        return str(self._row(pairs, run_id)["started_at"])

    def finish(self, run_id: str, state: RunState, code: str = "", reason: str = "") -> None:
        """Record how the analysis ended."""
        change = sa.update(pairs).where(pairs.c.run_id == run_id).values(state=state, code=code, reason=reason)
        self._write(change)

    def runs(self, study_instance_uid: str) -> list[Mapping[str, Any]]:
        """All runs of a study: run_id, state, code, reason, started_at."""
        chosen = (pairs.c.run_id, pairs.c.state, pairs.c.code, pairs.c.reason, pairs.c.started_at)
        query = sa.select(*chosen).where(pairs.c.study_instance_uid == study_instance_uid).order_by(pairs.c.started_at)
        return self._all(query)

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

    def deliveries(self, run_id: str) -> list[Delivery]:
        """The outbox of a run."""
        chosen = (outbox.c.destination, outbox.c.state, outbox.c.attempts, outbox.c.reason)
        query = sa.select(*chosen).where(outbox.c.run_id == run_id).order_by(outbox.c.destination)
        return [Delivery(**row) for row in self._all(query)]

    def record_receipt(self, run_id: str, destination: str, sop_instance_uid: str, kind: str, how: str) -> None:
        """The archive confirmed this object; ``how`` says by what, the last word stays."""
        row = {"run_id": run_id, "destination": destination, "sop_instance_uid": sop_instance_uid}
        statement = insert(receipts).values({**row, "kind": kind, "how": how, "at": time.time()})
        last = {"how": statement.excluded["how"], "at": statement.excluded["at"]}
        self._write(statement.on_conflict_do_update(index_elements=list(row), set_=last))

    def receipts(self, run_id: str) -> list[Mapping[str, Any]]:
        """What archives confirmed: destination, sop_instance_uid, kind, how, at (Unix time)."""
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
