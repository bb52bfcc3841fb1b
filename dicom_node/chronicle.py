"""What the index knows of studies and their arrival, for people; only read, whether the node runs or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.database import associations, instances, set_aside

MOST_STUDIES = 100_000  # that are looked through for a UID like the one asked for


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """A study of which something has come.  ``last``: Unix time of the last arrival."""

    study_instance_uid: str
    description: str
    instances: int
    last: float


@dataclass(frozen=True, slots=True)
class ArrivedSeries:
    """A series as it came.  ``first``, ``last``: Unix times; ``senders``: calling AE titles."""

    series_instance_uid: str
    modality: str
    number: str
    description: str
    instances: int
    first: float
    last: float
    senders: tuple[str, ...]
    associations: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """What could not be used, counted by reason.  ``first``, ``last``: Unix times."""

    code: str
    reason: str
    count: int
    first: float
    last: float


class Chronicle:
    """Questions to the index's database that nobody asks while a study is processed."""

    def __init__(self, engine: sa.Engine) -> None:
        self._reading = engine.execution_options(reading=True)

    def studies(self, limit: int = MOST_STUDIES) -> list[KnownStudy]:
        """The studies with the latest arrivals, the latest first."""
        description = _attribute("StudyDescription")
        last = sa.func.max(instances.c.received)
        query = sa.select(instances.c.study_instance_uid, description, sa.func.count(), last)
        query = query.group_by(instances.c.study_instance_uid).order_by(last.desc()).limit(limit)
        return [KnownStudy(uid, _said(text), count, at) for uid, text, count, at in self._rows(query)]

    def series(self, study_instance_uid: str) -> list[ArrivedSeries]:
        """The series of a study, in the order in which they began to come."""
        first, last = sa.func.min(instances.c.received), sa.func.max(instances.c.received)
        what = (_text("$.modality"), _attribute("SeriesNumber"), _attribute("SeriesDescription"))
        query = sa.select(instances.c.series_instance_uid, *what, sa.func.count(), first, last)
        query = query.where(instances.c.study_instance_uid == study_instance_uid)
        rows = self._rows(query.group_by(instances.c.series_instance_uid).order_by(first))
        came = self._senders(study_instance_uid)
        return [
            ArrivedSeries(
                uid, _said(modality), _said(number), _said(text), count, begun, ended, *came.get(uid, ((), 0))
            )
            for uid, modality, number, text, count, begun, ended in rows
        ]

    def set_aside(self, study_instance_uid: str) -> list[SetAside]:
        """What came for the study and was set aside, ever; some of it may have come again in good order."""
        at = set_aside.c.received
        query = sa.select(set_aside.c.code, set_aside.c.reason, sa.func.count(), sa.func.min(at), sa.func.max(at))
        query = query.where(set_aside.c.study_instance_uid == study_instance_uid)
        return [SetAside(*row) for row in self._rows(query.group_by(set_aside.c.code, set_aside.c.reason))]

    def _senders(self, study_instance_uid: str) -> dict[str, tuple[tuple[str, ...], int]]:
        """Series → calling AE titles and how many associations."""
        titles = sa.func.group_concat(sa.distinct(associations.c.calling_ae_title))  # a title holds no comma: VR AE
        query = sa.select(instances.c.series_instance_uid, titles, sa.func.count(sa.distinct(associations.c.id)))
        query = query.join(associations, associations.c.id == instances.c.association)
        query = query.where(instances.c.study_instance_uid == study_instance_uid)
        rows = self._rows(query.group_by(instances.c.series_instance_uid))
        return {uid: (tuple(sorted(names.split(","))), count) for uid, names, count in rows}

    def _rows(self, query: sa.Select[Any]) -> list[Any]:
        with self._reading.connect() as connection:
            return list(connection.execute(query).all())


def _attribute(keyword: str) -> sa.ColumnElement[Any]:
    return _text(f"$.attributes.{keyword}")


def _text(path: str) -> sa.ColumnElement[Any]:
    """A value of the stored instance, any one of the group's."""
    return sa.func.min(sa.func.json_extract(instances.c.content, path))


def _said(value: object) -> str:
    return "" if value is None else str(value)
