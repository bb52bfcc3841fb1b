"""Requests to decide a stored study again, and what speaks for doing so.

A request is a row that any process may add, whether the node runs or not.  It stays, with its answer, as part of the
study's story; it is answered in the transaction that decides the study, so that it is answered once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.database import changes, requests
from dicom_node.identity import Basis
from inference.facts import Occasion, OccasionKind

FORCE = "ask with --force to do it all the same"
# For the story and the log; what stands in the report is in the reader's language (report/words).
SAID: Mapping[OccasionKind, str] = {
    "content": "more of the study has come, or can be read",
    "choice": "other images, or another region, are chosen now",
    "model": "the model is another now",
    "software": "the node's version is another now",
    "segmenter": "the segmenter is another now",
    "settings": "settings that change results are others now",
    "values": "clinical or laboratory values are others now",
    "unsuccessful": "the run before was refused or failed",
    "asked": "it was asked for",
}


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked, at a Unix time.  ``answered``: when it was decided, None while it waits; ``answer``: how."""

    id: int
    study_instance_uid: str
    because: str
    force: bool
    at: float
    answered: float | None
    answer: str


def ask(connection: sa.Connection, studies: Iterable[str], because: str, force: bool, at: float) -> list[int]:
    """Add a request for each study and have the coordinator look at it; returns their ids."""
    ids = []
    for study in studies:
        values = {"study_instance_uid": study, "because": because, "force": force, "at": at}
        ids.append(int(connection.execute(sa.insert(requests).values(values).returning(requests.c.id)).scalar_one()))
        connection.execute(sa.insert(changes).values(study_instance_uid=study))
    return ids


def waiting(connection: sa.Connection, study: str) -> list[Request]:
    """Those of the study that nobody has answered yet, in order."""
    return _read(connection, requests.c.study_instance_uid == study, requests.c.answered.is_(None))


def of_study(connection: sa.Connection, study: str) -> list[Request]:
    """All that were ever made."""
    return _read(connection, requests.c.study_instance_uid == study)


def answer(connection: sa.Connection, asked: Sequence[Request], at: float, text: str) -> None:
    """It is decided."""
    mine = requests.c.id.in_([request.id for request in asked])
    connection.execute(sa.update(requests).where(mine).values(answered=at, answer=text))


def reasons(run: Mapping[str, Any], basis: Basis, *, is_refusal: bool) -> tuple[OccasionKind, ...]:
    """What speaks for doing this run of the ledger again, with the same images; nothing where it would come out alike.

    ``basis``: what it would be made with now.  A run that has not ended is made with that anyway.  ``is_refusal``: it
    says why there is no pair, which has just been judged anew; why a pair could not be analysed may have been mended.
    """
    if run["state"] == "queued":
        return ()
    if run["state"] in ("refused", "failed") and not is_refusal:
        return ("unsuccessful", *differences(run, basis))
    return differences(run, basis)


def differences(run: Mapping[str, Any], basis: Basis) -> tuple[OccasionKind, ...]:
    """What is another now than when the run was made."""
    if run["state"] in ("queued", "superseded"):
        return ()  # it has no results that could differ
    before = Basis.from_json(run["made_with"])
    if before is None:
        return () if run["state"] == "failed" else ("software",)
    return basis.changes(before)


def why_not(kept: Sequence[Mapping[str, Any]], otherwise: str) -> str:
    """The answer where nothing is done; ``kept``: the runs that stay; ``otherwise``: what is said where none does."""
    said = []
    for run in kept:
        name = f"run {run['run_id']}"
        if run["state"] == "queued":
            said.append(f"{name} has not ended yet")
        elif run["state"] == "done":
            said.append(f"nothing has changed since {name}: the same images, model, segmenter, settings and version")
        else:
            said.append(f"{name} would be refused again for the same reason ({run['code']})")
    return "; ".join([*said, FORCE]) if said else otherwise


def in_words(occasions: Iterable[Occasion]) -> str:
    """For the story and the log."""
    return "; ".join(f"{SAID[o.kind]}: {o.text}" if o.text else SAID[o.kind] for o in occasions)


def as_json(occasions: Iterable[Occasion]) -> str:
    """For the ledger."""
    return json.dumps([[o.kind, o.text] for o in occasions])


def from_json(text: str) -> tuple[Occasion, ...]:
    """As the ledger holds them."""
    return tuple(Occasion(kind, said) for kind, said in json.loads(text))


def _read(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Request]:
    query = sa.select(requests).where(*where).order_by(requests.c.id)
    return [Request(**row) for row in connection.execute(query).mappings()]
