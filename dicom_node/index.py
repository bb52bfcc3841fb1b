"""What arrived: one row per stored instance, association and file set aside (SQLite, one file).

The spool is the truth; this is its table of contents, written in batches and rebuilt from the spool where it misses
something (``recover``).  Every change of a study adds a row to ``changes``, which the coordinator follows.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from dicom_node.migrations import upgrade
from dicom_node.tables import associations, changes, instances, set_aside
from inference.facts import Instance, Refused
from inference.instance import conflict, read_instance

LOGGER = logging.getLogger(__name__)
RECOVERY_BATCH = 500


@dataclass(frozen=True, slots=True)
class Association:
    """Who sent: ``process`` is the receiver's number; times are seconds since 1970."""

    id: str
    process: int
    calling_ae_title: str
    address: str
    opened: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance that is durable in the spool."""

    instance: Instance
    received: float
    association: Association | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that arrived and is not used: ``path`` is "" where nothing was kept."""

    refused: Refused
    received: float
    path: str = ""


class InstanceStore(Protocol):
    """What recovery needs of the spool."""

    def scan(self) -> Iterator[Path]: ...
    def scan_set_aside(self) -> Iterator[Any]: ...
    def put_aside_unreadable(self, path: Path, refused: Refused) -> Any: ...


class Index:
    """The table of contents at ``path``; opened by any number of processes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        upgrade(path)
        self.engine = engine_for(path)

    def add(self, arrivals: Sequence[Arrival] = (), faults: Sequence[Fault] = ()) -> list[Instance]:
        """Write a batch in one transaction.

        Returns the instances that were not taken because another object has their SOP Instance UID (in another study
        or series, or with other bytes): the caller sets them aside.
        """
        with self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            self._add_associations(connection, [a.association for a in arrivals if a.association])
            rejected = self._add_instances(connection, arrivals)
            self._add_faults(connection, faults)
            studies = {a.instance.study_instance_uid for a in arrivals if a.instance not in rejected}
            studies |= {str(u) for f in faults if (u := f.refused.facts.get("study_instance_uid"))}
            _tell(connection, studies)
        return rejected
