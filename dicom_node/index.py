"""What arrived: one row per stored instance, association and file set aside (SQLite, one file).

The spool is the truth; this is its table of contents, written in batches and completed from the spool where it misses
something (``dicom_node.receive.arrivals``).  Every change of a study adds a row to ``changes``, which the coordinator
follows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from dicom_node.database import associations, changes, instances, open_engine, set_aside
from dicom_node.headers import header_columns, identity, read_again
from dicom_node.migrations import upgrade
from inference.facts import Instance, Refused
from inference.reading.keywords import READING

CONFLICT = "sop-instance-conflict"


@dataclass(frozen=True, slots=True)
class Association:
    """Who sent.  ``process``: the receiver's number; ``opened``: Unix time."""

    id: str
    process: int
    calling_ae_title: str
    address: str
    opened: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance that is durable in the spool.  ``received``: Unix time."""

    instance: Instance
    received: float
    association: Association | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that arrived and is not used.  ``path`` is None where nothing was kept; ``received``: Unix time."""

    refused: Refused
    received: float
    path: Path | None = None


class Index:
    """The table of contents in the SQLite file ``path``, which any number of processes may have open."""

    def __init__(self, path: Path) -> None:
        upgrade(path)
        self.engine = open_engine(path)
        self._reading = self.engine.execution_options(reading=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    # ---------------------------------------------------------------------------------------------------- what arrives

    def add(
        self, arrivals: Sequence[Arrival] = (), faults: Sequence[Fault] = (), released: Sequence[str] = ()
    ) -> list[Instance]:
        """Write a batch in one transaction.  ``released``: ids of associations that have ended.

        Returns the instances not taken, because another object has their SOP Instance UID already (in another study or
        series, or with other bytes): the caller sets them aside.  The same instance again changes nothing.
        """
        with self.engine.begin() as connection:
            for association in {a.association for a in arrivals if a.association}:
                connection.execute(insert(associations).values(asdict(association)).on_conflict_do_nothing())
            new, known, rejected = _sift(connection, arrivals)
            if new or known:
                connection.execute(_upsert_instances(), [_row(a) for a in (*new, *known)])
            if faults:
                connection.execute(insert(set_aside).on_conflict_do_nothing(), [_fault_row(f) for f in faults])
            _release(connection, released)
            studies = {a.instance.study_instance_uid for a in new} | {
                str(uid) for f in faults if (uid := f.refused.facts.get("study_instance_uid"))
            }
            _tell(connection, studies)
        return rejected

    def close_associations(self, process: int) -> None:
        """The receiver with this number has started anew: the associations it had are gone."""
        with self.engine.begin() as connection:
            gone = sa.select(associations.c.id).where(
                associations.c.process == process, associations.c.released.is_(None)
            )
            _release(connection, list(connection.execute(gone).scalars()))

    # ------------------------------------------------------------------------------------------------ what is asked for

    def study_instances(self, study_instance_uid: str) -> list[Instance]:
        """All instances of the study, in the order of arrival.

        Rows that an earlier version wrote may lack what this one needs of a header: it is read again from the file.
        """
        query = (
            sa.select(instances.c.content, instances.c.reading)
            .where(instances.c.study_instance_uid == study_instance_uid)
            .order_by(instances.c.received)
        )
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
        found = [Instance(**json.loads(content)) for content, _ in rows]
        old = [n for n, (_, reading) in enumerate(rows) if reading != READING]
        read = {n: again for n in old if (again := read_again(found[n]))}
        self._keep_readings(list(read.values()))
        return [read.get(n, instance) for n, instance in enumerate(found)]

    def _keep_readings(self, read: Sequence[Instance]) -> None:
        if not read:
            return
        update = sa.update(instances).where(instances.c.sop_instance_uid == sa.bindparam("uid"))
        with self.engine.begin() as connection:
            connection.execute(update, [{"uid": i.sop_instance_uid} | header_columns(i) for i in read])

    def study_set_aside(self, study_instance_uid: str) -> list[tuple[Path, Refused]]:
        """What came for the study and cannot be used, with the reasons; the path is that of the file kept, if any.

        Left out is what came again in good order.
        """
        query = sa.select(set_aside.c.path, set_aside.c.code, set_aside.c.reason, set_aside.c.facts).where(
            set_aside.c.study_instance_uid == study_instance_uid
        )
        good = set(
            self._column(
                sa.select(instances.c.sop_instance_uid).where(instances.c.study_instance_uid == study_instance_uid)
            )
        )
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
        faults = [(Path(path or "."), Refused(code, reason, **json.loads(facts))) for path, code, reason, facts in rows]
        return [
            (path, refused)
            for path, refused in faults
            if refused.code == CONFLICT or refused.facts.get("sop_instance_uid") not in good
        ]

    def studies_changed_since(self, cursor: int) -> tuple[list[str], int]:
        """Studies with something new since ``cursor`` (0: ever), and the new cursor.

        New is an instance, a file set aside, or the end of an association that sent some of it.
        """
        query = sa.select(changes.c.study_instance_uid, sa.func.max(changes.c.id).label("last"))
        query = query.where(changes.c.id > cursor).group_by(changes.c.study_instance_uid).order_by("last")
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
        return [uid for uid, _ in rows], max([cursor, *(last for _, last in rows)])

    def open_associations(self, study_instance_uid: str) -> int:
        """How many associations that sent something of the study are still open."""
        query = (
            sa.select(sa.func.count(sa.distinct(associations.c.id)))
            .join(instances, instances.c.association == associations.c.id)
            .where(instances.c.study_instance_uid == study_instance_uid, associations.c.released.is_(None))
        )
        return int(self._column(query)[0])

    def last_arrival(self, study_instance_uid: str) -> float:
        """When the last of the study came, or was set aside, Unix time; 0 where there is none."""
        times = [
            sa.select(sa.func.max(table.c.received)).where(table.c.study_instance_uid == study_instance_uid)
            for table in (instances, set_aside)
        ]
        return max(float(self._column(time)[0] or 0.0) for time in times)

    def arrived(self, study_instance_uid: str) -> int:
        """How many instances and files set aside have come for the study, ever: it only grows."""
        counts = [
            sa.select(sa.func.count()).where(table.c.study_instance_uid == study_instance_uid)
            for table in (instances, set_aside)
        ]
        return sum(int(self._column(count)[0]) for count in counts)

    def arrivals(self, series_instance_uid: str) -> list[float]:
        """When the instances of the series came, Unix times in ascending order."""
        query = sa.select(instances.c.received).where(instances.c.series_instance_uid == series_instance_uid)
        return [float(t) for t in self._column(query.order_by(instances.c.received))]

    def senders(self, study_instance_uid: str) -> list[tuple[str, str]]:
        """Calling AE title and address of those who sent the study."""
        query = (
            sa.select(associations.c.calling_ae_title, associations.c.address)
            .distinct()
            .join(instances, instances.c.association == associations.c.id)
            .where(instances.c.study_instance_uid == study_instance_uid)
        )
        with self._reading.connect() as connection:
            return [(title, address) for title, address in connection.execute(query)]

    def studies_sharing_frame(self, study_instance_uid: str) -> list[str]:
        """Other studies with something in a Frame of Reference of this one."""
        mine = sa.select(instances.c.frame_of_reference_uid).where(
            instances.c.study_instance_uid == study_instance_uid, instances.c.frame_of_reference_uid.is_not(None)
        )
        query = sa.select(instances.c.study_instance_uid).distinct().order_by(instances.c.study_instance_uid)
        others = instances.c.study_instance_uid != study_instance_uid
        return self._column(query.where(instances.c.frame_of_reference_uid.in_(mine.distinct()), others))

    def known_paths(self) -> set[str]:
        """Paths of all instances and files set aside."""
        both = sa.union_all(sa.select(instances.c.path), sa.select(set_aside.c.path))
        return {path for path in self._column(both) if path}

    def _column(self, query: sa.Executable) -> list[Any]:
        with self._reading.connect() as connection:
            return list(connection.execute(query).scalars())


def _sift(
    connection: sa.Connection, arrivals: Sequence[Arrival]
) -> tuple[list[Arrival], list[Arrival], list[Instance]]:
    """What is new, what is here already, and the instances whose SOP Instance UID belongs to another object."""
    wanted = [a.instance.sop_instance_uid for a in arrivals]
    query = sa.select(instances.c.sop_instance_uid, instances.c.content).where(
        instances.c.sop_instance_uid.in_(sa.bindparam("wanted", expanding=True))
    )
    here = {uid: identity(Instance(**json.loads(c))) for uid, c in connection.execute(query, {"wanted": wanted})}
    new: list[Arrival] = []
    known: list[Arrival] = []
    rejected: list[Instance] = []
    for arrival in arrivals:
        mine = identity(arrival.instance)
        first = here.get(arrival.instance.sop_instance_uid)
        if first is None:
            here[arrival.instance.sop_instance_uid] = mine
            new.append(arrival)
        elif first == mine:
            known.append(arrival)
        else:
            rejected.append(arrival.instance)
    return new, known, rejected


def _upsert_instances() -> sa.Executable:
    new = insert(instances)
    return new.on_conflict_do_update(
        index_elements=["sop_instance_uid"],
        set_={
            "path": new.excluded.path,
            "content": new.excluded.content,
            "reading": new.excluded.reading,
            "association": sa.func.coalesce(instances.c.association, new.excluded.association),
        },
    )


def _row(arrival: Arrival) -> dict[str, Any]:
    instance = arrival.instance
    return {
        "sop_instance_uid": instance.sop_instance_uid,
        "study_instance_uid": instance.study_instance_uid,
        "series_instance_uid": instance.series_instance_uid,
        "sha256": instance.sha256,
        "path": instance.path,
        "received": arrival.received,
        "association": arrival.association.id if arrival.association else None,
    } | header_columns(instance)


def _fault_row(fault: Fault) -> dict[str, Any]:
    return {
        "study_instance_uid": fault.refused.facts.get("study_instance_uid"),
        "path": str(fault.path) if fault.path else None,
        "code": fault.refused.code,
        "reason": fault.refused.reason,
        "facts": json.dumps(fault.refused.facts, default=str),
        "received": fault.received,
    }


def _release(connection: sa.Connection, ids: Sequence[str]) -> None:
    if not ids:
        return
    mine = associations.c.id.in_(ids)
    still_open = sa.update(associations).where(mine, associations.c.released.is_(None))
    connection.execute(still_open.values(released=time.time()))
    studies = sa.select(instances.c.study_instance_uid).distinct().where(instances.c.association.in_(ids))
    _tell(connection, connection.execute(studies).scalars().all())


def _tell(connection: sa.Connection, studies: Iterable[str]) -> None:
    rows = [{"study_instance_uid": uid} for uid in studies]
    if rows:
        connection.execute(sa.insert(changes), rows)
